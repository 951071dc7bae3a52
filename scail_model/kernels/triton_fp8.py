"""Triton kernels of `fp8_attention.py`. Imported only where Triton is installed and a GPU asks for it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 8192
_HEAD, _KEYS = 128, 64
_STRIP, _SPAN = 512, 1024  # rows and columns that one program surveys
_TURNED, _FINISHED = 128, 64  # rows of one program


class Survey(NamedTuple):
    """Of x [L, C], in float32: the mean of each column [C], the largest absolute value [], and the mean square []."""

    mean: Tensor
    largest: Tensor
    square: Tensor

    def size(self) -> Tensor:
        """Root mean square of x less its columns' means, []."""
        return (self.square - self.mean.square().mean()).clamp(min=0).sqrt()


def survey(x: Tensor) -> Survey:
    """x [L, C], read once."""
    x = x.contiguous()
    length, width = x.shape
    down, across = triton.cdiv(length, _STRIP), triton.cdiv(width, _SPAN)
    sums = torch.empty(down, width, dtype=torch.float32, device=x.device)
    largest, squares = torch.empty(2, down, across, dtype=torch.float32, device=x.device)
    _survey[(down, across)](x, sums, largest, squares, length, width, across, STRIP=_STRIP, ROWS=8, SPAN=_SPAN,
                            num_warps=4)
    return Survey(sums.sum(0) / length, largest.amax(), squares.sum() / x.numel())


def narrow(x: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    """x [L, C] less a mean float32 [C], in units of step float32 [] -> float8 e4m3; none may be larger than 448."""
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    _narrow[(triton.cdiv(x.numel(), _BLOCK),)](x, mean, step, out, x.numel(), x.shape[-1], BLOCK=_BLOCK, num_warps=8)
    return out


def narrow_turned(x: Tensor, mean: Tensor | None, step: Tensor) -> Tensor:
    """`narrow` of x [L, heads * 128], its heads multiplied by the orthogonal Hadamard matrix; no mean is 0."""
    x = x.contiguous()
    length, width = x.shape
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn, device=x.device)
    heads = math.gcd(width // _HEAD, 4)  # one after the other, with the same matrix
    _narrow_turned[(triton.cdiv(length, _TURNED), width // _HEAD // heads)](
        x, step if mean is None else mean, step, out, length, width, CENTRED=mean is not None, HEAD=_HEAD, HEADS=heads,
        ROWS=_TURNED, num_warps=4,
    )
    return out


def finish(found: Tensor, sums: Tensor, found_step: Tensor, q: Tensor, k: Tensor, v: Tensor, score_step: Tensor,
           v_step: Tensor, mean: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Attention over many keys, `found` [L, heads * 128] with `sums` [heads, L], the logarithms of its sums, and over
    a few more, k and v [n, heads * 128] -> over all of them, [L, heads * 128] in `dtype`.

    q, k and v are float8 e4m3. The steps are what a unit stands for: of `found`, of the product of q and k, and of v.
    mean float32 [heads * 128] is added to all.
    """
    length, width = q.shape
    out = torch.empty(q.shape, dtype=dtype, device=q.device)
    _finish[(triton.cdiv(length, _FINISHED), heads)](
        found, sums, found_step, q, k, v, score_step, v_step, mean, out, length, len(k), width, HEAD=width // heads,
        ROWS=_FINISHED, KEYS=_KEYS, num_warps=4,
    )
    return out


@triton.jit
def _survey(x, sums, largest, squares, length, width, across, STRIP: tl.constexpr, ROWS: tl.constexpr,
            SPAN: tl.constexpr):
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
    tl.store(sums + tl.program_id(0) * width + column, tl.sum(total, axis=0), mask=column < width)
    place = tl.program_id(0) * across + tl.program_id(1)
    tl.store(largest + place, tl.max(tl.max(most, axis=1), axis=0))
    tl.store(squares + place, tl.sum(tl.sum(square, axis=1), axis=0))


@triton.jit
def _narrow(x, mean, step, out, count, width, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values -= tl.load(mean + place % width, mask=inside, other=0.0)
    values = values / tl.load(step)
    # the largest one may come out a hair over the range
    values = tl.minimum(tl.maximum(values, -448.0), 448.0)
    tl.store(out + place, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _narrow_turned(x, mean, step, out, length, width, CENTRED: tl.constexpr, HEAD: tl.constexpr, HEADS: tl.constexpr,
                   ROWS: tl.constexpr):
    row, channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, HEAD)
    here = row[:, None] < length
    # entry (i, j) is -1 where i and j have an odd number of ones in common, else 1
    odd = channel[:, None] & channel[None, :]
    odd ^= odd >> 4
    odd ^= odd >> 2
    odd ^= odd >> 1
    matrix = (1 - 2 * (odd & 1)).to(tl.float16)
    unit = HEAD**-0.5 / tl.load(step)
    for head in range(HEADS):
        column = (tl.program_id(1) * HEADS + head) * HEAD + channel
        place = row.to(tl.int64)[:, None] * width + column[None, :]
        values = tl.load(x + place, mask=here, other=0.0).to(tl.float32)
        if CENTRED:
            values -= tl.load(mean + column)[None, :]
        # 11 bits of the values, which a norm has kept small, are more than is left of them in the end
        values = tl.dot(values.to(tl.float16), matrix) * unit
        values = tl.minimum(tl.maximum(values, -448.0), 448.0)
        tl.store(out + place, values.to(out.dtype.element_ty), mask=here)


@triton.jit
def _finish(found, sums, found_step, q, k, v, score_step, v_step, mean, out, length, keys, width, HEAD: tl.constexpr,
            ROWS: tl.constexpr, KEYS: tl.constexpr):
    head = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < length
    place = row.to(tl.int64)[:, None] * width + head * HEAD + tl.arange(0, HEAD)[None, :]
    query = tl.load(q + place, mask=here[:, None], other=0.0)
    to_two = 1.4426950408889634  # powers of two from here on
    before = tl.load(sums + head * length + row, mask=here, other=0.0) * to_two
    largest, total = before, tl.full((ROWS,), 1.0, tl.float32)
    result = tl.zeros((ROWS, HEAD), tl.float32)
    unit, v_unit = tl.load(score_step) * to_two, tl.load(v_step)
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
    kept = tl.load(found_step) * tl.exp2(before - largest)
    result = result * v_unit + tl.load(found + place, mask=here[:, None], other=0.0).to(tl.float32) * kept[:, None]
    result = result / total[:, None] + tl.load(mean + head * HEAD + tl.arange(0, HEAD))[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=here[:, None])
