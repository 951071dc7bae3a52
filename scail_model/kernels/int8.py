"""Linears in 8 bits: int8 weights with one scale per output, int8 inputs with one scale per token.

    x = scale * values + zero        w = scale * values        x w^T = s_x s_w (values_x values_w^T) + zero * sum_k w

Integers keep 8 bits for normally distributed values where the 8-bit floats of GPUs keep 4: on random 14B weights the
error of a product is 1.3 % instead of 3.7 %. `zero` serves what lies on one side of zero, as after GELU, and halves
the error there. Norms, GELU and residual adds hand over int8 directly, so nothing is read twice. On a GPU all of this
is Triton (`int8_kernels.py`); elsewhere it is the PyTorch below, which defines it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import elementwise

logger = logging.getLogger(__name__)

LEVELS = 127  # int8 values are -127..127
LEAST_GELU = -0.17004


@dataclass(frozen=True)
class Rows:
    """Tokens in 8 bits: values int8 [B, L, C], scale float32 [B, L]; zero float32 [B, L], or None for all 0.

    dtype: what the values stand for, and what a product of them is given in.
    """

    values: Tensor
    scale: Tensor
    zero: Tensor | None
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return self.values.device

    def __getitem__(self, part) -> Rows:
        """Some tokens, as of a tensor: rows[:, part]."""
        return Rows(self.values[part], self.scale[part], None if self.zero is None else self.zero[part], self.dtype)

    def wide(self) -> Tensor:
        """float32 [B, L, C]."""
        x = self.values.float() * self.scale[..., None]
        return x if self.zero is None else x + self.zero[..., None]


class Weight(NamedTuple):
    """A linear's weight in 8 bits: values int8 [N, C], scale float32 [N]."""

    values: Tensor
    scale: Tensor


def quantise(x: Tensor, dtype: torch.dtype | None = None) -> Rows:
    """x [B, L, C] of any dtype, also 8-bit floats; dtype: what it stands for, its own if not given."""
    dtype = dtype or x.dtype
    if kernels := _kernels(x):
        return Rows(*kernels.quantise(x), None, dtype)
    x = x.float()
    scale = x.abs().amax(-1).clamp(min=1e-30) / LEVELS
    return Rows((x / scale[..., None]).round().to(torch.int8), scale, None, dtype)


def quantise_weight(weight: Tensor) -> Weight:
    """weight [N, C] -> one scale per row."""
    rows = quantise(weight[None])
    return Weight(rows.values[0], rows.scale[0])


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Rows:
    """`elementwise.layer_norm`, in 8 bits."""
    if kernels := _kernels(x):
        return Rows(*kernels.layer_norm(x, weight, bias, eps), None, dtype)
    return quantise(elementwise.layer_norm(x, weight, bias, eps, torch.float32), dtype)


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                    dtype: torch.dtype) -> tuple[Tensor, Rows]:
    """`elementwise.add_gated_norm_`, the norm in 8 bits."""
    if kernels := _kernels(x):
        x, values, scale = kernels.add_gated_norm_(x, y, gate, weight, bias, eps)
        return x, Rows(values, scale, None, dtype)
    x = elementwise.add_gated_(x, y, gate)
    return x, layer_norm(x, weight, bias, eps, dtype)


def gelu(x: Tensor) -> Rows:
    """GELU in its tanh form."""
    dtype = x.dtype
    if kernels := _kernels(x):
        return Rows(*kernels.gelu(x), dtype)
    x = F.gelu(x.float(), approximate="tanh")
    scale = (x.amax(-1) - LEAST_GELU) / (2 * LEVELS)
    values = ((x - LEAST_GELU) / scale[..., None] - LEVELS).round().to(torch.int8)
    return Rows(values, scale, LEAST_GELU + LEVELS * scale, dtype)


def linear(rows: Rows, weight: Weight, bias: Tensor | None) -> Tensor:
    """[B, L, C] times a weight [N, C], plus bias [N] -> [B, L, N] in the rows' dtype; exact sums, all else float32."""
    if kernels := _kernels(rows.values):
        return kernels.linear(rows.values, rows.scale, rows.zero, weight.values, weight.scale, bias, rows.dtype)
    w = weight.values.float()
    out = (rows.values.float() @ w.T) * (rows.scale[..., None] * weight.scale)
    if rows.zero is not None:
        out += rows.zero[..., None] * (weight.scale * w.sum(-1))
    return (out if bias is None else out + bias.float()).to(rows.dtype)


# the kernels of each device that has been prepared; None where they do not work
_KERNELS: dict[torch.device, ModuleType | None] = {}


@torch.compiler.disable
def ready(device: torch.device) -> bool:
    """Whether this module is the way to compute on a device: not on a GPU on which the kernels do not work."""
    if device.type == "cpu":
        return True
    if device not in _KERNELS:
        _KERNELS[device] = _load_kernels(device)
    return _KERNELS[device] is not None


def _kernels(x: Tensor) -> ModuleType | None:
    return None if torch.is_grad_enabled() else _KERNELS.get(x.device)


def _load_kernels(device: torch.device) -> ModuleType | None:
    """Import Triton and try a product, because GPUs differ in the tiles that they can hold."""
    if device.type != "cuda":
        return None
    try:
        from . import triton_int8

        rows = torch.ones(1, 256, 256, device=device, dtype=torch.int8), torch.ones(1, 256, device=device)
        made = triton_int8.linear(*rows, None, rows[0][0], rows[1][0], None, torch.bfloat16)
        if not bool((made == 256).all()):
            raise RuntimeError("a product came out wrong")
    except Exception as error:  # whatever breaks here, ComfyUI has a way of its own
        logger.warning("SCAIL-2: the int8 kernels do not work here (%s: %s); ComfyUI's are used instead, which are "
                       "slower.", type(error).__name__, str(error).split("\n")[0])
        return None
    return triton_int8
