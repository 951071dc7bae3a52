"""The definitions of `kernels.int8` in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import elementwise

LEVELS = 127  # int8 values are -127..127
GELU_MINIMUM = -0.17004


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `int8.quantize`. Returns values and scale."""
    x = x.float()
    scale = x.abs().amax(-1).clamp(min=1e-30) / LEVELS  # [B, L]
    return (x / scale[..., None]).round().to(torch.int8), scale


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See `int8.layer_norm`. Returns values and scale."""
    return quantize(elementwise.layer_norm(x, weight, bias, eps, torch.float32))


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor,
                    eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """See `int8.add_gated_norm_`. Returns the sum, and values and scale of its norm."""
    x = elementwise.add_gated_(x, y, gate)
    return x, *layer_norm(x, weight, bias, eps)


def gelu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `int8.gelu`. Returns values, scale and zero."""
    x = F.gelu(x.float(), approximate="tanh")
    scale = (x.amax(-1) - GELU_MINIMUM) / (2 * LEVELS)  # [B, L]
    values = ((x - GELU_MINIMUM) / scale[..., None] - LEVELS).round().to(torch.int8)
    return values, scale, GELU_MINIMUM + LEVELS * scale


def linear(values: Tensor, scale: Tensor, zero: Tensor | None, weight: Tensor, weight_scale: Tensor,
           bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """See `int8.linear`."""
    w = weight.float()
    out = (values.float() @ w.T) * (scale[..., None] * weight_scale)
    if zero is not None:
        out += zero[..., None] * (weight_scale * w.sum(-1))
    return (out if bias is None else out + bias.float()).to(dtype)
