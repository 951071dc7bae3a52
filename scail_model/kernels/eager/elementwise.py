"""The definitions of `kernels.elementwise` in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """See `elementwise.layer_norm`."""
    return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=eps), weight).to(dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
    """See `elementwise.rms_norm`."""
    y = F.rms_norm(x.float(), x.shape[-1:], weight, eps)
    if rotation is not None:
        cos, sin = rotation
        heads = y.unflatten(-1, (-1, 2 * cos.shape[-1]))  # [B, L, heads, 128]
        y = rotate(heads, cos, sin).flatten(-2)  # [B, L, C]
    return y.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Multiply neighbouring channel pairs of x [B, L, heads, 128] by cos + i sin [L, 64]; float32 inside and out."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # 2x [B, L, heads, 64]
    cos, sin = cos[:, None], sin[:, None]  # [L, 1, 64]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)  # [B, L, heads, 128]


def add_gated_(x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
    """See `elementwise.add_gated_`."""
    y = y.float() if gate is None else y.float() * gate
    return x + y if torch.is_grad_enabled() else x.add_(y)


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                    dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See `elementwise.add_gated_norm_`."""
    x = add_gated_(x, y, gate)
    return x, layer_norm(x, weight, bias, eps, dtype)


# the authors' own for every model: of their code for Wan too
NAG_TAU, NAG_ALPHA = 2.5, 0.25
SMALLEST = torch.finfo(torch.float32).tiny  # of a norm that is divided by: a row of zeros stays one


def nag_mix(positive: Tensor, negative: Tensor, strength: float) -> Tensor:
    """See `elementwise.nag_mix`."""
    x, y = positive.float(), negative.float()
    y = torch.lerp(y, x, strength)  # x * strength - y * (strength - 1)
    norm_x, norm_y = (rows.norm(p=1, dim=-1, keepdim=True) for rows in (x, y))  # [B, L, 1]
    held = (NAG_TAU * norm_x / norm_y.clamp_min(SMALLEST)).clamp_max(1)
    return torch.lerp(x, y * held, NAG_ALPHA).to(positive.dtype)


def gelu(x: Tensor) -> Tensor:
    """See `elementwise.gelu`."""
    if torch.is_grad_enabled():
        return F.gelu(x, approximate="tanh")
    return torch.ops.aten.gelu_(x, approximate="tanh")
