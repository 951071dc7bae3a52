"""FlashAttention 4 (`flash-attn-4`, an optional package): exact attention, faster on Hopper than PyTorch's.

On one H200 at 48,832 tokens a layer of the 14B network takes 72 ms instead of 85. The results differ as those of any
two bfloat16 kernels do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backends import does_not_run, once_a_device, one_at_a_time

# compute capabilities; on older GPUs it was not tried
_CAPABILITIES = (9, 10, 11)
HEAD = 128  # channels


@once_a_device
def why_not(device: torch.device) -> str | None:
    """None if FlashAttention 4 works on a device, else the reason, as the end of a sentence."""
    if device.type != "cuda" or torch.version.hip:
        return "it needs an NVIDIA GPU"
    major, _ = torch.cuda.get_device_capability(device)
    if major not in _CAPABILITIES:
        return f"it was not tried on GPUs of compute capability {major}.x"
    try:
        row = torch.zeros(1, 128, HEAD, device=device, dtype=torch.bfloat16)
        attention(row, row, row, 1)  # compiles, which is where a broken installation shows
    except ImportError as error:
        return f"flash-attn-4 is not installed ({error})"
    except Exception as error:  # whatever it is, there is another attention
        return does_not_run(error)
    return None


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B, L, heads * 128], k and v [B, M, heads * 128] in bfloat16 or float16 -> [B, L, heads * 128]."""
    out = call(q, k, v, heads)
    # versions differ in whether they return the row sums too
    return (out[0] if isinstance(out, tuple) else out).flatten(-2)


@one_at_a_time  # a first call compiles, for which the package is not made in several threads at once
def call(q: Tensor, k: Tensor, v: Tensor, heads: int, **options: Any) -> Any:
    """What the package's function returns, with options of its own."""
    from flash_attn.cute.interface import flash_attn_func

    return flash_attn_func(*(x.unflatten(-1, (heads, -1)) for x in (q, k, v)), **options)
