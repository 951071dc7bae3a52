"""Where in the picture a capsule can be: the pixels whose rays are worth a test.

A capsule is seen within the box of its two end spheres, and between the two planes through the camera that touch its
side. Both are exact, also for a capsule that reaches past the camera, and are widened by a pixel against rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 21.5  # mm, of every capsule

SPAN = 16  # pixels of a row that are tested together
_WIDER = RADIUS + 0.01  # mm: a capsule as wide as the slack of the hit test needs it
_STRAIGHT = 1e-8  # mm: shorter limbs are spheres
_ASIDE = math.pi / 2 - 1e-9  # the widest angle from the viewing direction


class Axes(NamedTuple):
    """The axis of each capsule, from its end that is nearer to the camera: start [N, 3], direction [N, 3] of length 1,
    length [N], and how far along the axis the start is from the point nearest to the camera, offset [N]."""

    start: Tensor
    direction: Tensor
    length: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Limbs:
    """Capsules in drawing order: by frame, then person, then limb. N of them.

    start, end: axis, float64 [N, 3] mm. camera: float64 [N, 4], fx, fy, cx, cy in pixels. frame, person, limb: int64
    [N]; limb counts within `shading.LIMBS`.
    """

    start: Tensor
    end: Tensor
    camera: Tensor
    frame: Tensor
    person: Tensor
    limb: Tensor

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, part: slice) -> Limbs:
        return Limbs(*(getattr(self, field.name)[part] for field in fields(self)))

    @cached_property
    def axis(self) -> Axes:
        swapped = (dot(self.start, self.start) > dot(self.end, self.end))[:, None]
        start = torch.where(swapped, self.end, self.start)
        along = torch.where(swapped, self.start, self.end) - start
        length = dot(along, along).sqrt()
        sphere = length < _STRAIGHT
        ahead = along.new_tensor((0.0, 0.0, 1.0))
        direction = torch.where(sphere[:, None], ahead, along / length.clamp(min=_STRAIGHT)[:, None])
        return Axes(start, direction, torch.where(sphere, 0.0, length), dot(start, direction))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """[..., 3] -> [...], summed in a fixed order, so that every stretch of frames gives the same bits."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def pick(values: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """values[index] along one dimension. torch shares that one between cores from 3000 numbers on, which costs more
    than it brings (`capsules.py`)."""
    return values.index_select(dim, index)


class Spans(NamedTuple):
    """Stretches of at most SPAN pixels of one row: capsule, row, first and last column, int64 [n] each."""

    limb: Tensor
    row: Tensor
    first: Tensor
    last: Tensor


def spans(limbs: Limbs, height: int, width: int) -> Spans:
    """The pixels that each capsule can cover."""
    left, right = _extent(limbs, 0, width)
    top, bottom = _extent(limbs, 1, height)
    limb, row = _counted(torch.where(left <= right, bottom - top + 1, 0))
    row = row + pick(top, limb)
    first, last = _between_planes(limbs, limb, row)
    first, last = torch.maximum(pick(left, limb), first), torch.minimum(pick(right, limb), last)
    which, number = _counted((last - first + SPAN) // SPAN)
    begin = pick(first, which) + SPAN * number
    end = torch.minimum(begin + (SPAN - 1), pick(last, which))
    return Spans(pick(limb, which), pick(row, which), begin, end)


def _counted(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Each index as often as its count says, and how many of the same there were before."""
    kept = (counts > 0).nonzero()[:, 0]
    counts = counts[kept]
    stops = counts.cumsum(0)
    total = int(stops[-1]) if len(stops) else 0
    steps = counts.new_zeros(total)
    steps[(stops - counts)[1:]] = 1  # repeat_interleave starts as many threads as there are cores
    place = steps.cumsum(0)
    return pick(kept, place), torch.arange(total, device=counts.device) - pick(stops - counts, place)


