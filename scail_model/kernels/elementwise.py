"""What stands between the matrix products of a block: norms, rotation, gated residual adds.

Inside, all of it is float32 (the precision rules of the official code); results leave in the dtype that the next
matrix product computes in. On a GPU each function is one Triton kernel that reads and writes every element once
(`kernels.py`); elsewhere, and whenever gradients are recorded, it is the plain PyTorch below, which is also the
definition that the kernels are tested against.
"""

from __future__ import annotations

import logging
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """LayerNorm(x) * weight + bias for x float32 [B, L, C]; weight and bias float32 [B or 1, 1, C]. Returns `dtype`."""
    if triton_elementwise := _kernels(x):
        return triton_elementwise.layer_norm(x, weight, bias, eps, dtype)
    return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=eps), weight).to(dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """RMSNorm of x [B, L, C] over all of C, weight float32 [C], then, if given, the rotation (cos, sin), each
    float32 [L, 64], of every head. Same dtype out as in; without gradients x itself may be overwritten."""
    if triton_elementwise := _kernels(x):
        return triton_elementwise.rms_norm_(x, weight, eps, rotation)
    y = F.rms_norm(x.float(), x.shape[-1:], weight, eps)
    if rotation is not None:
        cos, sin = rotation
        y = rotate(y.unflatten(-1, (-1, 2 * cos.shape[-1])), cos, sin).flatten(-2)  # [B, L, heads, 128]
    return y.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Multiply neighbouring channel pairs of x [B, L, heads, 128] by cos + i sin [L, 64]; float32 inside and out."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # 2x [B, L, heads, 64]
    cos, sin = cos[:, None], sin[:, None]  # [L, 1, 64]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def add_gated_(x: Tensor, y: Tensor, gate: Tensor | None = None) -> Tensor:
    """x + y * gate (x + y without a gate) for x float32 [B, L, C], y [B, L, C] of any dtype, gate float32 [B, 1, C].

    The sum is written over x, except while gradients are recorded.
    """
    if triton_elementwise := _kernels(x):
        return triton_elementwise.add_gated_(x, y, gate)
    y = y.float() if gate is None else y.float() * gate
    return x + y if torch.is_grad_enabled() else x.add_(y)


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                    dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`add_gated_` and the `layer_norm` of its result, which then need not be read again: (sum, normalised sum)."""
    if triton_elementwise := _kernels(x):
        return triton_elementwise.add_gated_norm_(x, y, gate, weight, bias, eps, dtype)
    x = add_gated_(x, y, gate)
    return x, layer_norm(x, weight, bias, eps, dtype)


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form; without gradients in place, because a feed-forward's middle is the largest tensor."""
    if torch.is_grad_enabled():
        return F.gelu(x, approximate="tanh")
    return torch.ops.aten.gelu_(x, approximate="tanh")


# the kernels of each device that has been prepared; None where Triton does not work
_KERNELS: dict[torch.device, ModuleType | None] = {}


@torch.compiler.disable  # so that a compiled network finds them loaded
def prepare(device: torch.device) -> None:
    """Load the kernels for a device, once. Without this, or where they do not work, PyTorch computes the same."""
    if device.type == "cuda" and device not in _KERNELS:
        _KERNELS[device] = _load_kernels(device)


def _kernels(x: Tensor) -> ModuleType | None:
    """The Triton kernels if they can serve x: on a CUDA or ROCm device, and no gradient is to flow."""
    return None if torch.is_grad_enabled() else _KERNELS.get(x.device)


def _load_kernels(device: torch.device) -> ModuleType | None:
    """Import Triton and run one kernel on `device`, because a missing C compiler only shows then."""
    try:
        from . import triton_elementwise

        row = torch.ones(1, 1, 128, device=device)
        triton_elementwise.layer_norm(row, row, row, 1e-6, torch.float32)
    except Exception as error:  # whatever breaks Triton on this machine, PyTorch computes the same
        logger.warning("SCAIL-2: Triton kernels are not available (%s: %s); PyTorch computes the same instead.",
                       type(error).__name__, str(error).split("\n")[0])
        return None
    return triton_elementwise
