"""Which attention a model computes with: ComfyUI's own, or a faster one that is installed.

Whatever is chosen here, a node that sets ComfyUI's `optimized_attention_override` comes first (`attend`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention as core
import torch
from torch import Tensor

from ..attention import QueryFunction
from ..kernels import cudnn_attention as cudnn
from ..kernels import flash_attention, fp8_attention
from ..kernels.attention_backends import AUTOMATIC, BACKENDS, CORE, CUDNN, FLASH4, FP8, HELP, fastest
from ..kernels.precision import EXACT

log = logging.getLogger(__name__)

OVERRIDE = "optimized_attention_override"  # core's name of the option that a node sets
_SIXTEEN_BITS = (torch.bfloat16, torch.float16)
_FEW_KEYS = 4096  # below, 8 bits gain nothing

AttentionFunction = Callable[..., Tensor]  # (q, k, v, heads, transformer_options, **options) in core's convention
PrepareFunction = Callable[[Tensor, Tensor, int, dict[str, Any]], QueryFunction]


@dataclass(frozen=True)
class Backend:
    """An attention function in ComfyUI's convention, its name, and why it was chosen, as the end of a sentence.

    prepare_kv: see `SelfAttention.prepare_kv`; None where keys and values need no preparation.
    """

    name: str
    function: AttentionFunction
    reason: str
    prepare_kv: PrepareFunction | None = None


def names() -> list[str]:
    """What a user can choose: the pack's table, and what ComfyUI has found installed."""
    return [*HELP, *core.REGISTERED_ATTENTION_FUNCTIONS]


def choose(name: str, device: torch.device, precision: str) -> Backend:
    """The backend of a name. Raises ValueError for one that is not installed or does not run on the device."""
    if name == AUTOMATIC:
        return _automatic(device, precision)
    if name in core.REGISTERED_ATTENTION_FUNCTIONS:
        return Backend(name, _registered(name), "as asked")
    backend = next((backend for backend in BACKENDS if backend.name == name), None)
    if backend is None:
        raise ValueError(f"attention is {name}, which is not installed: choose one of {', '.join(names())}.")
    reason = backend.why_not(device)
    if reason is not None:
        raise ValueError(f"attention is {name}, but {reason}: choose {AUTOMATIC} or {CORE}, or install the pack's "
                         "optional extra `fast`.")
    return _build(name, device, "as asked")


def _automatic(device: torch.device, precision: str) -> Backend:
    backend, reasons = fastest(precision, device)
    if backend.name == CUDNN and CORE_NAME != "pytorch":  # of the same speed as cuDNN, or faster, and the user's choice
        return _build(CORE, device, f"ComfyUI was started with {CORE_NAME}")
    if backend.name != CORE:
        reasons.insert(0, f"the fastest for {precision} here")
    return _build(backend.name, device, "; ".join(reasons))


def _build(name: str, device: torch.device, reason: str) -> Backend:
    if name == CORE:
        return Backend(CORE_NAME, core_attention, reason)
    if name == FLASH4:
        return Backend(FLASH4, flash4_attention, reason)
    if name == CUDNN:
        return Backend(CUDNN, cudnn_attention, reason)
    exact = _build(fastest(EXACT, device)[0].name, device, "").function

    def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> QueryFunction:
        in_8_bits = None
        if k.shape[1] >= _FEW_KEYS and _replaceable(k, heads):
            in_8_bits = fp8_attention.prepare_kv(k, v, heads)
            if in_8_bits is None:
                _log_large_keys()
        return in_8_bits or (lambda q: exact(q, k, v, heads, transformer_options))

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                  **options: Any) -> Tensor:
        return prepare_kv(k, v, heads, transformer_options)(q)

    return Backend(FP8, attention, reason, prepare_kv)


@functools.cache  # once a process
def _log_large_keys() -> None:
    log.info("SCAIL-2: keys of some blocks are too large for attention in 8 bits; these blocks use exact attention, "
             "which is slower.")


def attend(backend: Backend, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
           **options: Any) -> Tensor:
    """Attention by a node's override, if there is one, which gets the backend for what it does not compute itself.

    options: further keywords of core's attention functions.
    """
    override = transformer_options.get(OVERRIDE)
    if override is None:
        return backend.function(q, k, v, heads, transformer_options, **options)
    others = {name: value for name, value in transformer_options.items() if name != OVERRIDE}

    @functools.wraps(core.optimized_attention)
    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: Any) -> Tensor:
        options |= {"transformer_options": others}
        if mask is not None or options.get("skip_reshape") or options.get("skip_output_reshape"):
            return core.optimized_attention(q, k, v, heads, mask=mask, **options)
        return backend.function(q, k, v, heads, **options)

    return override(attention, q, k, v, heads=heads, transformer_options=transformer_options, **options)


def core_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                   **options: Any) -> Tensor:
    """The attention that ComfyUI was started with."""
    return core.optimized_attention(q, k, v, heads=heads, transformer_options=transformer_options, **options)


def flash4_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                     **options: Any) -> Tensor:
    """FlashAttention 4, and ComfyUI's attention where the dtype does not fit."""
    if _replaceable(q, heads):
        return flash_attention.attention(q, k, v, heads)
    return core_attention(q, k, v, heads, transformer_options, **options)


def cudnn_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                    **options: Any) -> Tensor:
    """PyTorch's attention computed by cuDNN, and ComfyUI's attention where the dtype does not fit."""
    if _replaceable(q, heads):
        return cudnn.attention(q, k, v, heads)
    return core_attention(q, k, v, heads, transformer_options, **options)


def _replaceable(q: Tensor, heads: int) -> bool:
    """Whether another attention than ComfyUI's may compute with q or k."""
    return q.dtype in _SIXTEEN_BITS and q.shape[-1] == heads * flash_attention.HEAD


def _registered(name: str) -> AttentionFunction:
    function = core.REGISTERED_ATTENTION_FUNCTIONS[name]

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                  **options: Any) -> Tensor:
        return function(q, k, v, heads=heads, transformer_options=transformer_options, **options)

    return attention


CORE_NAME = core.optimized_attention.__name__.removeprefix("attention_")
CORE_BACKEND = Backend(CORE_NAME, core_attention, "not chosen yet")
