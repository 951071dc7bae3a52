"""`kernels.sparse` in Triton, except `attend`, which is FlashAttention 4's."""

# Triton's launch options, such as num_warps, are not in its types.
# pyright: reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_HEAD = 128
_ROWS, _KEYS = 128, 64  # queries of a program of `_add_rest`, and blocks that one step of it reads
_TILE = 128  # pieces of queries, and of keys, that one step of `_estimate` compares
_POOLED_ROWS = 128  # of one program


def pool(x: Tensor, heads: int, size: int) -> Tensor:
    """See `sparse.pool`."""
    x = x.contiguous()
    batch, length, width = x.shape
    count = triton.cdiv(length, size)
    mean = torch.empty(batch, heads, count, _HEAD, dtype=x.dtype, device=x.device)
    pieces = max(_POOLED_ROWS // size, 1)
    _pool[(triton.cdiv(count, pieces), heads, batch)](x, mean, length, width, count, HEAD=_HEAD, ROWS=size,
                                                      PIECES=pieces, num_warps=4)
    return mean


def estimate(queries: Tensor, keys: Tensor, length: int, size: int, groups: tuple[int, int]) -> Tensor:
    """See `sparse.estimate`."""
    batch, heads, many, _ = queries.shape
    count = keys.shape[2]
    down, across = groups
    shares = torch.empty(batch, heads, triton.cdiv(many, down), triton.cdiv(count, across), dtype=torch.float32,
                         device=queries.device)
    _estimate[(triton.cdiv(many, _TILE), heads, batch)](
        queries.contiguous(), keys.contiguous(), shares, many, count, length, shares.shape[2], shares.shape[3],
        _HEAD**-0.5, HEAD=_HEAD, SIZE=size, DOWN=down, ACROSS=across, TILE=_TILE, LINES=_TILE // down,
        COLUMNS=_TILE // across, num_warps=8, num_stages=3)
    return shares


def choose(weights: Tensor, least: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `sparse.choose`."""
    weights = weights.contiguous()
    batch, heads, queries, keys = weights.shape
    kept = torch.empty(weights.shape, dtype=torch.uint8, device=weights.device)
    counts = torch.empty(batch, heads, queries, dtype=torch.int32, device=weights.device)
    blocks = torch.zeros(weights.shape, dtype=torch.int32, device=weights.device)
    _choose[(queries * heads, batch)](weights, least, kept, counts, blocks, keys,
                                      WIDTH=triton.next_power_of_2(keys), num_warps=4)
    return kept, counts, blocks


def add_rest_(out: Tensor, sums: Tensor, q: Tensor, keys: Tensor, values: Tensor, logarithms: Tensor, kept: Tensor,
              size: int) -> Tensor:
    """See `sparse.add_rest_`."""
    batch, length, width = q.shape
    heads, count = keys.shape[1:3]
    _add_rest[(triton.cdiv(length, _ROWS), heads, batch)](
        out, sums.contiguous(), q.contiguous(), keys.contiguous(), values.contiguous(), logarithms.contiguous(), kept,
        length, width, count, kept.shape[2], _HEAD**-0.5, HEAD=_HEAD, SIZE=size, ROWS=_ROWS, KEYS=_KEYS, num_warps=8,
        num_stages=2)
    return out


@triton.jit
def _pool(x, mean, length, width, count, HEAD: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr):
    head, item = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row, channel = tl.program_id(0) * PIECES * ROWS + tl.arange(0, PIECES * ROWS), tl.arange(0, HEAD)
    place = (item * length + row)[:, None] * width + head * HEAD + channel[None, :]
    values = tl.load(x + place, mask=(row < length)[:, None], other=0.0).to(tl.float32)
    piece = tl.program_id(0) * PIECES + tl.arange(0, PIECES)
    rows = tl.minimum(length - piece * ROWS, ROWS).to(tl.float32)
    middle = tl.sum(values.reshape(PIECES, ROWS, HEAD), axis=1) / rows[:, None]
    target = ((item * tl.num_programs(1) + head) * count + piece)[:, None] * HEAD + channel[None, :]
    tl.store(mean + target, middle.to(mean.dtype.element_ty), mask=(piece < count)[:, None])


@triton.jit
def _estimate(queries, keys, shares, many, count, length, down, across, scale, HEAD: tl.constexpr, SIZE: tl.constexpr,
              DOWN: tl.constexpr, ACROSS: tl.constexpr, TILE: tl.constexpr, LINES: tl.constexpr, COLUMNS: tl.constexpr):
    of_head = tl.program_id(2).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    row, channel = tl.program_id(0) * TILE + tl.arange(0, TILE), tl.arange(0, HEAD)
    here = row < many
    query = tl.load(queries + (of_head * many + row)[:, None] * HEAD + channel[None, :], mask=here[:, None], other=0.0)
    unit = scale * 1.4426950408889634  # exponents are of 2
    largest, total = tl.full((TILE,), float("-inf"), tl.float32), tl.zeros((TILE,), tl.float32)
    for start in range(0, count, TILE):
        score = _scores(query, keys, of_head, start, count, length, unit, HEAD, SIZE, TILE)
        higher = tl.maximum(largest, tl.max(score, axis=1))
        total = total * tl.exp2(largest - higher) + tl.sum(tl.exp2(score - higher[:, None]), axis=1)
        largest = higher
    line = tl.program_id(0) * LINES + tl.arange(0, LINES)
    # a block's share is the mean over the pieces of queries that there are
    weight = tl.where(here, 1.0 / total, 0.0)
    pieces = tl.sum(here.to(tl.float32).reshape(LINES, DOWN), axis=1)
    for start in range(0, count, TILE):
        score = _scores(query, keys, of_head, start, count, length, unit, HEAD, SIZE, TILE)
        share = tl.exp2(score - largest[:, None]) * weight[:, None]
        share = tl.sum(share.reshape(TILE, COLUMNS, ACROSS), axis=2)
        share = tl.sum(share.reshape(LINES, DOWN, COLUMNS), axis=1) / tl.maximum(pieces, 1.0)[:, None]
        column = start // ACROSS + tl.arange(0, COLUMNS)
        inside = (line < down)[:, None] & (column < across)[None, :]
        tl.store(shares + (of_head * down + line)[:, None] * across + column[None, :], share, mask=inside)


@triton.jit
def _scores(query, keys, of_head, start, count, length, unit, HEAD: tl.constexpr, SIZE: tl.constexpr,
            TILE: tl.constexpr):
    """Of a tile of pieces, to base 2: each piece of keys counts as often as it has rows."""
    number, channel = start + tl.arange(0, TILE), tl.arange(0, HEAD)
    there = number < count
    key = tl.load(keys + (of_head * count + number)[:, None] * HEAD + channel[None, :], mask=there[:, None], other=0.0)
    rows = tl.maximum(tl.minimum(length - number * SIZE, SIZE), 1).to(tl.float32)
    return tl.where(there[None, :], tl.dot(query, key.T) * unit + tl.log2(rows)[None, :], float("-inf"))


@triton.jit
def _choose(weights, least, kept, counts, blocks, keys, WIDTH: tl.constexpr):
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    column = tl.arange(0, WIDTH)
    inside = column < keys
    weight = tl.load(weights + row * keys + column, mask=inside, other=-1.0)
    keep = inside & ((weight >= tl.load(least + tl.program_id(1))) | (weight == tl.max(weight, axis=0)))
    number = keep.to(tl.int32)
    place = tl.cumsum(number, axis=0) - 1
    tl.store(kept + row * keys + column, number.to(tl.uint8), mask=inside)
    tl.store(counts + row, tl.sum(number, axis=0))
    tl.store(blocks + row * keys + place, column, mask=keep)


@triton.jit
def _add_rest(out, sums, q, keys, values, logarithms, kept, length, width, count, queries, scale, HEAD: tl.constexpr,
              SIZE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    head, item, heads = tl.program_id(1), tl.program_id(2).to(tl.int64), tl.num_programs(1)
    block = tl.program_id(0) * ROWS // SIZE
    row, channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, HEAD)
    here = row < length
    place = (item * length + row)[:, None] * width + head * HEAD + channel[None, :]
    query = tl.load(q + place, mask=here[:, None], other=0.0)
    to_two = 1.4426950408889634  # the logarithms below are to base 2
    of_head = item * heads + head
    before = tl.load(sums + of_head * length + row, mask=here, other=0.0) * to_two
    largest, total = before, tl.full((ROWS,), 1.0, tl.float32)
    result = tl.zeros((ROWS, HEAD), tl.float32)
    for start in range(0, count, KEYS):
        number = start + tl.arange(0, KEYS)
        there = number < count
        taken = tl.load(kept + (of_head * queries + block) * count + number, mask=there, other=1)
        source = (of_head * count + number)[:, None] * HEAD + channel[None, :]
        nearby = tl.load(keys + source, mask=there[:, None], other=0.0)
        bias = tl.load(logarithms + number, mask=there, other=0.0)
        scores = (tl.dot(query, nearby.T) * scale + bias[None, :]) * to_two
        scores = tl.where((taken == 0)[None, :], scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(largest - higher)
        near = tl.load(values + source, mask=there[:, None], other=0.0)
        result = tl.dot(weights.to(near.dtype), near, result * fade[:, None])
        total = total * fade + tl.sum(weights, axis=1)
        largest = higher
    share = tl.exp2(before - largest)
    result += tl.load(out + place, mask=here[:, None], other=0.0).to(tl.float32) * share[:, None]
    tl.store(out + place, (result / total[:, None]).to(out.dtype.element_ty), mask=here[:, None])
