"""Who is who without masks: bodies of one frame after another, linked by where they are.

Bodies are compared joint by joint as the camera sees them, in sizes of the body: how far away they are, detectors know
less well. Where a body will be is foretold from how it has moved, so that people who cross keep their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..masks import PEOPLE_LIMIT

_PATIENCE = 48  # frames for which somebody who is missing is still expected
_STEP, _STEP_IN_GAP = 0.75, 0.05  # sizes of a body that it may be from where it is expected, and more for each frame
_FORETOLD = 5  # frames over which a movement goes on
_INERTIA = 0.5  # share of the movement so far in the next one
_FAR = 1e9
# Whoever is seen in a smaller share of the frames is a false alarm, unless it is this many frames.
_LEAST_SHARE, _LASTING = 0.1, 12


@dataclass
class _Track:
    """One body over time. places: index in each frame's list, by frame. seen: its joints as `_view` gives them."""

    places: dict[int, int] = field(default_factory=dict)
    seen: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    step: np.ndarray = field(default_factory=lambda: np.zeros(2))  # in a frame
    last: int = -1

    def expected(self, frame: int) -> np.ndarray:
        return self.seen + self.step * min(frame - self.last, _FORETOLD)

    def add(self, frame: int, index: int, seen: np.ndarray) -> None:
        if self.places:
            moved = (seen - self.seen) / (frame - self.last)
            if np.isfinite(moved).all(-1).any():
                self.step = _INERTIA * self.step + (1 - _INERTIA) * np.nanmean(moved, 0)
        self.places[frame], self.seen, self.last = index, seen, frame


def linked(frames: Sequence[Tensor]) -> Tensor:
    """Link bodies, [n, 18, 3] for each frame, over time: int64 [T, P], the place of each person in the frame's list, -1
    for nobody. People are numbered by first appearance, and from left to right; at most as many as there are colours,
    those who are seen longest."""
    tracks: list[_Track] = []
    for frame, people in enumerate(frames):
        views = {index: view for index, view in enumerate(map(_view, people.double().numpy()))
                 if np.isfinite(view).any()}
        awaited = [track for track in tracks if frame - track.last <= _PATIENCE]
        pairs = _pairs(awaited, views, frame)
        for index, view in views.items():
            if index not in pairs:
                tracks.append(_Track())
            (pairs.get(index) or tracks[-1]).add(frame, index, view)
    return numbered([track.places for track in tracks], frames)


def numbered(people: Sequence[Mapping[int, int]], frames: Sequence[Tensor]) -> Tensor:
    """People, by frame their place in the list, as int64 [T, P]: without false alarms, the most seen ones, sorted by
    first appearance and from left to right."""
    least = min(math.ceil(_LEAST_SHARE * len(frames)), _LASTING)
    lasting = [places for places in people if len(places) >= least] or people
    kept = sorted(lasting, key=len, reverse=True)[:PEOPLE_LIMIT]

    def first(places: Mapping[int, int]) -> tuple[int, float]:
        frame = min(places)
        return frame, float(np.nanmean(_view(frames[frame][places[frame]].double().numpy())[:, 0]))

    chosen = torch.full((len(frames), len(kept)), -1, dtype=torch.long)
    for person, places in enumerate(sorted(kept, key=first)):
        for frame, place in places.items():
            chosen[frame, person] = place
    return chosen


def _view(joints: np.ndarray) -> np.ndarray:
    """Joints [18, 3] as the camera sees them, tangents across and down, [18, 2]; NaN for unknown ones and those behind
    the camera."""
    return joints[:, :2] / np.where(joints[:, 2:] > 0, joints[:, 2:], np.nan)


def _pairs(tracks: Sequence[_Track], views: Mapping[int, np.ndarray], frame: int) -> dict[int, _Track]:
    """By index of those who are there: who of those expected they are."""
    costs = np.full((len(tracks), len(views)), _FAR)
    for row, track in enumerate(tracks):
        limit = _STEP + _STEP_IN_GAP * (frame - track.last - 1)
        for column, view in enumerate(views.values()):
            apart = _apart(track.expected(frame), view)
            costs[row, column] = apart if apart <= limit else _FAR
    there = list(views)
    return {there[column]: tracks[row] for row, column in zip(*linear_sum_assignment(costs), strict=True)
            if costs[row, column] < _FAR}


def _apart(expected: np.ndarray, view: np.ndarray) -> float:
    """How far two views of bodies are from each other, in sizes of the larger one."""
    both = np.isfinite(expected + view).all(-1)
    if not both.any():
        return _FAR
    one, other = expected[both], view[both]
    size = max(np.linalg.norm(np.ptp(each, axis=0)) for each in (one, other))
    return float(np.linalg.norm(one - other, axis=-1).mean() / max(size, 1e-6))
