"""From the name of an attention backend to a function, the same in every host.

A host brings the attention that it has anyway: it computes where nothing faster does, and what a backend cannot take.
All functions are called as the blocks call attention: (q, k, v, heads, transformer_options, **options) on
[B, L, heads * 128].
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import (
    cudnn_attention,
    elementwise,
    flash_attention,
    fp8_attention,
    int8,
    int8_attention,
    sol_attention,
    sparse_attention,
)
from .attention_backends import AUTOMATIC, BACKENDS, CORE, CUDNN, FLASH4, FP8, INT8, SOL, SPARSE, fastest
from .backends import one_at_a_time
from .in_parts import SparseInParts
from .precision import EIGHT_BIT, EXACT, FAST, int8_storage

log = logging.getLogger(__name__)

_SIXTEEN_BITS = (torch.bfloat16, torch.float16)
_FEW_KEYS = 4096  # below, 8 bits gain nothing

AttentionFunction = Callable[..., Tensor]
QueryFunction = Callable[[Tensor], Tensor]
PrepareFunction = Callable[[Tensor, Tensor, int, "dict[str, Any] | None"], QueryFunction]


@dataclass(frozen=True)
class Backend:
    """An attention function, its name, and why it was chosen, as the end of a sentence.

    prepare_kv: see `SelfAttention.prepare_kv`; None where keys and values need no preparation. sparse: whether what it
    returns leaves out a part of the keys; `function` never does. all_queries: see `SelfAttention.needs_all_queries`.
    together: see `queries_together`.
    """

    name: str
    function: AttentionFunction
    reason: str
    prepare_kv: PrepareFunction | None = None
    sparse: bool = False
    all_queries: bool = False
    together: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None,
                 **options: Any) -> Tensor:
        return self.function(q, k, v, heads, transformer_options, **options)

    def needs_all_queries(self, transformer_options: dict[str, Any] | None = None) -> bool:
        return self.all_queries

    def queries_together(self, transformer_options: dict[str, Any] | None = None) -> bool:
        """Whether the result of a query depends on the others of the same call of what `prepare_kv` returned: on the
        scale that they share, or on the error that is measured on some of them."""
        return self.together and (not self.sparse or sparse_attention.RUN in (transformer_options or {}))


@dataclass(frozen=True)
class HostAttention:
    """The attention that a host has anyway.

    choice: what users call it. name: what it is, for reports. before: the exact backends that are not chosen in its
    place, and `reason`, why, as a sentence.
    """

    choice: str
    name: str
    function: AttentionFunction
    before: Collection[str] = ()
    reason: str = ""


def choose(name: str, device: torch.device, precision: str, host: HostAttention) -> Backend:
    """The backend of a name in the pack's table, or the host's. Raises ValueError for one that does not run on the
    device."""
    if name == AUTOMATIC:
        return _automatic(device, precision, host)
    if name == host.choice:
        return _build(CORE, device, "as asked", host)
    reason = next(backend for backend in BACKENDS if backend.name == name).why_not(device)
    if reason is not None:
        install = "" if device.type == "cpu" else ", or install the package that it needs"
        raise ValueError(f"attention is {name}, but {reason}: choose {AUTOMATIC} or {host.choice}{install}.")
    return _build(name, device, "as asked", host)


def prepare(backend: Backend, precision: str, device: torch.device) -> str | None:
    """Get a further device ready to compute with a backend that was chosen for another: kernels are loaded and tried,
    and operations find them. Returns None, or why it does not work there, as the end of a sentence.

    Call it for one device after the other, before threads compute on several.
    """
    elementwise.prepare(device)
    if int8_storage(precision):
        int8.ready(device)
    row = next((row for row in BACKENDS if row.name == backend.name), None)
    if row is None:  # the host's own
        return None
    if row.precision != EXACT:
        fastest(EXACT, device)  # what computes where this one does not
    return row.why_not(device)


def _automatic(device: torch.device, precision: str, host: HostAttention) -> Backend:
    backend, reasons = fastest(precision, device)
    if precision == FAST and backend.precision != FAST:
        raise ValueError(f"precision is {FAST}, but no sparse attention works here ({'; '.join(reasons)}): choose "
                         f"{EIGHT_BIT}, or install a package that is missing.")
    if backend.name in host.before:
        return _build(CORE, device, host.reason, host)
    if backend.name != CORE:
        reasons.insert(0, f"the fastest for {precision} here")
    return _build(backend.name, device, "; ".join(reasons), host)


def _build(name: str, device: torch.device, reason: str, host: HostAttention) -> Backend:
    if name == CORE:
        return Backend(host.name, one_at_a_time(host.function), reason)
    if name == CUDNN:
        return Backend(CUDNN, _where_it_fits(cudnn_attention.attention, host), reason)
    if name == FLASH4:
        return Backend(FLASH4, _where_it_fits(flash_attention.attention, host), reason)
    exact = _build(fastest(EXACT, device)[0].name, device, "", host).function
    if name == SPARSE:
        return _sparse(Backend(name, exact, reason, sparse=True, together=True), sparse_attention.takes,
                       sparse_attention.prepare_kv)
    if name == SOL:
        return _sparse(Backend(name, exact, reason, sparse=True, all_queries=True, together=True), _fit_sol,
                       sol_attention.prepare_kv)
    return _in_8_bits(name, reason, {INT8: int8_attention.prepare_kv, FP8: fp8_attention.prepare_kv}[name], exact)


def _where_it_fits(function: Callable[[Tensor, Tensor, Tensor, int], Tensor], host: HostAttention
                   ) -> AttentionFunction:
    """With the host's attention for dtypes and heads that a kernel does not take."""
    by_host = one_at_a_time(host.function)

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None,
                  **options: Any) -> Tensor:
        if _fits(q, heads):
            return function(q, k, v, heads)
        return by_host(q, k, v, heads, transformer_options, **options)

    return attention


