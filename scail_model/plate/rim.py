"""Colours of what is made, matched to the plate where the one passes into the other.

In each frame the median of what the plate differs by in the soft edge; over time a smoothed path, so nothing flickers;
and never more than a little, so that a person in front of something new does not take its colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from torch import Tensor

from ..media.clips import Clip, Tick
from .plate import Plate
from .resample import resampled
from .window import Boxes, smoothed

_MOST = 0.05  # of white; 13 levels
_SECONDS = 1.0  # in which the correction may not turn
_EDGE = 0.05, 0.95  # shares of the made picture that make a soft edge
_FEWEST = 32  # pixels of it


def colour_offsets(plate: Plate, made: Clip, rate: Fraction | None, cuts: Sequence[int] = (),
                   tick: Tick = lambda: None) -> np.ndarray:
    """What is to be added to red, green and blue of each made frame, float32 [T, 3] in units of white."""
    found, seen = np.zeros((len(made), 3)), np.zeros(len(made), bool)
    for frame, (picture, filmed) in enumerate(zip(made, plate.clip, strict=True)):
        tick()
        missing = _missing(plate, frame, picture.float() / 255, filmed)
        if missing is not None:
            found[frame], seen[frame] = missing, True
    if not seen.any():
        return np.zeros((len(made), 3), np.float32)
    starts = [0, *(cut for cut in cuts if 0 < cut < len(made)), len(made)]
    paths = [smoothed(Boxes(found[start:stop], seen[start:stop]), rate, _SECONDS) if seen[start:stop].any()
             else np.zeros((stop - start, 3)) for start, stop in zip(starts, starts[1:], strict=False)]
    return np.concatenate(paths).clip(-_MOST, _MOST).astype(np.float32)


def _missing(plate: Plate, frame: int, picture: Tensor, filmed: Tensor) -> np.ndarray | None:
    """By how much the plate differs from a made picture in the soft edge, [3]; None without one."""
    share = plate.share(frame)
    edge = (share > _EDGE[0]) & (share < _EDGE[1])
    if edge.sum() < _FEWEST:
        return None
    rows, columns = np.flatnonzero(edge.any(1)), np.flatnonzero(edge.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    back = plate.placement.at(frame).inverse.moved(float(columns[0]), float(rows[0]))
    part = resampled(picture[None], back, edge[box].shape)[0].numpy()[edge[box]]
    return np.median(filmed[box].numpy()[edge[box]] / 255 - part, axis=0)
