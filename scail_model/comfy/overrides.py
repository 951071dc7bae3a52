"""Attention as the blocks call it, with what other nodes have set: an override of it, or patches of its result.

An override (core's option `optimized_attention_override`) is called in place of attention, and gets the function that
it replaces for what it does not compute itself. Core calls it with all rows' queries. Most that are in use compute each
row by itself, so chunks of rows give the same; those must be known here, because an override does not say so. Sparse
ones take only as many queries as keys: with fewer they would quietly compute all of it.
"""

from __future__ import annotations

import enum
import functools
import inspect
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.ldm.modules.attention as core
from torch import Tensor

from ..attention import QueryFunction
from ..kernels.attention_choice import Backend
from ..kernels.backends import one_at_a_time, uncompiled
from .attention import CORE_BACKEND
from .blocks import patches
from .patches import origin

log = logging.getLogger(__name__)

OVERRIDE = "optimized_attention_override"  # core's name of the option

# Where overrides come from: the last name of the module, and the class or function that makes them. The nodes of
# KJNodes exchange the function and nothing else.
_ROW_BY_ROW = {("model_optimization_nodes", node) for node in (
    "PathchSageAttentionKJ", "PatchFlashAttentionKJ", "CheckpointLoaderKJ", "DiffusionModelLoaderKJ", "GGUFLoaderKJ")}
_MODEL_ATTENTION_BACKEND = ("model_patcher", "ModelPatcher")
_MODEL_SPARSE_ATTENTION = ("nodes_sparse_attention", "make_attention_override")


class Rows(enum.IntEnum):
    """Which queries attention needs at once: those of any rows; those of all rows in self-attention, where sparse
    overrides and attn1_patches act; or those of all rows everywhere."""

    ANY = 0
    ALL_IN_SELF_ATTENTION = 1
    ALL = 2


def rows(transformer_options: dict[str, Any]) -> Rows:
    """What the patches and the override in a sampler's options need."""
    if patches(transformer_options, "attn2_patch"):
        return Rows.ALL
    patched = Rows.ALL_IN_SELF_ATTENTION if patches(transformer_options, "attn1_patch") else Rows.ANY
    return max(patched, _rows_of(transformer_options.get(OVERRIDE)))


@uncompiled  # a compiled block may ask
def _rows_of(override: Callable[..., Tensor] | None) -> Rows:
    if override is None:
        return Rows.ANY
    named = _origin(override)
    if named == _MODEL_SPARSE_ATTENTION:  # calls the override that was there before it for what stays dense
        return max(Rows.ALL_IN_SELF_ATTENTION, _rows_of(_held(override, "previous")))
    if named == _MODEL_ATTENTION_BACKEND:
        function = _held(override, "optimized_attention")
        return Rows.ANY if function in core.REGISTERED_ATTENTION_FUNCTIONS.values() else Rows.ALL
    return Rows.ANY if named in _ROW_BY_ROW else Rows.ALL


def _origin(override: Any) -> tuple[str, str]:
    named = override if hasattr(override, "__qualname__") else type(override)
    # core's nodes and those of other packs lie in modules that are named by their paths
    return re.split(r"[\\/.]", named.__module__)[-1], named.__qualname__.split(".")[0]


def _held(function: Callable, name: str) -> Any:
    """What a function's closure holds under a name."""
    return inspect.getclosurevars(function).nonlocals.get(name)


class Attention:
    """What the blocks call for attention; its backend can be exchanged, and a node's override comes first."""

    def __init__(self) -> None:
        self.backend = CORE_BACKEND

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                 **options: Any) -> Tensor:
        """To text. Sparse overrides know self-attention by as many queries as keys, so they get no other that is so."""
        if q.shape == k.shape:
            return self.backend.function(q, k, v, heads, transformer_options=_without_override(transformer_options),
                                         **options)
        return attend(self.backend, q, k, v, heads, transformer_options, **options)

    def exact(self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
        """See `CrossAttention.attend`."""
        return self(q, k, v, heads, transformer_options, low_precision_attention=False)


class PatchedAttention:
    """Self-attention, followed by the `attn1_patch`es that a user's patch nodes have set."""

    def __init__(self, attention: Attention) -> None:
        self.attention = attention

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
        x = attend(self.attention.backend, q, k, v, heads, transformer_options)
        for patch in patches(transformer_options, "attn1_patch"):
            x = patch({"x": x, "q": q.unflatten(-1, (heads, -1)), "k": k.unflatten(-1, (heads, -1)),
                       "transformer_options": transformer_options})
        return x

    def prepare_kv(self, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> QueryFunction:
        """See `SelfAttention.prepare_kv`."""
        backend, nodes = self.attention.backend, set_by(transformer_options)
        if nodes and backend.sparse:
            _log_not_sparse(backend.name, origin(nodes[0]))
        if nodes or backend.prepare_kv is None:
            return partial(self, k=k, v=v, heads=heads, transformer_options=transformer_options)
        return backend.prepare_kv(k, v, heads, transformer_options)

    def needs_all_queries(self, transformer_options: dict[str, Any]) -> bool:
        """See `SelfAttention.needs_all_queries`."""
        if set_by(transformer_options):
            return rows(transformer_options) > Rows.ANY
        return self.attention.backend.needs_all_queries(transformer_options)

    def queries_together(self, transformer_options: dict[str, Any]) -> bool:
        """See `Backend.queries_together`. Of other nodes' functions `needs_all_queries` says enough."""
        return not set_by(transformer_options) and self.attention.backend.queries_together(transformer_options)


def set_by(transformer_options: dict[str, Any]) -> list[Callable]:
    """The functions of other nodes that come before a backend's own `prepare_kv`."""
    override = transformer_options.get(OVERRIDE)
    return [*([] if override is None else [override]), *patches(transformer_options, "attn1_patch")]


@functools.cache  # once a process
def _log_not_sparse(name: str, node: str) -> None:
    log.info("SCAIL-2: %s is on the model and comes before attention %s, which is not used.", node, name)


def attend(backend: Backend, q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
           **options: Any) -> Tensor:
    """Attention by a node's override, if there is one, which gets the backend for what it does not compute itself.

    options: further keywords of core's attention functions.
    """
    override = transformer_options.get(OVERRIDE)
    if override is None:
        return backend.function(q, k, v, heads, transformer_options, **options)
    others = _without_override(transformer_options)

    @functools.wraps(core.optimized_attention)
    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **options: Any) -> Tensor:
        options |= {"transformer_options": others}
        if mask is not None or options.get("skip_reshape") or options.get("skip_output_reshape"):
            return core.optimized_attention(q, k, v, heads, mask=mask, **options)
        return backend.function(q, k, v, heads, **options)

    # the mark of core's own wrapper, without which core's functions would call the override once more
    return one_at_a_time(override)(attention, q, k, v, heads=heads, transformer_options=transformer_options,
                                   _inside_attn_wrapper=True, **options)


def _without_override(transformer_options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in transformer_options.items() if name != OVERRIDE}