def _extent(limbs: Limbs, side: int, pixels: int) -> tuple[Tensor, Tensor]:
    """First and last column (side 0) or row (side 1) within the picture; last < first where there is none."""
    ends = torch.stack((limbs.start, limbs.end), 1)  # [N, 2, 3]
    low, high, around = _angles(ends[..., side], ends[..., 2])
    turns = torch.round((low + high) / (4 * math.pi)) * (2 * math.pi)
    low, high = low - turns, high - turns
    around = around | (low + 2 * math.pi < _ASIDE) | (high - 2 * math.pi > -_ASIDE)
    ahead = around | (low < _ASIDE) & (high > -_ASIDE)
    focal, centre = limbs.camera[:, side], limbs.camera[:, 2 + side]
    first = torch.where(around, 0.0, centre + focal * torch.tan(low.clamp(-_ASIDE, _ASIDE)) - 1)
    last = torch.where(around, float(pixels), centre + focal * torch.tan(high.clamp(-_ASIDE, _ASIDE)) + 1)
    return _whole(first, 0, pixels), torch.where(ahead, _whole(last, -1, pixels - 1), -1)


def _angles(across: Tensor, forward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Seen along one axis of the picture: the angles from the viewing direction that a capsule covers, from [N, 2]
    places of its ends; and whether the camera is within it, so that it covers all of them."""
    distance = torch.hypot(across, forward)
    angle, half = torch.atan2(across, forward), torch.asin((_WIDER / distance).clamp(max=1.0))
    sweep = angle[:, 1] - angle[:, 0]
    sweep = sweep - torch.round(sweep / (2 * math.pi)) * (2 * math.pi)
    other = angle[:, 0] + sweep
    low = torch.minimum(angle[:, 0] - half[:, 0], other - half[:, 1])
    high = torch.maximum(angle[:, 0] + half[:, 0], other + half[:, 1])
    step = torch.stack((across[:, 1] - across[:, 0], forward[:, 1] - forward[:, 0]), -1)
    square = (step * step).sum(-1)
    place = -(across[:, 0] * step[:, 0] + forward[:, 0] * step[:, 1]) / square.clamp(min=_STRAIGHT**2)
    place = place.clamp(0, 1)
    nearest = torch.hypot(across[:, 0] + place * step[:, 0], forward[:, 0] + place * step[:, 1])
    return low, high, nearest <= _WIDER * 1.001


def _between_planes(limbs: Limbs, limb: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """First and last column of each row between the planes that touch the side of its capsule."""
    axis = limbs.axis
    side = axis.start - axis.offset[:, None] * axis.direction  # from the camera to the nearest point of the line
    distance = dot(side, side).sqrt()
    slope = _WIDER / (distance * distance - _WIDER**2).sqrt()  # NaN within the cylinder, where no plane touches it
    side = side / distance.clamp(min=_STRAIGHT)[:, None]
    over = torch.linalg.cross(axis.direction, side)
    fx, fy, cx, cy = limbs.camera.unbind(-1)
    first, last = torch.full_like(row, -1).double(), torch.full_like(row, 2**31).double()
    for sign in (1.0, -1.0):
        normal = slope[:, None] * side + sign * over  # [N, 3]; a ray (u, v, 1) is inside where the product is positive
        rise, fall, level = normal[:, 0] / fx, normal[:, 1] / fy, normal[:, 2]
        level = level - rise * cx - fall * cy
        rise, rest = pick(rise, limb), pick(fall, limb) * row + pick(level, limb)
        border = -rest / rise
        first = torch.where(rise > 0, torch.fmax(first, border - 1), first)
        last = torch.where(rise < 0, torch.fmin(last, border + 1), last)
    return _whole(first, -1, 2**31), _whole(last, -1, 2**31)


def _whole(values: Tensor, least: int, most: int) -> Tensor:
    return values.nan_to_num(least, most, least).clamp(least, most).long()
