"""The attention backends that a user can choose: the node's choices, log, errors and help page follow this table.

A new backend is a row here and a function in `attention_choice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import cudnn_attention, flash_attention, fp8_attention, int8_attention, sol_attention, sparse_attention
from .precision import EIGHT_BIT, EXACT, FAST

AUTOMATIC, CORE, CUDNN, FLASH4 = "automatic", "core", "cudnn", "flash_attn_4"
INT8, FP8, SOL, SPARSE = "int8", "cudnn_fp8", "sol", "sparse"


@dataclass(frozen=True)
class AttentionBackend:
    """precision: `automatic` takes an exact backend in every mode but fast, and others in their own mode only.
    why_not: None if it works on a device, else the reason, the end of a sentence. help: one sentence for users.
    not_worth: the same for what works but is not faster, which `automatic` leaves out."""

    name: str
    precision: str
    why_not: Callable[[torch.device], str | None]
    help: str
    not_worth: Callable[[torch.device], str | None] = lambda device: None


# from the slowest to the fastest; the first works everywhere
BACKENDS = (
    AttentionBackend(CORE, EXACT, lambda device: None, "The attention that ComfyUI was started with."),
    AttentionBackend(CUDNN, EXACT, cudnn_attention.why_not,
                     "PyTorch's attention in cuDNN: exact, and on NVIDIA Hopper faster than PyTorch's usual one."),
    AttentionBackend(FLASH4, EXACT, flash_attention.why_not,
                     "FlashAttention 4: exact, and faster than PyTorch's on NVIDIA Hopper; needs the package "
                     "flash-attn-4."),
    AttentionBackend(INT8, EIGHT_BIT, int8_attention.why_not,
                     "Attention in 8-bit integers, for precision 8-bit on cards that have none in floats; needs "
                     "ComfyUI 0.33 or the package comfy-kitchen.", int8_attention.not_worth),
    AttentionBackend(FP8, EIGHT_BIT, fp8_attention.why_not,
                     "Attention in 8-bit floats on NVIDIA Hopper, for precision 8-bit; needs the package "
                     "nvidia-cudnn-frontend."),
    AttentionBackend(SOL, FAST, sol_attention.why_not,
                     "Sparse attention in 8-bit integers, for precision fast on cards without FlashAttention 4; needs "
                     "a newer ComfyUI, or the package comfy-kitchen from 0.2.33 on.", sol_attention.not_worth),
    AttentionBackend(SPARSE, FAST, sparse_attention.why_not,
                     "Computes the blocks that matter most, for precision fast, or on exact linears; needs the package "
                     "flash-attn-4 on a GPU."),
)
HELP = {AUTOMATIC: "The fastest that is installed and as exact as precision asks."} | {
    backend.name: backend.help for backend in BACKENDS}


def fastest(precision: str, device: torch.device) -> tuple[AttentionBackend, list[str]]:
    """The fastest backend for a precision that works on a device, and why each faster one is not used."""
    reasons = []
    for backend in reversed(BACKENDS[1:]):
        if backend.precision in (EXACT, precision):
            reason = backend.why_not(device) or backend.not_worth(device)
            if reason is None:
                return backend, reasons
            reasons.append(f"{backend.name} is not used: {reason}")
    return BACKENDS[0], reasons
