"""`kernels.fp8` in Triton, except `attention`, which is cuDNN's."""

# Triton's launch options, such as num_warps, are not in its types.
# pyright: reportCallIssue=false

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 8192
_HEAD, _KEYS = 128, 64
_STRIP, _SPAN = 512, 1024  # rows and columns that one program of `_stats` reads
_WHOLE_SPAN = 64  # columns of a program of `_whole`
_QUANTIZED_ROWS, _MERGED_ROWS = 128, 64  # of one program


def stats(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `fp8.stats`."""
    x = x.contiguous()
    length, width = x.shape
    down, across = triton.cdiv(length, _STRIP), triton.cdiv(width, _SPAN)
    strips = torch.empty(3, down, width, dtype=torch.float32, device=x.device)
    _stats[(down, across)](x, *strips, length, width, STRIP=_STRIP, ROWS=8, SPAN=_SPAN, num_warps=4)
    mean, largest, square = torch.empty(3, width, dtype=torch.float32, device=x.device)
    # a kernel of our own: PyTorch adds up rows in an order that depends on the width
    _whole[(triton.cdiv(width, _WHOLE_SPAN),)](*strips, mean, largest, square, length, down, width, ROWS=32,
                                               SPAN=_WHOLE_SPAN, num_warps=4)
    return mean, largest, square


def quantize(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """See `fp8.quantize`."""
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    _quantize[(triton.cdiv(x.numel(), _BLOCK),)](x, mean, scale, out, x.numel(), x.shape[-1], BLOCK=_BLOCK, num_warps=8)
    return out


def quantize_hadamard(x: Tensor, mean: Tensor | None, scale: Tensor) -> Tensor:
    """See `fp8.quantize_hadamard`."""
    x = x.contiguous()
    length, width = x.shape
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    heads = math.gcd(width // _HEAD, 4)  # one after the other, with the same matrix
    _quantize_hadamard[(triton.cdiv(length, _QUANTIZED_ROWS), width // _HEAD // heads)](
        x, scale if mean is None else mean, scale, out, length, width, CENTRED=mean is not None, HEAD=_HEAD,
        HEADS=heads, ROWS=_QUANTIZED_ROWS, num_warps=4,
    )
    return out


def merge_tail(main: Tensor, sums: Tensor, main_scale: Tensor, q: Tensor, k: Tensor, v: Tensor, score_scale: Tensor,
               v_scale: Tensor, mean: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """See `fp8.merge_tail`."""
    length, width = q.shape
    out = torch.empty(q.shape, dtype=dtype, device=q.device)
    _merge_tail[(triton.cdiv(length, _MERGED_ROWS), heads)](
        main, sums, main_scale, q, k, v, score_scale, v_scale, mean, out, length, len(k), width, HEAD=width // heads,
        ROWS=_MERGED_ROWS, KEYS=_KEYS, num_warps=4,
    )
    return out


@triton.jit
def _stats(x, sums, largest, squares, length, width, STRIP: tl.constexpr, ROWS: tl.constexpr, SPAN: tl.constexpr):
    column = tl.program_id(1) * SPAN + tl.arange(0, SPAN)
    total = tl.zeros((ROWS, SPAN), tl.float32)
    most, square = tl.zeros((ROWS, SPAN), tl.float32), tl.zeros((ROWS, SPAN), tl.float32)
    for start in range(0, STRIP, ROWS):
        row = tl.program_id(0) * STRIP + start + tl.arange(0, ROWS)
        inside = (row[:, None] < length) & (column[None, :] < width)
        values = tl.load(x + row.to(tl.int64)[:, None] * width + column[None, :], mask=inside, other=0.0)
        values = values.to(tl.float32)
        total += values
        most = tl.maximum(most, tl.abs(values))
        square += values * values
    place, there = tl.program_id(0) * width + column, column < width
    tl.store(sums + place, tl.sum(total, axis=0), mask=there)
    tl.store(largest + place, tl.max(most, axis=0), mask=there)
    tl.store(squares + place, tl.sum(square, axis=0), mask=there)


@triton.jit
def _whole(sums, largest, squares, mean, most, square, length, strips, width, ROWS: tl.constexpr, SPAN: tl.constexpr):
    """From strips of rows to the whole."""
    column = tl.program_id(0) * SPAN + tl.arange(0, SPAN)
    totals, found = tl.zeros((ROWS, SPAN), tl.float32), tl.zeros((ROWS, SPAN), tl.float32)
    totals_of_squares = tl.zeros((ROWS, SPAN), tl.float32)
    for start in range(0, strips, ROWS):
        strip = start + tl.arange(0, ROWS)
        inside = (strip[:, None] < strips) & (column[None, :] < width)
        place = strip[:, None] * width + column[None, :]
        totals += tl.load(sums + place, mask=inside, other=0.0)
        found = tl.maximum(found, tl.load(largest + place, mask=inside, other=0.0))
        totals_of_squares += tl.load(squares + place, mask=inside, other=0.0)
    there = column < width
    tl.store(mean + column, tl.sum(totals, axis=0) / length, mask=there)
    tl.store(most + column, tl.max(found, axis=0), mask=there)
    tl.store(square + column, tl.sum(totals_of_squares, axis=0) / length, mask=there)


@triton.jit
def _quantize(x, mean, scale, out, count, width, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values -= tl.load(mean + place % width, mask=inside, other=0.0)
    values = values / tl.load(scale)
    # rounding may put the largest one just outside the range
    values = tl.minimum(tl.maximum(values, -448.0), 448.0)
    tl.store(out + place, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _quantize_hadamard(x, mean, scale, out, length, width, CENTRED: tl.constexpr, HEAD: tl.constexpr,
                       HEADS: tl.constexpr, ROWS: tl.constexpr):
    row, channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, HEAD)
    here = row[:, None] < length
    # entry (i, j) is -1 where i and j have an odd number of ones in common, else 1
    odd = channel[:, None] & channel[None, :]
    odd ^= odd >> 4
    odd ^= odd >> 2
    odd ^= odd >> 1
    matrix = (1 - 2 * (odd & 1)).to(tl.float16)
    unit = HEAD**-0.5 / tl.load(scale)
    for head in range(HEADS):
        column = (tl.program_id(1) * HEADS + head) * HEAD + channel
        place = row.to(tl.int64)[:, None] * width + column[None, :]
        values = tl.load(x + place, mask=here, other=0.0).to(tl.float32)
        if CENTRED:
            values -= tl.load(mean + column)[None, :]
        # a norm has kept the values small: their 11 bits in float16 are more than float8 keeps in the end
        values = tl.dot(values.to(tl.float16), matrix) * unit
        values = tl.minimum(tl.maximum(values, -448.0), 448.0)
        tl.store(out + place, values.to(out.dtype.element_ty), mask=here)


@triton.jit
def _merge_tail(main, sums, main_scale, q, k, v, score_scale, v_scale, mean, out, length, keys, width,
                HEAD: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    head = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < length
    place = row.to(tl.int64)[:, None] * width + head * HEAD + tl.arange(0, HEAD)[None, :]
    query = tl.load(q + place, mask=here[:, None], other=0.0)
    to_two = 1.4426950408889634  # the logarithms below are to base 2
    before = tl.load(sums + head * length + row, mask=here, other=0.0) * to_two
    largest, total = before, tl.full((ROWS,), 1.0, tl.float32)
    result = tl.zeros((ROWS, HEAD), tl.float32)
    unit, v_unit = tl.load(score_scale) * to_two, tl.load(v_scale)
    for start in range(0, keys, KEYS):
        key = start + tl.arange(0, KEYS)
        there = key < keys
        source = key.to(tl.int64)[:, None] * width + head * HEAD + tl.arange(0, HEAD)[None, :]
        nearby = tl.load(k + source, mask=there[:, None], other=0.0)
        scores = tl.where(there[None, :], tl.dot(query, nearby.T) * unit, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(largest - higher)
        # float16 holds every value of float8 e4m3, and more digits of the weights
        values = tl.load(v + source, mask=there[:, None], other=0.0).to(tl.float16)
        result = tl.dot(weights.to(tl.float16), values, result * fade[:, None])
        total = total * fade + tl.sum(weights, axis=1)
        largest = higher
    kept = tl.load(main_scale) * tl.exp2(before - largest)
    result = result * v_unit + tl.load(main + place, mask=here[:, None], other=0.0).to(tl.float32) * kept[:, None]
    result = result / total[:, None] + tl.load(mean + head * HEAD + tl.arange(0, HEAD))[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=here[:, None])
