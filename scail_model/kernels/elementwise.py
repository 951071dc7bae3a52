"""The operations between the matrix products of a block: norms, rotation, GELU, gated residual adds, and the mix of
attention to the prompt with that to the negative one.

All compute in float32 (the precision rules of the official code) and return the dtype that the next matrix product
computes in. On a GPU each is one Triton kernel that reads and writes every element once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .backends import Backends, uncompiled
from .eager import elementwise as eager

_BACKENDS = Backends("elementwise")


@uncompiled  # a compiled network finds the kernels loaded
def prepare(device: torch.device) -> None:
    """Load the Triton kernels for a device, once. Where they do not work, PyTorch computes the same."""
    _BACKENDS.prepare(device, "PyTorch computes the same instead")


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """LayerNorm(x) * weight + bias for x float32 [B, L, C]; weight and bias float32 [B or 1, 1, C]. Returns `dtype`."""
    return _BACKENDS.of(x).layer_norm(x, weight, bias, eps, dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """RMSNorm of x [B, L, C] over all of C, weight float32 [C]; then, if given, the rotation (cos, sin) of every head,
    each float32 [L, 64]. Same dtype out as in; without gradients x itself may be overwritten."""
    return _BACKENDS.of(x).rms_norm(x, weight, eps, rotation)


def add_gated_(x: Tensor, y: Tensor, gate: Tensor | None = None) -> Tensor:
    """x + y * gate (x + y without a gate) for x float32 [B, L, C], y [B, L, C] of any dtype, gate float32 [B, 1, C].

    The sum is written over x, except while gradients are recorded.
    """
    return _BACKENDS.of(x).add_gated_(x, y, gate)


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                    dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`add_gated_` and the `layer_norm` of its result, without reading it again: (sum, normalised sum)."""
    return _BACKENDS.of(x).add_gated_norm_(x, y, gate, weight, bias, eps, dtype)


def nag_mix(positive: Tensor, negative: Tensor, strength: float) -> Tensor:
    """Normalised attention guidance (arXiv 2505.21179): attention to a prompt, moved away from attention to another.

    positive, negative [B, L, C] of one dtype, which is also the result's. The difference is extrapolated `strength`
    times from the negative one (1 changes nothing), each row's extrapolation is held to NAG_TAU times the row's L1 norm
    over all heads, and NAG_ALPHA of it is mixed in. Without gradients `positive` itself may be overwritten.
    """
    return _BACKENDS.of(positive).nag_mix(positive, negative, strength)


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form; without gradients in place, because the feed-forward's hidden tensor is the largest."""
    return eager.gelu(x)  # PyTorch's kernel is as fast on every device
