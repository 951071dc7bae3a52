"""Which attention a model computes with: ComfyUI's own, or a faster one that is installed.

Whatever is chosen here, attention that a node sets on the MODEL comes first (`overrides`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import comfy.cli_args
import comfy.ldm.modules.attention as core
import comfy.model_management
import torch
from torch import Tensor

from ..kernels import attention_choice
from ..kernels.attention_backends import CORE, CUDNN, FLASH4, HELP, INT8, SOL
from ..kernels.attention_choice import AttentionFunction, Backend, HostAttention
from ..kernels.attention_probe import PROBE_BYTES
from ..kernels.backends import one_at_a_time
from ..kernels.precision import EXACT

_START = re.compile(r"use_\w+_attention")  # options that ComfyUI is started with; newer ones have more of them


def names() -> list[str]:
    """What a user can choose: the pack's table, and what ComfyUI has found installed."""
    return [*HELP, *core.REGISTERED_ATTENTION_FUNCTIONS]


def choose(name: str, device: torch.device, precision: str) -> Backend:
    """The backend of a name. Raises ValueError for one that is not installed or does not run on the device."""
    if name in core.REGISTERED_ATTENTION_FUNCTIONS:
        return Backend(name, _registered(name), "as asked")
    if name not in HELP:
        raise ValueError(f"attention is {name}, which is not installed: choose one of {', '.join(names())}.")
    if precision != EXACT or name in (INT8, SOL):  # these may be measured first
        comfy.model_management.free_memory(PROBE_BYTES, device)
    return attention_choice.choose(name, device, precision, HostAttention(CORE, CORE_NAME, core_attention, *_before()))


def _before() -> tuple[Collection[str], str]:
    """The exact backends before which ComfyUI's attention goes, and why: all of them where the user has asked for it.
    PyTorch's does not: cuDNN's is PyTorch's too, and faster on Hopper, where newer ComfyUIs take another one first."""
    asked = [name for name, value in vars(comfy.cli_args.args).items()
             if value is True and _START.fullmatch(name) and name != "use_pytorch_cross_attention"]
    if asked:
        return (CUDNN, FLASH4), f"ComfyUI was started with --{asked[0].replace('_', '-')}"
    if CORE_NAME == "pytorch":
        return (), ""
    return (CUDNN,), f"ComfyUI computes with {CORE_NAME}"


@one_at_a_time
def core_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                   **options: Any) -> Tensor:
    """The attention that ComfyUI was started with."""
    return core.optimized_attention(q, k, v, heads=heads, transformer_options=transformer_options, **options)


def _registered(name: str) -> AttentionFunction:
    function = one_at_a_time(core.REGISTERED_ATTENTION_FUNCTIONS[name])

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any],
                  **options: Any) -> Tensor:
        return function(q, k, v, heads=heads, transformer_options=transformer_options, **options)

    return attention


CORE_NAME = core.optimized_attention.__name__.removeprefix("attention_")
CORE_BACKEND = Backend(CORE_NAME, core_attention, "not chosen yet")
