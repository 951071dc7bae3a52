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
_TILE = 128  # pieces or blocks, of queries and of keys, that one step of an estimate compares
_PIECES = 16  # of one program of `_pool`


def pool(x: Tensor, heads: int, size: int) -> Tensor:
    """See `sparse.pool`."""
    x = x.contiguous()
    batch, length, width = x.shape
    count = triton.cdiv(length, size)
    mean = torch.empty(batch, heads, count, _HEAD, dtype=x.dtype, device=x.device)
    _pool[(triton.cdiv(count, _PIECES), heads, batch)](x, mean, length, width, count, HEAD=_HEAD, ROWS=size,
                                                       PIECES=_PIECES, num_warps=4)
    return mean


def estimate(queries: Tensor, keys: Tensor, length: int, size: int, groups: tuple[int, int]) -> Tensor:
    """See `sparse.estimate`."""
    queries, keys = queries.contiguous(), keys.contiguous()
    batch, heads, many, _ = queries.shape
    count = keys.shape[2]
    sums = torch.empty(batch, heads, many, dtype=torch.float32, device=queries.device)
    numbers = many, count, length, _HEAD**-0.5
    _sum_scores[(triton.cdiv(many, _TILE), heads, batch)](queries, keys, sums, *numbers, HEAD=_HEAD, SIZE=size,
                                                          TILE=_TILE, num_warps=8, num_stages=3)
    down, across = triton.cdiv(many, groups[0]), triton.cdiv(count, groups[1])
    shares = torch.empty(batch, heads, down, across, dtype=torch.float32, device=queries.device)
    tiles = triton.cdiv(down, _TILE) * triton.cdiv(across, _TILE)
    _estimate[(tiles, heads, batch)](queries, keys, sums, shares, *numbers, down, across, HEAD=_HEAD, SIZE=size,
                                     DOWN=groups[0], ACROSS=groups[1], TILE=_TILE, num_warps=8, num_stages=2)
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
    piece, channel = tl.program_id(0) * PIECES + tl.arange(0, PIECES), tl.arange(0, HEAD)
    total = tl.zeros((PIECES, HEAD), tl.float32)
    for number in range(ROWS):
        row = piece * ROWS + number
        place = (item * length + row)[:, None] * width + head * HEAD + channel[None, :]
        total += tl.load(x + place, mask=(row < length)[:, None], other=0.0).to(tl.float32)
    rows = tl.minimum(length - piece * ROWS, ROWS).to(tl.float32)
    target = ((item * tl.num_programs(1) + head) * count + piece)[:, None] * HEAD + channel[None, :]
    tl.store(mean + target, (total / rows[:, None]).to(mean.dtype.element_ty), mask=(piece < count)[:, None])


@triton.jit
def _sum_scores(queries, keys, sums, many, count, length, scale, HEAD: tl.constexpr, SIZE: tl.constexpr,
                TILE: tl.constexpr):
    """The logarithms, to base 2, of the sums of each piece of queries."""
    of_head = tl.program_id(2).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    query = _pieces(queries, of_head, row, many, HEAD)
    largest, total = tl.full((TILE,), float("-inf"), tl.float32), tl.zeros((TILE,), tl.float32)
    for start in range(0, count, TILE):
        score = _scores(query, keys, of_head, start + tl.arange(0, TILE), count, length, scale, HEAD, SIZE)
        higher = tl.maximum(largest, tl.max(score, axis=1))
        total = total * tl.exp2(largest - higher) + tl.sum(tl.exp2(score - higher[:, None]), axis=1)
        largest = higher
    tl.store(sums + of_head * many + row, largest + tl.log2(total), mask=row < many)


@triton.jit
def _estimate(queries, keys, sums, shares, many, count, length, scale, down, across, HEAD: tl.constexpr,
              SIZE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr, TILE: tl.constexpr):
    """The pieces of a block come one after the other, each for a whole tile of blocks, so that sums stay in place."""
    of_head = tl.program_id(2).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    tiles = tl.cdiv(across, TILE)
    line = tl.program_id(0) // tiles * TILE + tl.arange(0, TILE)
    column = tl.program_id(0) % tiles * TILE + tl.arange(0, TILE)
    squares = tl.zeros((TILE, TILE), tl.float32)
    for piece in range(DOWN):
        row = line * DOWN + piece
        query = _pieces(queries, of_head, row, many, HEAD)
        total = tl.load(sums + of_head * many + row, mask=row < many, other=float("inf"))
        share = tl.zeros((TILE, TILE), tl.float32)
        for other in range(ACROSS):
            score = _scores(query, keys, of_head, column * ACROSS + other, count, length, scale, HEAD, SIZE)
            share += tl.exp2(score - total[:, None])
        squares += share * share
    pieces = tl.minimum(many - line * DOWN, DOWN).to(tl.float32)
    inside = (line < down)[:, None] & (column < across)[None, :]
    place = (of_head * down + line)[:, None] * across + column[None, :]
    tl.store(shares + place, tl.sqrt(squares / tl.maximum(pieces, 1.0)[:, None]), mask=inside)


@triton.jit
def _pieces(pieces, of_head, number, count, HEAD: tl.constexpr):
    place = (of_head * count + number)[:, None] * HEAD + tl.arange(0, HEAD)[None, :]
    return tl.load(pieces + place, mask=(number < count)[:, None], other=0.0)


@triton.jit
def _scores(query, keys, of_head, number, count, length, scale, HEAD: tl.constexpr, SIZE: tl.constexpr):
    """Of pieces of queries with pieces of keys, to base 2; each of these counts as often as it has rows."""
    rows = tl.maximum(tl.minimum(length - number * SIZE, SIZE), 1).to(tl.float32)
    score = tl.dot(query, _pieces(keys, of_head, number, count, HEAD).T) * (scale * 1.4426950408889634)
    return tl.where((number < count)[None, :], score + tl.log2(rows)[None, :], float("-inf"))


@triton.jit
def _choose(weights, least, kept, counts, blocks, keys, WIDTH: tl.constexpr):
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    column = tl.arange(0, WIDTH)
    inside = column < keys
    weight = tl.load(weights + row * keys + column, mask=inside, other=-1.0)
    keep = inside & (weight >= tl.load(least + row))
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
