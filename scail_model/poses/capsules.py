"""Capsules met by the rays of a picture, in closed form, as SCAIL-Pose's sphere tracer finds them.

Everything is float64, and put together from operations that IEEE 754 rounds in one way: the same bits on every CPU, and
for every stretch of frames.

On a CPU it is done a few rows at a time, with fewer numbers than torch shares between cores: so many small shares would
wait for each other, and with other work on the cores that takes 20 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .footprint import RADIUS, SPAN, Limbs, Spans, dot, pick, spans

_BEGIN = 0.1  # mm from the camera: a ray that begins inside a capsule meets it there
_HIT = 1e-3  # mm: nearer than this is met, and differences below it are none
_SHARED = 2**15  # torch shares operations between cores from this size on
_BAND, _BLOCK = _SHARED - 1, _SHARED // 18  # pixels, and spans, that are in work at once
_GPU_BAND, _GPU_BLOCK = 2**23, 2**17


class Hits(NamedTuple):
    """Pixels that show a capsule, each once, in any order. pixel: (frame * height + row) * width + column, int64 [n].
    limb: the capsule, int64 [n]. depth: z of the place that is seen, float64 [n] mm; negative where the ray begins
    inside the capsule."""

    pixel: Tensor
    limb: Tensor
    depth: Tensor


def first_hits(limbs: Limbs, height: int, width: int, stop: float) -> Iterator[Hits]:
    """What is seen of capsules in their frames, some rows at a time: the nearest, and of equally near ones that which
    is drawn first.

    stop: how long a ray is, in mm.
    """
    reached, table = spans(limbs, height, width), _by_limb(limbs)
    row = pick(limbs.frame, reached.limb) * height + reached.row
    on_cpu = row.device.type == "cpu"
    rows = max(1, (_BAND if on_cpu else _GPU_BAND) // width)
    band = row // rows
    order = band.argsort(stable=True)  # and by limb within a band
    counts = band.bincount().tolist()
    for number, part in enumerate(order.split(counts)):
        if len(part):
            parts = part.split(_BLOCK if on_cpu else _GPU_BLOCK)
            met = [_met(table, Spans(*(pick(column, block) for column in reached)), pick(row, block) * width, stop)
                   for block in parts]
            yield _nearest(Hits(*map(torch.cat, zip(*met, strict=True))), number * rows * width, rows * width)


def _nearest(hits: Hits, first: int, count: int) -> Hits:
    """Of all hits within pixels first..first + count, those in front."""
    pixel, limb, depth = hits
    place = pixel - first
    nearest = depth.new_full((count,), torch.inf).scatter_reduce_(0, place, depth, "amin")
    front = (depth <= pick(nearest, place) + _HIT).nonzero()[:, 0]
    place, limb = pick(place, front), pick(limb, front)
    drawn = limb.new_full((count,), torch.iinfo(limb.dtype).max).scatter_reduce_(0, place, limb, "amin")
    first_drawn = (limb == pick(drawn, place)).nonzero()[:, 0]
    front = pick(front, first_drawn)
    return Hits(pick(pixel, front), pick(limb, first_drawn), pick(depth, front))


def _met(table: Tensor, rows: Spans, row_start: Tensor, stop: float) -> Hits:
    """Every capsule on every ray of some spans. The depth of one that holds the start of the ray is negative, and
    least for the capsule whose axis is nearest."""
    depth = _depths(pick(table, rows.limb, 1), rows.row, rows.first, stop)  # [SPAN, n]
    column = torch.arange(SPAN, device=depth.device)[:, None]
    met = ((depth < torch.inf) & (column <= rows.last - rows.first)).flatten().nonzero()[:, 0]
    span = met % len(row_start)
    pixel = pick(row_start + rows.first, span) + met // len(row_start)
    return Hits(pixel, pick(rows.limb, span), pick(depth.flatten(), met))


def _by_limb(limbs: Limbs) -> Tensor:
    """What `_depths` reads of each capsule, float64 [17, N]."""
    axis = limbs.axis
    end = axis.start + axis.length[:, None] * axis.direction
    reach = dot(axis.start, axis.start)
    side = axis.start - axis.offset[:, None] * axis.direction
    place = (-axis.offset).clamp(min=0).minimum(axis.length)
    nearest = axis.start + place[:, None] * axis.direction
    close = dot(nearest, nearest) < (RADIUS + 2 * _BEGIN) ** 2
    return torch.stack((*limbs.camera.unbind(-1), *axis.start.unbind(-1), *axis.direction.unbind(-1), axis.offset,
                        axis.length, dot(side, side) - RADIUS**2, reach - RADIUS**2, dot(end, end) - RADIUS**2, reach,
                        close.double()))


def _depths(table: Tensor, row: Tensor, first: Tensor, stop: float) -> Tensor:
    """Depth at which each ray meets its capsule, float64 [SPAN, n]; inf where it does not."""
    fx, fy, cx, cy, ax, ay, az, wx, wy, wz, offset, length, beside, before, after, reach, close = table
    v = (row - cy) / fy
    u = (first + torch.arange(SPAN, device=row.device)[:, None] - cx) / fx  # [SPAN, n]
    shrink = (u * u + (v * v + 1)).rsqrt()  # the ray (u, v, 1), times this, has length 1
    to_start = (u * ax + (v * ay + az)) * shrink
    along = (u * wx + (v * wy + wz)) * shrink
    # the side, an endless cylinder: half * half is the discriminant of A t^2 - 2 B t + C
    lean = to_start - offset * along
    half = lean * lean - (1 - along * along) * beside
    missed = half < 0
    t = beside / (lean + _root(half))
    place = t * along - offset
    # beyond an end, the sphere there
    beyond = place > length
    to_end = torch.where(beyond, to_start + length * along, to_start)
    half = to_end * to_end - torch.where(beyond, after, before)
    at_end = to_end - _root(half)
    at_end = torch.where(half < 0, torch.inf, at_end)
    t = torch.where((place >= 0) & ~beyond, t, at_end)
    t = torch.where(missed | ~(t > 0), torch.inf, t)
    depth = torch.where(t <= stop, t * shrink, torch.inf)
    if not close.any():
        return depth
    place = (_BEGIN * along - offset).clamp(min=0).minimum(length.expand_as(along))
    square = (_BEGIN**2 - 2 * _BEGIN * to_start + reach) - place * (2 * (_BEGIN * along - offset) - place)
    inside = _root(square) - (RADIUS + _HIT)
    return torch.where((inside < 0) & (close > 0), inside - 1, depth)


def _root(square: Tensor) -> Tensor:
    """Square root, 0 of negative numbers. torch's own is shared between cores from 2048 numbers on."""
    square = square.clamp(min=1e-300)
    return square * square.rsqrt()
