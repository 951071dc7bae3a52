"""Which attention a model computes with: ComfyUI's own, or a faster one that is installed.

Whatever is chosen here, a node that sets ComfyUI's `optimized_attention_override` comes first (`attend`).
"""

from __future__ import annotations

import functools
from typing import Any

import comfy.ldm.modules.attention as core
import torch
from torch import Tensor

from ..kernels import attention_choice
from ..kernels.attention_backends import CORE, HELP
from ..kernels.attention_choice import AttentionFunction, Backend, HostAttention

OVERRIDE = "optimized_attention_override"  # core's name of the option that a node sets


def names() -> list[str]:
    """What a user can choose: the pack's table, and what ComfyUI has found installed."""
    return [*HELP, *core.REGISTERED_ATTENTION_FUNCTIONS]


def choose(name: str, device: torch.device, precision: str) -> Backend:
    """The backend of a name. Raises ValueError for one that is not installed or does not run on the device."""
    if name in core.REGISTERED_ATTENTION_FUNCTIONS:
        return Backend(name, _registered(name), "as asked")
    if name not in HELP:
        raise ValueError(f"attention is {name}, which is not installed: choose one of {', '.join(names())}.")
    started = "" if CORE_NAME == "pytorch" else f"ComfyUI was started with {CORE_NAME}"
    return attention_choice.choose(name, device, precision, HostAttention(CORE, CORE_NAME, core_attention, started))


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


def _registered(name: str) -> AttentionFunction:
    function = core.REGISTERED_ATTENTION_FUNCTIONS[name]

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                  **options: Any) -> Tensor:
        return function(q, k, v, heads=heads, transformer_options=transformer_options, **options)

    return attention


CORE_NAME = core.optimized_attention.__name__.removeprefix("attention_")
CORE_BACKEND = Backend(CORE_NAME, core_attention, "not chosen yet")
