"""Attention in cuDNN, through PyTorch: exact, and on Hopper faster than PyTorch's own FlashAttention 2.

On one H200 at 48,832 tokens a layer of the 14B network takes 85 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backends import does_not_run, once_a_device
from .flash_attention import HEAD

_CAPABILITY = 9  # on others it was not measured


@once_a_device
def why_not(device: torch.device) -> str | None:
    """None if cuDNN's attention works on a device and is worth it, else the reason, as the end of a sentence."""
    if device.type != "cuda" or torch.version.hip:
        return "it needs an NVIDIA GPU"
    major, _ = torch.cuda.get_device_capability(device)
    if major != _CAPABILITY:
        return f"it was not measured on GPUs of compute capability {major}.x"
    try:
        row = torch.zeros(1, 128, HEAD, device=device, dtype=torch.bfloat16)
        attention(row, row, row, 1)
    except RuntimeError as error:  # PyTorch's word for a backend that it does not have
        return does_not_run(error)
    return None


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B, L, heads * 128], k and v [B, M, heads * 128] in bfloat16 or float16 -> [B, L, heads * 128]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    # called by name: to choose it with `sdpa_kernel` would set flags of the whole process, where other threads compute
    out, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        q, k, v, None, any(x.requires_grad for x in (q, k, v)))  # the last: what gradients need
    return out.transpose(1, 2).flatten(2)