def _in_8_bits(name: str, reason: str,
               prepare: Callable[[Tensor, Tensor, int, dict[str, Any] | None], QueryFunction | None],
               exact: AttentionFunction) -> Backend:
    """Attention in 8 bits, and the exact one for few keys and for large ones, which `prepare` refuses."""

    @_item_by_item
    def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None) -> QueryFunction:
        in_8_bits = None
        if k.shape[1] >= _FEW_KEYS and _fits(k, heads):
            in_8_bits = prepare(k, v, heads, transformer_options)
            if in_8_bits is None:
                _log_large_keys()
        return in_8_bits or (lambda q: exact(q, k, v, heads, transformer_options))

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None,
                  **options: Any) -> Tensor:
        return prepare_kv(k, v, heads, transformer_options)(q)

    return Backend(name, attention, reason, prepare_kv, together=name == FP8)


def _sparse(backend: Backend, takes: Callable[[Tensor, int, dict[str, Any] | None], bool],
            prepare: Callable[[Tensor, Tensor, int], SparseInParts]) -> Backend:
    """An exact backend made sparse as far as the sampling's `SparseRun` says; not without one, nor for keys that the
    kernels do not take."""

    @_item_by_item
    def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None) -> QueryFunction:
        def of_all(q: Tensor) -> Tensor:
            return backend.function(q, k, v, heads, transformer_options)

        options = transformer_options or {}
        if sparse_attention.RUN not in options or not takes(k, heads, options):
            return of_all
        return options[sparse_attention.RUN].attention(options["block_index"], k.shape[1], prepare(k, v, heads), of_all,
                                                       options)

    return replace(backend, prepare_kv=prepare_kv)


def _item_by_item(prepare: PrepareFunction) -> PrepareFunction:
    """Each item of a batch by itself, with the options that it would have alone, so that it has the bits that it has
    alone: two prompts are computed in one batch, one after the other, or on two GPUs."""

    def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None) -> QueryFunction:
        if len(k) == 1:
            return prepare(k, v, heads, transformer_options)
        items = [prepare(k[item : item + 1], v[item : item + 1], heads, _of_item(item, len(k), transformer_options))
                 for item in range(len(k))]
        return lambda q: torch.cat([attend(part) for attend, part in zip(items, q.split(1), strict=True)])

    return prepare_kv


def _of_item(item: int, count: int, transformer_options: dict[str, Any] | None) -> dict[str, Any]:
    """Hosts say which prompts are in a batch; each has as many items."""
    options = transformer_options or {}
    prompts = options.get(sparse_attention.PROMPTS, [0])
    return options | {sparse_attention.PROMPTS: [prompts[item * len(prompts) // count]]}


def _fit_sol(k: Tensor, heads: int, transformer_options: dict[str, Any] | None) -> bool:
    """Whether comfy-kitchen's sparse attention takes keys."""
    if not _fits(k, heads) or k.shape[1] < sol_attention.FEWEST_KEYS:
        return False
    large = fp8_attention.keys_are_large(k, transformer_options)
    if large:
        _log_large_keys()
    return not large


def _fits(q: Tensor, heads: int) -> bool:
    """Whether another attention than the host's may compute with q or k."""
    return q.dtype in _SIXTEEN_BITS and q.shape[-1] == heads * flash_attention.HEAD


@functools.cache  # once a process
def _log_large_keys() -> None:
    log.info("SCAIL-2: keys of some blocks are too large for attention in 8 bits; these blocks use exact attention, "
             "which is slower.")
