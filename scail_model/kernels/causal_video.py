"""What Wan's video VAE does between its convolutions, in fewer passes over memory and equal to the bit.

A convolution in time continues from piece to piece: its input begins with the last two frames of its input before.
Every operation here rounds where the VAE's separate operations round, so in 16 bits the result is theirs. A `bias` is
that of the convolution whose result comes in, if it has not been added yet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backends import Backends

_BACKENDS = Backends("causal_video")


def ready(device: torch.device) -> bool:
    """Load the Triton kernels for a device, once, and return whether they work there."""
    return _BACKENDS.prepare(device, "the VAE runs as ComfyUI runs it")


def norm_silu(x: Tensor, bias: Tensor | None, gamma: Tensor, scale: float,
              before: Tensor | None) -> tuple[Tensor, Tensor]:
    """y = SiLU(x / |x| * scale * gamma) for x [1, C, T, H, W], |x| over C, gamma [C].

    Returns the input of the convolution that follows, y with `before` in front if there is one, [1, C, (2 +) T, H, W];
    and the next `before`, the last two frames of y, [1, C, 2, H, W], where a single first frame comes after zeros. The
    one given may be written over. In Triton x is in torch.channels_last_3d, and so is the result.
    """
    return _BACKENDS.of(x).norm_silu(x, bias, gamma, scale, before)


def add_(x: Tensor, bias: Tensor | None, y: Tensor | None = None, y_bias: Tensor | None = None) -> Tensor:
    """(x + bias) + (y + y_bias), which may be written over x [1, C, T, H, W]."""
    return _BACKENDS.of(x).add_(x, bias, y, y_bias)


def upsampled(x: Tensor, bias: Tensor | None, in_time: bool) -> Tensor:
    """Every pixel of x [1, C, T, H, W] four times, as pictures [T, C, 2H, 2W]; in_time: x [1, 2C, T, H, W] holds two
    frames for each frame, one after the other in C, which become [2T, C, 2H, 2W]."""
    return _BACKENDS.of(x).upsampled(x, bias, in_time)
