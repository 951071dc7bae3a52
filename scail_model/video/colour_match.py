"""Means against colour drift: a segment's colours corrected towards those it began with (Reinhard et al. 2001, in CIE
LAB).

The shift is measured as mean and spread of lightness and both colour axes. What a later segment has to know of an
earlier one is kept beside its last frames (`remember`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import kornia.color
import torch
from torch import Tensor

from ..media.clips import Tick

OFF, OVERLAP, FIRST = "off", "overlap", "first segment"
COLOUR_MATCHES = {
    OFF: "leaves colours as they are (official)",
    OVERLAP: "corrects by what the frames that a segment repeats have shifted",
    FIRST: "corrects to the colours of the scene's first segment",
}

_LEAST_SPREAD = 0.5  # of LAB's 100; a flat colour has no spread to be matched
_STATS = "look"  # name of the kept tensor


@dataclass(frozen=True)
class ColourStats:
    """mean, spread: of L, a and b, float32 [3] each."""

    mean: Tensor
    spread: Tensor


def from_first(kind: str) -> bool:
    """Whether a segment depends on the first one of its scene, and not only on the one before."""
    return kind == FIRST


def remember(kind: str, frames: Tensor, where: Tensor | None, *, first: bool, tick: Tick) -> dict[str, Tensor]:
    """What is kept of a segment for those after it. frames, where: as for `colour_stats`; first: of its scene."""
    stats = colour_stats(frames, where, tick) if first and from_first(kind) else None
    return {} if stats is None else {_STATS: torch.stack((stats.mean, stats.spread))}


def correct(kind: str, frames: Tensor, where: Tensor | None, overlap: int, before: Mapping[str, Tensor],
            first: Mapping[str, Tensor], tick: Tick) -> Tensor:
    """Frames [n, H, W, 3] of a segment that continues another one, corrected in place.

    where: shares [n, H, W] of what may change, None for the whole picture. overlap: how many frames repeat the end of
    the segment before. before, first: what was kept of that segment ("frames", and `remember`), and of the scene's
    first one.
    """
    if kind == OFF:
        return frames
    if kind == OVERLAP:
        part = None if where is None else where[:overlap]
        now = colour_stats(frames[:overlap], part, tick)
        wanted = colour_stats(before["frames"], part, tick)
    else:
        now, kept = colour_stats(frames, where, tick), first.get(_STATS)
        wanted = None if kept is None else ColourStats(*kept)
    return frames if now is None or wanted is None else matched(frames, now, wanted, where, tick)


def colour_stats(frames: Tensor, where: Tensor | None, tick: Tick) -> ColourStats | None:
    """Colours of frames [n, H, W, 3] in 0..1. where: shares [n, H, W] in 0..1, None for the whole picture. Returns
    None if the shares are 0 everywhere."""
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
    """Frames [n, H, W, 3] with colours `now` moved to `wanted`, in place; `where` as in `colour_stats`."""
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
