"""Colours of a segment drawn back to where they came from (Reinhard et al. 2001, in CIE LAB).

The shift is measured as mean and spread of lightness and both colour axes, either on the frames that a segment repeats
of the one before, which show the same picture, or against the video's first segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import kornia.color
import torch
from torch import Tensor

from ..media.clips import Tick

_LEAST_SPREAD = 0.5  # of LAB's 100; a flat colour has no spread to be matched


@dataclass(frozen=True)
class ColourStats:
    """mean, spread: of L, a and b, float32 [3] each."""

    mean: Tensor
    spread: Tensor

    def stacked(self) -> Tensor:
        """[2, 3], to be kept in a file."""
        return torch.stack((self.mean, self.spread))


def colour_stats(frames: Tensor, where: Tensor | None, tick: Tick) -> ColourStats | None:
    """Look of frames [n, H, W, 3] in 0..1; where: shares [n, H, W] in 0..1, None for the whole picture. None if they
    show nothing there."""
    count = torch.zeros((), dtype=torch.float64)
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for index, frame in enumerate(frames):
        tick()
        lab = _to_lab(frame).flatten(1)  # [3, H * W]
        share = torch.ones(lab.shape[1]) if where is None else where[index].flatten()
        count += share.sum(dtype=torch.float64)
        total += (lab * share).sum(1, dtype=torch.float64)
        squares += (lab.square() * share).sum(1, dtype=torch.float64)
    if not count:
        return None
    mean = total / count
    return ColourStats(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())


def matched(frames: Tensor, now: ColourStats, wanted: ColourStats, where: Tensor | None, tick: Tick) -> Tensor:
    """Frames [n, H, W, 3] with the look `now` drawn to `wanted`, in place; `where` as in `colour_stats`."""
    gain = (wanted.spread / now.spread.clamp(min=_LEAST_SPREAD)).where(now.spread > _LEAST_SPREAD, torch.ones(3))
    for index, frame in enumerate(frames):
        tick()
        lab = _to_lab(frame)
        moved = (lab - now.mean[:, None, None]) * gain[:, None, None] + wanted.mean[:, None, None]
        changed = kornia.color.lab_to_rgb(moved[None])[0].movedim(0, -1).clamp(0, 1)
        share = 1 if where is None else where[index][..., None]
        frame.lerp_(changed.to(frame.dtype), torch.as_tensor(share, dtype=frame.dtype))
    return frames


def _to_lab(frame: Tensor) -> Tensor:
    """[H, W, 3] in 0..1 -> [3, H, W]."""
    return kornia.color.rgb_to_lab(frame.float().movedim(-1, 0)[None])[0]
