"""What is known of a plate when its frames are written: how much of it stays, and where made people are cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..identity.mask_set import in_words, runs
from ..opencv import distances

_RING = 3  # pixels
_FEWEST, _SHARE = 12, 0.02  # strange pixels in the ring, and of the ring
_FRAMES = 2  # in which a side is cut, below which nothing is said
SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class FrameFacts:
    """kept: the share of pixels that are as filmed. cut: sides of the people at which the made frame still differs by
    far from what was filmed right outside of its last pixel that is shown."""

    kept: float
    cut: tuple[str, ...]


def cut_sides(strange: np.ndarray, people: np.ndarray, reach: int) -> tuple[str, ...]:
    """strange, people: bool [H, W] of the made picture; where it differs from what was filmed by far, and where it is
    shown whole. reach: pixels after which nothing of it is shown."""
    if not strange.any() or not people.any():
        return ()
    distance = distances(~people)
    ring = (distance > reach) & (distance <= reach + _RING)
    rows, columns = np.nonzero(strange & ring)
    if len(rows) < max(_FEWEST, _SHARE * ring.sum()):
        return ()
    top, bottom, left, right = _box(people)
    down = (rows - (top + bottom) / 2) / max(bottom - top, 1)
    across = (columns - (left + right) / 2) / max(right - left, 1)
    upright = np.abs(down) >= np.abs(across)
    counts = dict(zip(SIDES, ((upright & (down < 0)).sum(), (upright & (down >= 0)).sum(),
                              (~upright & (across < 0)).sum(), (~upright & (across >= 0)).sum()), strict=True))
    return tuple(side for side, count in counts.items() if count >= max(_FEWEST, len(rows) / 4))


def values(facts: Sequence[FrameFacts]) -> list[list[Any]]:
    """As JSON has them."""
    return [[round(each.kept, 5), *each.cut] for each in facts]


def facts_of(found: Sequence[Sequence[Any]]) -> list[FrameFacts]:
    """What `values` has made. ValueError or the like for anything else."""
    return [FrameFacts(float(kept), tuple(map(str, cut))) for kept, *cut in found]


def lines(facts: Sequence[FrameFacts]) -> list[str]:
    """For a report. facts: of all frames in order."""
    if not facts:
        return []
    kept = [each.kept for each in facts]
    mean = sum(kept) / len(kept)
    return [f"plate: {mean:.1%} of the pixels are as filmed ({min(kept):.1%} to {max(kept):.1%} by frame)",
            *_cuts(facts)]


def _cuts(facts: Sequence[FrameFacts]) -> list[str]:
    found = {side: np.array([side in each.cut for each in facts]) for side in SIDES}
    texts = [f"{side}: frames {in_words(runs(frames))}" for side, frames in found.items() if frames.sum() >= _FRAMES]
    if not texts:
        return []
    return ["plate: just outside the people, what was made differs a lot from what was filmed, as if hair or "
            f"clothes were cut off ({'; '.join(texts)}): raise plate_grow, or give masks of the made people "
            "(plate_masks, --plate_mask)"]


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
