"""Poses over time: short gaps held, and jitter smoothed. Neither touches what was not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..identity.mask_set import runs
from .detections import LEAST_SCORE, known
from .value import Poses


def held(there: Tensor, frames: int, visible: Tensor) -> Tensor:
    """The frame whose pose is shown in each frame, of each person: its own, or the last one before a gap of at most so
    many frames. Nobody is held before the first frame that shows them, after the last one, or where they are not
    visible. there, visible: bool [T, P]. Returns int64 [T, P]."""
    shown = torch.arange(len(there))[:, None].repeat(1, there.shape[1])
    for person in range(there.shape[1]):
        seen = there[:, person].numpy()
        for first, last in runs(~seen):
            gap = slice(first, last + 1)
            if last - first < frames and first > 0 and last < len(seen) - 1 and bool(visible[gap, person].all()):
                shown[gap, person] = first - 1
    return shown


def at(values: Tensor, shown: Tensor) -> Tensor:
    """Values [T, P, ...] of the frame that is shown, int64 [T, P]."""
    return values[shown, torch.arange(shown.shape[1])]


def smoothed(poses: Poses, spread: float) -> Poses:
    """Poses without jitter: joints and points as means over the frames around, weighted by a Gaussian of a standard
    deviation of `spread` frames. It looks as far ahead as back, so nothing lags; it does not look across a frame in
    which a joint is unknown."""
    joints = _smoothed(poses.joints, known(poses.joints), spread)
    points = None
    if poses.points is not None and poses.scores is not None:
        points = _smoothed(poses.points, poses.scores >= LEAST_SCORE, spread)
    return replace(poses, joints=joints, points=points)


def _smoothed(values: Tensor, there: Tensor, spread: float) -> Tensor:
    """values [T, P, J, d], those that are there, bool [T, P, J], smoothed within each stretch of frames."""
    made = values.double().numpy().copy()
    flags = there.numpy()
    for person, joint in np.ndindex(*flags.shape[1:]):
        for first, last in runs(flags[:, person, joint]):
            stretch = made[first : last + 1, person, joint]
            made[first : last + 1, person, joint] = gaussian_filter1d(stretch, spread, axis=0, mode="nearest")
    return torch.from_numpy(made).float()
