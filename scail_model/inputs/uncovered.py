"""What people of the driving video leave free: where they were filmed and the new ones are not, the place has to be
invented.

Masks of the made people say it to the pixel (`plate/plate.py`). Without them it is estimated from areas: the reference
person at the driven one's height, over as much of the body as both show. On the miniature (24 clips of one person)
that was off by 5 points of the person on average, by 13 at most; outlines laid on each other were off by 20, because
poses differ (8 clips).
"""

from __future__ import annotations

import numpy as np
import torch

from ..identity.identities import Identities
from ..identity.mask_set import at_size
from ..opencv import opencv
from .placement import place

_LOOKED_AT = 12  # frames
_LONGEST = 256  # pixels of a side at which people are compared


def left_free(identities: Identities) -> tuple[float, ...]:
    """The share of each driven person, 0..1, that the one of the primary reference probably does not cover; the median
    of a few frames that show the person."""
    return tuple(_left_free(identities, person) for person in range(identities.driving.people))


def rim(mask: np.ndarray, share: float) -> np.ndarray:
    """The outermost `share` of a mask's pixels, bool [H, W]: where less of a person is probably free."""
    if not mask.any() or share <= 0:
        return np.zeros_like(mask)
    depths = opencv().distanceTransform(np.pad(mask, 1).view(np.uint8), opencv().DIST_L2, opencv().DIST_MASK_PRECISE)
    depths = depths[1:-1, 1:-1]
    return mask & (depths <= np.quantile(depths[mask], min(share, 1.0)))


def _left_free(identities: Identities, person: int) -> float:
    reference = torch.from_numpy(_smaller(identities.references[0].frame(0)[person]))
    frames = np.flatnonzero(identities.driving.extents[person].seen)
    if not len(frames) or not reference.any():
        return 0.0
    shares = []
    for frame in frames[np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).astype(int)]:
        driven = torch.from_numpy(_smaller(identities.driving.frame(frame)[person]))
        if driven.any():
            placement, _ = place(reference, driven, *driven.shape)
            shares.append(1 - placement.scale**2 * float(reference.sum()) / float(driven.sum()))
    return float(np.clip(np.median(shares), 0, 1)) if shares else 0.0


def _smaller(mask: np.ndarray) -> np.ndarray:
    """bool [H, W] -> uint8 [h, w], no side longer than people are compared at."""
    shrink = max(1.0, max(mask.shape) / _LONGEST)
    return at_size(mask[None], [max(1, round(side / shrink)) for side in mask.shape])[0].astype(np.uint8)
