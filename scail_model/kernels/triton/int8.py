"""`kernels.int8` in Triton. Tokens: one program for each, float32 in registers. Products: tiles of 128x256 with int32
sums, on as many programs as the GPU has multiprocessors; tiles of neighbouring rows run together and share what they
read."""

# Triton's launch options, such as num_warps, are not in its types.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from .elementwise import normalised_row

_ANY, _NORM, _GELU = 0, 1, 2
GELU_MINIMUM: tl.constexpr = tl.constexpr(-0.17004)


def probe(device: torch.device) -> None:
    """Try a product, because GPUs differ in the tiles that fit. Raises RuntimeError for a wrong one, and what Triton
    raises."""
    values, scale = torch.ones(1, 256, 256, device=device, dtype=torch.int8), torch.ones(1, 256, device=device)
    product = linear(values, scale, scale, values[0], scale[0], None, torch.bfloat16)
    if not bool((product == 512).all()):
        raise RuntimeError("a product came out wrong")


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `int8.quantize`."""
    return _quantize_rows(x, _ANY)[:2]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """See `int8.layer_norm`."""
    return _quantize_rows(x, _NORM, weight, bias, eps)[:2]


def gelu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `int8.gelu`."""
    return _quantize_rows(x, _GELU)


def add_gated_norm_(x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor,
                    eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """See `int8.add_gated_norm_`."""
    batch, length, width = x.shape
    x, y, weight, bias = x.contiguous(), y.contiguous(), weight.contiguous(), bias.contiguous()
    values, scale = torch.empty(x.shape, dtype=torch.int8, device=x.device), x.new_empty(batch, length)
    _add_gated_norm[(length, batch)](
        x, y, x if gate is None else gate.contiguous(), weight, bias, values, scale, eps, length, width,
        gate is not None, BATCHED=weight.shape[0] > 1, BLOCK=triton.next_power_of_2(width), num_warps=8,
    )
    return x, values, scale


def linear(values: Tensor, scale: Tensor, zero: Tensor | None, weight: Tensor, weight_scale: Tensor,
           bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """See `int8.linear`."""
    batch, length, width = values.shape
    rows, columns = batch * length, weight.shape[0]
    values, scale = values.reshape(rows, width).contiguous(), scale.reshape(rows).contiguous()
    weight, weight_scale = weight.contiguous(), weight_scale.float().contiguous()
    out = torch.empty(batch, length, columns, dtype=dtype, device=values.device)
    if not rows:
        return out  # a descriptor takes no empty tensor
    sums = zero if zero is None else _row_sums(weight, weight_scale)
    tile = _tile(values.device, dtype.itemsize)
    tiles = triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns)
    programs = min(tiles, _multiprocessors(values.device))
    _linear[(programs,)](
        TensorDescriptor.from_tensor(values, [tile.rows, tile.depth]),
        TensorDescriptor.from_tensor(weight, [tile.columns, tile.depth]),
        out, scale, weight_scale, scale if zero is None else zero.reshape(rows).contiguous(),
        weight_scale if sums is None else sums, weight_scale if bias is None else bias.contiguous(),
        rows, columns, width, programs, BIAS=bias is not None, ZERO=zero is not None,
        ROWS=tile.rows, COLUMNS=tile.columns, DEPTH=tile.depth, GROUP=16, num_warps=tile.warps, num_stages=tile.stages,
    )
    return out


def _row_sums(weight: Tensor, scale: Tensor) -> Tensor:
    """Of a weight [N, C] in int8 with its scales [N]: float32 [N]. PyTorch would make a copy in four bytes first."""
    sums = torch.empty_like(scale)
    _sum_rows[(len(weight),)](weight, scale, sums, weight.shape[1], BLOCK=1024, num_warps=4)
    return sums


class _Tile:
    def __init__(self, rows: int, columns: int, depth: int, warps: int, stages: int) -> None:
        self.rows, self.columns, self.depth, self.warps, self.stages = rows, columns, depth, warps, stages


@functools.cache
def _tile(device: torch.device, result_bytes: int) -> _Tile:
    # Hopper and Blackwell have 227 KiB of shared memory, nearly all GPUs 64: four stages take 192, and float32 results
    # need a whole tile beside them
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10):
        return _Tile(128, 256 if result_bytes == 2 else 128, 128, 8, 4)
    return _Tile(128, 128, 64, 8, 3)


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3


