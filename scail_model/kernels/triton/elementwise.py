"""`kernels.elementwise` in Triton: a program for each token, float32 in registers, each element read and written once.

Results are written over x only where it is contiguous; else over a contiguous copy of it.
"""

# Triton's launch options, such as num_warps, are not in its types.
# pyright: reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..eager.elementwise import NAG_ALPHA, NAG_TAU, SMALLEST


def probe(device: torch.device) -> None:
    """Run one kernel. Raises what Triton raises where it does not work."""
    row = torch.ones(1, 1, 128, device=device)
    layer_norm(row, row, row, 1e-6, torch.float32)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """See `elementwise.layer_norm`."""
    batch, length, width = x.shape
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    _layer_norm[(length, batch)](
        x, weight, bias, out, eps, length, width, weight.shape[0] > 1, BLOCK=triton.next_power_of_2(width), num_warps=8
    )
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
    """See `elementwise.rms_norm`."""
    batch, length, width = x.shape
    x = x.contiguous()
    cos, sin = rotation if rotation is not None else (weight, weight)  # not read without a rotation
    _rms_norm[(length, batch)](
        x, weight, cos, sin, eps, length, width, rotation is not None,
        PAIRS=cos.shape[-1] if rotation is not None else 1, BLOCK=triton.next_power_of_2(width), num_warps=8,
    )
    return x


def add_gated_(x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
    """See `elementwise.add_gated_`."""
    batch, length, width = x.shape
    x, y = x.contiguous(), y.contiguous()
    _add_gated[(length, batch)](
        x, y, x if gate is None else gate.contiguous(), x, x, x, 0.0, length, width, gate is not None,
        NORM=False, BATCHED=False, BLOCK=triton.next_power_of_2(width), num_warps=8,
    )
    return x


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                    dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See `elementwise.add_gated_norm_`."""
    batch, length, width = x.shape
    x, y, weight, bias = x.contiguous(), y.contiguous(), weight.contiguous(), bias.contiguous()
    normalised = torch.empty(x.shape, dtype=dtype, device=x.device)
    _add_gated[(length, batch)](
        x, y, x if gate is None else gate.contiguous(), weight, bias, normalised, eps, length, width,
        gate is not None, NORM=True, BATCHED=weight.shape[0] > 1, BLOCK=triton.next_power_of_2(width), num_warps=8,
    )
    return x, normalised


def nag_mix(positive: Tensor, negative: Tensor, strength: float) -> Tensor:
    """See `elementwise.nag_mix`."""
    batch, length, width = positive.shape
    positive, negative = positive.contiguous(), negative.contiguous()
    _nag_mix[(length, batch)](positive, negative, strength, length, width, TAU=NAG_TAU, ALPHA=NAG_ALPHA,
                              SMALLEST=SMALLEST, BLOCK=triton.next_power_of_2(width), num_warps=8)
    return positive


@triton.jit
def normalised_row(values, weight, bias, affine, inside, width, eps):
    """LayerNorm of one row in registers, times weight, plus bias."""
    mean = tl.sum(values, axis=0) / width
    centred = tl.where(inside, values - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / width + eps)
    return centred * scale * tl.load(weight + affine, mask=inside) + tl.load(bias + affine, mask=inside)


@triton.jit
def _layer_norm(x, weight, bias, out, eps, length, width, BATCHED: tl.constexpr, BLOCK: tl.constexpr):
    item = tl.program_id(1)
    row = (item * length + tl.program_id(0)).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    affine = columns + (item * width if BATCHED else 0)
    values = tl.load(x + row + columns, mask=inside, other=0.0).to(tl.float32)
    result = normalised_row(values, weight, bias, affine, inside, width, eps)
    tl.store(out + row + columns, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _rms_norm(x, weight, cos, sin, eps, length, width, ROTATE: tl.constexpr, PAIRS: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    row = (tl.program_id(1) * length + token).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    values = tl.load(x + row + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
    values = values * scale * tl.load(weight + columns, mask=inside, other=0.0)
    if ROTATE:
        even, odd = tl.split(tl.reshape(values, (BLOCK // 2, 2)))
        angle = token.to(tl.int64) * PAIRS + tl.arange(0, BLOCK // 2) % PAIRS  # every head has the same angles
        c, s = tl.load(cos + angle), tl.load(sin + angle)
        values = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (BLOCK,))
    tl.store(x + row + columns, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _add_gated(x, y, gate, weight, bias, out, eps, length, width, GATED: tl.constexpr, NORM: tl.constexpr,
               BATCHED: tl.constexpr, BLOCK: tl.constexpr):
    item = tl.program_id(1)
    row = (item * length + tl.program_id(0)).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    values = tl.load(y + row + columns, mask=inside, other=0.0).to(tl.float32)
    if GATED:
        values = values * tl.load(gate + item * width + columns, mask=inside, other=0.0)
    values += tl.load(x + row + columns, mask=inside, other=0.0)
    tl.store(x + row + columns, values, mask=inside)
    if NORM:
        affine = columns + (item * width if BATCHED else 0)
        result = normalised_row(values, weight, bias, affine, inside, width, eps)
        tl.store(out + row + columns, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _nag_mix(positive, negative, strength, length, width, TAU: tl.constexpr, ALPHA: tl.constexpr,
             SMALLEST: tl.constexpr, BLOCK: tl.constexpr):
    row = (tl.program_id(1) * length + tl.program_id(0)).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(positive + row + columns, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(negative + row + columns, mask=inside, other=0.0).to(tl.float32)
    y = x + (strength - 1) * (x - y)
    norm = tl.maximum(tl.sum(tl.abs(y), axis=0), SMALLEST)
    held = tl.minimum(TAU * tl.sum(tl.abs(x), axis=0) / norm, 1.0)
    mixed = x + ALPHA * (y * held - x)
    tl.store(positive + row + columns, mixed.to(positive.dtype.element_ty), mask=inside)
