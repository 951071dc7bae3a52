"""Which attention a model computes with: ComfyUI's own, or a faster one that is installed.

Whatever is chosen here, a node that sets ComfyUI's `optimized_attention_override` comes first.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.ldm.modules.attention as core
import torch
from torch import Tensor

from ..attention import QueryFunction
from ..kernels import flash_attention, fp8_attention
from ..kernels.precision import EIGHT_BIT

log = logging.getLogger(__name__)

AUTOMATIC, CORE, FLASH4, FP8 = "automatic", "core", "flash_attn_4", "cudnn_fp8"
_OURS = {FLASH4: flash_attention, FP8: fp8_attention}
_SIXTEEN_BITS = (torch.bfloat16, torch.float16)
_FEW = 4096  # keys for which 8 bits gain nothing

AttentionFunction = Callable[[Tensor, Tensor, Tensor, int, dict[str, Any]], Tensor]
OverFunction = Callable[[Tensor, Tensor, int, dict[str, Any]], QueryFunction]


@dataclass(frozen=True)
class Backend:
    """An attention function in ComfyUI's convention, its name, and why it was chosen, as the end of a sentence.

    over: the same with keys and values first, as a function of the queries, where it has work to do with those alone.
    """

    name: str
    function: AttentionFunction
    reason: str
    over: OverFunction | None = None


def names() -> list[str]:
    """What a user can choose: ours, and what ComfyUI has found installed."""
    return [AUTOMATIC, CORE, *_OURS, *core.REGISTERED_ATTENTION_FUNCTIONS]


def choose(name: str, device: torch.device, precision: str) -> Backend:
    """The backend behind a name. Raises ValueError for one that is not installed or does not run on the device."""
    if name == AUTOMATIC:
        return _fastest(device, precision)
    if name == CORE:
        return Backend(CORE_NAME, core_attention, "as asked")
    if name in core.REGISTERED_ATTENTION_FUNCTIONS:
        return Backend(name, _registered(name), "as asked")
    if name not in _OURS:
        raise ValueError(f"attention is {name}, which is not installed: choose one of {', '.join(names())}.")
    reason = _OURS[name].why_not(device)
    if reason is not None:
        raise ValueError(f"attention is {name}, but {reason}: choose {AUTOMATIC} or {CORE}, or install the pack's "
                         "optional extra `fast`.")
    return _ours(name, device, "as asked")


def _fastest(device: torch.device, precision: str) -> Backend:
    """The fastest exact one, or of the 8-bit ones in 8-bit mode."""
    reasons = []
    for name in (FP8, FLASH4) if precision == EIGHT_BIT else (FLASH4,):
        reason = _OURS[name].why_not(device)
        if reason is None:
            return _ours(name, device, "; ".join([f"the fastest for {precision} here", *reasons]))
        reasons.append(f"{name} is not used: {reason}")
    return Backend(CORE_NAME, core_attention, "; ".join(reasons))


def _ours(name: str, device: torch.device, reason: str) -> Backend:
    if name == FLASH4:
        return Backend(name, flash4_attention, reason)
    exact = flash4_attention if flash_attention.why_not(device) is None else core_attention

    def over(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> QueryFunction:
        in_8_bits = None
        if k.shape[1] >= _FEW and _free(k, heads, transformer_options):
            in_8_bits = fp8_attention.over(k, v, heads)
            if in_8_bits is None:
                _tell_of_large_keys()
        return in_8_bits or partial(exact, k=k, v=v, heads=heads, transformer_options=transformer_options)

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
        return over(k, v, heads, transformer_options)(q)

    return Backend(name, attention, reason, over)


@functools.cache  # once
def _tell_of_large_keys() -> None:
    log.info("SCAIL-2: keys of some blocks are too large for attention in 8 bits, so these blocks use the exact one, "
             "which is slower.")


def core_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
    """The attention that ComfyUI was started with."""
    return core.optimized_attention(q, k, v, heads=heads, transformer_options=transformer_options)


def flash4_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
    """FlashAttention 4, and ComfyUI's attention where a node overrides it or where the dtype does not fit."""
    if _free(q, heads, transformer_options):
        return flash_attention.attention(q, k, v, heads)
    return core_attention(q, k, v, heads, transformer_options)


def _free(q: Tensor, heads: int, transformer_options: dict[str, Any]) -> bool:
    """Whether kernels other than ComfyUI's may serve q or k."""
    return ("optimized_attention_override" not in transformer_options and q.dtype in _SIXTEEN_BITS
            and q.shape[-1] == heads * flash_attention.HEAD)


def _registered(name: str) -> AttentionFunction:
    function = core.REGISTERED_ATTENTION_FUNCTIONS[name]

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any]) -> Tensor:
        return function(q, k, v, heads=heads, transformer_options=transformer_options)

    return attention


CORE_NAME = core.optimized_attention.__name__.removeprefix("attention_")
CORE_BACKEND = Backend(CORE_NAME, core_attention, "not chosen yet")
