"""Capsules met by the rays of a picture, in closed form, as SCAIL-Pose's sphere tracer finds them.

Everything is float64, and put together from operations that IEEE 754 rounds in one way: the same bits on every device,
and for every stretch of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .footprint import RADIUS, SPAN, Axes, Limbs, Spans, axes, dot, spans

_BEGIN = 0.1  # mm from the camera: a ray that begins inside a capsule meets it there
_HIT = 1e-3  # mm: nearer than this is met, and differences below it are none
_BLOCK, _GPU_BLOCK = 2000, 2**17  # spans that are tested at once; on a CPU, few enough to stay in a core's cache


class Hits(NamedTuple):
    """Pixels that show a capsule, each once, in any order. pixel: (frame * height + row) * width + column, int64 [n].
    limb: the capsule, int64 [n]. depth: z of the place that is seen, float64 [n] mm."""

    pixel: Tensor
    limb: Tensor
    depth: Tensor


def first_hits(limbs: Limbs, frames: int, height: int, width: int, stop: float) -> Hits:
    """What is seen of capsules in frames 0..frames: the nearest, and of equally near ones that which is drawn first.

    stop: how long a ray is, in mm.
    """
    axis = axes(limbs)
    found = list(_met(limbs, axis, spans(limbs, axis, height, width), (height, width), stop))
    if not found:
        nothing = limbs.frame.new_zeros(0)
        return Hits(nothing, nothing, nothing.double())
    pixel, limb, depth = (torch.cat(part) for part in zip(*found, strict=True))
    nearest = depth.new_full((frames * height * width,), torch.inf).scatter_reduce_(0, pixel, depth, "amin")
    front = (depth <= nearest[pixel] + _HIT).nonzero()[:, 0]
    pixel, limb, depth = pixel[front], limb[front], depth[front]
    drawn = limb.new_full((frames * height * width,), len(limbs)).scatter_reduce_(0, pixel, limb, "amin")
    first = (limb == drawn[pixel]).nonzero()[:, 0]
    return Hits(pixel[first], limb[first], depth[first])


def _met(limbs: Limbs, axis: Axes, rows: Spans, size: tuple[int, int], stop: float) -> Iterator[Hits]:
    """Every capsule on every ray, some spans at a time. The depth of one that holds the start of the ray is negative,
    and least for the capsule whose axis is nearest."""
    height, width = size
    base = (limbs.frame[rows.limb] * height + rows.row) * width + rows.first
    table = _by_limb(limbs, axis)
    count = _BLOCK if base.device.type == "cpu" else _GPU_BLOCK
    for begin in range(0, len(base), count):
        block = slice(begin, begin + count)
        limb = rows.limb[block]
        depth = _depths(table[:, limb], rows.row[block], rows.first[block], stop)  # [SPAN, n]
        column = torch.arange(SPAN, device=limb.device)[:, None]
        met = ((depth < torch.inf) & (column <= (rows.last - rows.first)[block])).flatten().nonzero()[:, 0]
        span = met % len(limb)
        yield Hits(base[block][span] + met // len(limb), limb[span], depth.flatten()[met])


def _by_limb(limbs: Limbs, axis: Axes) -> Tensor:
    """What `_depths` reads of each capsule, float64 [18, N]."""
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
    shrink = 1 / (u * u + (v * v + 1)).sqrt()  # the ray (u, v, 1), times this, has length 1
    to_start = (u * ax + (v * ay + az)) * shrink
    along = (u * wx + (v * wy + wz)) * shrink
    # the side, an endless cylinder: half * half is the discriminant of A t^2 - 2 B t + C
    lean = to_start - offset * along
    half = lean * lean - (1 - along * along) * beside
    missed = half < 0
    t = beside / (lean + half.clamp_(min=0).sqrt_())
    place = t * along - offset
    # beyond an end, the sphere there
    beyond = place > length
    to_end = torch.where(beyond, to_start + length * along, to_start)
    half = to_end * to_end - torch.where(beyond, after, before)
    at_end = to_end - half.clamp(min=0).sqrt_()
    at_end = torch.where(half < 0, torch.inf, at_end)
    t = torch.where((place >= 0) & ~beyond, t, at_end)
    t = torch.where(missed | ~(t > 0), torch.inf, t)
    depth = torch.where(t <= stop, t * shrink, torch.inf)
    if not close.any():
        return depth
    place = (_BEGIN * along - offset).clamp(min=0).minimum(length.expand_as(along))
    square = (_BEGIN**2 - 2 * _BEGIN * to_start + reach) - place * (2 * (_BEGIN * along - offset) - place)
    inside = square.clamp(min=0).sqrt() - (RADIUS + _HIT)
    return torch.where((inside < 0) & (close > 0), inside - 1, depth)
