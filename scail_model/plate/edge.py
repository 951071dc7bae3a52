"""How what is made passes into the plate: a grown mask, and a soft edge around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..opencv import distances
from .placement import Rectangle

_HALF = 0.5  # of a pixel, from its centre to its edge


@dataclass(frozen=True)
class Edge:
    """grow: how far all of a pixel is made, outside of the mask. feather: how far it passes into the plate after that.
    Pixels of the made picture, so that they mean the same on a plate of any size."""

    grow: int = 8
    feather: int = 8

    @property
    def reach(self) -> int:
        """How far outside of the mask the plate begins to be as filmed."""
        return self.grow + self.feather


def shares(inside: np.ndarray, edge: Edge, scale: float, shown: Rectangle, kept: np.ndarray | None = None
           ) -> np.ndarray:
    """How much of each pixel of the plate is made: float32 [h, w] in 0..1, exactly 0 where the plate stays.

    inside: where people are, bool [h, w]. scale: pixels of the made picture for one of the plate. shown: what of the
    plate the made picture shows; towards its borders the plate comes back, but for those of the plate. kept: what stays
    as filmed in any case, bool [h, w].
    """
    result = np.zeros(inside.shape, np.float32)
    if not inside.any():
        return result
    grow, feather = edge.grow / scale, edge.feather / scale
    box = _box(inside, int(np.ceil(grow + feather)) + 1)
    part = _falling(distances(~inside[box]) - grow - _HALF, feather)
    for axis, (low, high) in enumerate(((shown.top, shown.bottom), (shown.left, shown.right))):
        part *= _within(inside.shape[axis], low, high, feather)[box[axis]].reshape((-1, 1) if axis == 0 else (1, -1))
    if kept is not None:
        part[kept[box]] = 0
    result[box] = part
    return result


def _falling(distance: np.ndarray, width: float) -> np.ndarray:
    """1 up to 0, 0 from `width` on, smooth between (3 t^2 - 2 t^3)."""
    t = (1 - distance / width).clip(0, 1) if width else (distance <= 0).astype(np.float32)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _within(side: int, low: float, high: float, feather: float) -> np.ndarray:
    """Along one axis of the plate: 0 where the made picture ends, and rising inwards unless the plate ends there
    too."""
    places = np.arange(side) + _HALF
    rising = np.ones(side, np.float32)
    for distance, ends in ((places - low, low <= _HALF), (high - places, high >= side - _HALF)):
        if not ends:
            rising *= 1 - _falling(distance - _HALF, max(feather, 1.0))
    return rising


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin),
            slice(max(columns[0] - margin, 0), columns[-1] + 1 + margin))