def _quantize_rows(x: Tensor, what: int, weight: Tensor | None = None, bias: Tensor | None = None,
                   eps: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, width = x.shape
    x = x.contiguous()
    values = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scale, zero = torch.empty(2, batch, length, dtype=torch.float32, device=x.device)
    _quantize[(length, batch)](
        x, x if weight is None else weight.contiguous(), x if bias is None else bias.contiguous(), values, scale, zero,
        eps, length, width, WHAT=what, BATCHED=weight is not None and weight.shape[0] > 1,
        BLOCK=triton.next_power_of_2(width), num_warps=8,
    )
    return values, scale, zero


@triton.jit
def _nearest(x):
    return tl.floor(x + 0.5)


@triton.jit
def _put(x, values, scale, place, row, columns, inside):
    """One row x in registers -> its int8 values and their scale."""
    step = tl.maximum(tl.max(tl.abs(x), axis=0), 127e-30) / 127.0
    tl.store(values + row + columns, _nearest(x * (1.0 / step)).to(tl.int8), mask=inside)
    tl.store(scale + place, step)


@triton.jit
def _quantize(x, weight, bias, values, scale, zero, eps, length, width, WHAT: tl.constexpr, BATCHED: tl.constexpr,
              BLOCK: tl.constexpr):
    item = tl.program_id(1)
    place = item * length + tl.program_id(0)
    row = place.to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    token = tl.load(x + row + columns, mask=inside, other=0.0).to(tl.float32)
    if WHAT == 2:
        # 0.5 * (1 + tanh(u)) is 1 / (1 + exp(-2 u)); powers of two and inexact quotients are enough for 8 bits
        inner = token * (1.5957691216057308 + 0.07135481627159 * token * token)
        token = tl.fdiv(token, 1.0 + tl.exp2(-1.4426950408889634 * inner))
        step = (tl.max(token, axis=0) - GELU_MINIMUM) / 254.0
        tl.store(values + row + columns, _nearest((token - GELU_MINIMUM) * (1.0 / step) - 127.0).to(tl.int8),
                 mask=inside)
        tl.store(scale + place, step)
        tl.store(zero + place, 127.0 * step + GELU_MINIMUM)
    else:
        if WHAT == 1:
            affine = columns + (item * width if BATCHED else 0)
            token = normalised_row(token, weight, bias, affine, inside, width, eps)
            token = tl.where(inside, token, 0.0)
        _put(token, values, scale, place, row, columns, inside)


@triton.jit
def _add_gated_norm(x, y, gate, weight, bias, values, scale, eps, length, width, GATED: tl.constexpr,
                    BATCHED: tl.constexpr, BLOCK: tl.constexpr):
    item = tl.program_id(1)
    place = item * length + tl.program_id(0)
    row = place.to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    token = tl.load(y + row + columns, mask=inside, other=0.0).to(tl.float32)
    if GATED:
        token = token * tl.load(gate + item * width + columns, mask=inside, other=0.0)
    token += tl.load(x + row + columns, mask=inside, other=0.0)
    tl.store(x + row + columns, token, mask=inside)
    affine = columns + (item * width if BATCHED else 0)
    token = normalised_row(token, weight, bias, affine, inside, width, eps)
    _put(tl.where(inside, token, 0.0), values, scale, place, row, columns, inside)


@triton.jit
def _sum_rows(weight, scale, sums, width, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), dtype=tl.int32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        total += tl.load(weight + row.to(tl.int64) * width + column, mask=column < width, other=0).to(tl.int32)
    tl.store(sums + row, tl.sum(total, axis=0).to(tl.float32) * tl.load(scale + row))


@triton.jit
def _linear(x, weight, out, scale, weight_scale, zero, sums, bias, rows, columns, width, programs,
            BIAS: tl.constexpr, ZERO: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
            GROUP: tl.constexpr):
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    for tile in tl.range(tl.program_id(0), down * across, programs, flatten=True):
        group = tile // (GROUP * across)
        first = group * GROUP
        height = tl.minimum(down - first, GROUP)
        i = (first + (tile % (GROUP * across)) % height) * ROWS
        j = (tile % (GROUP * across)) // height * COLUMNS
        total = tl.zeros((ROWS, COLUMNS), dtype=tl.int32)
        for k in range(0, tl.cdiv(width, DEPTH)):
            total = tl.dot(x.load([i, k * DEPTH]), weight.load([j, k * DEPTH]).T, total, out_dtype=tl.int32)
        row, column = i + tl.arange(0, ROWS), j + tl.arange(0, COLUMNS)
        here, there = row < rows, column < columns
        result = total.to(tl.float32) * tl.load(scale + row, mask=here, other=0.0)[:, None]
        result = result * tl.load(weight_scale + column, mask=there, other=0.0)[None, :]
        if ZERO:
            shift = tl.load(zero + row, mask=here, other=0.0)[:, None]
            result += shift * tl.load(sums + column, mask=there, other=0.0)[None, :]
        if BIAS:
            result += tl.load(bias + column, mask=there, other=0.0).to(tl.float32)[None, :]
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(out + place, result.to(out.dtype.element_ty), mask=here[:, None] & there[None, :])
