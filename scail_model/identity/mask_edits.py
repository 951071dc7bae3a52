"""Mask clean-up: grow, shrink, smooth, fill holes, keep the largest piece.

In pixels of the driving video, and only inside a box around each person. OpenCV fills holes 20 times and measures
distances 6 times as fast as scipy.ndimage, with the same bits. Pieces it finds no faster, and blurs it may round in
another way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..opencv import opencv

_WIDE = 4.0  # pixels


@dataclass(frozen=True)
class Edits:
    """Applied in this order. grow: pixels; negative values shrink. feather: sigma in pixels of a blur before a
    threshold, which rounds corners and ragged edges."""

    keep_largest: bool = False
    fill_holes: bool = False
    feather: float = 0.0
    grow: int = 0

    def __bool__(self) -> bool:
        return self != Edits()

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """bool [H, W] -> bool [H, W]."""
        if not mask.any():
            return mask
        margin = max(self.grow, 0) + round(4 * self.feather) + 1  # scipy's blur ends after 4 sigmas
        box = _box(mask, margin)
        part: np.ndarray = mask[box]
        if self.keep_largest:
            part = _largest(part)
        if self.fill_holes:
            part = _filled(part)
        if self.feather:
            part = _blurred(part.astype(np.float32), self.feather) > 0.5
        if self.grow:
            part = _grown(part, self.grow)
        result = np.zeros_like(mask)
        result[box] = part
        return result


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis))
        sides.append(slice(max(places[0] - margin, 0), places[-1] + 1 + margin))
    return sides[0], sides[1]


def _blurred(mask: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur. A wide one is three box filters of the same variance, whose cost does not grow with sigma."""
    if sigma <= _WIDE:
        return ndimage.gaussian_filter(mask, sigma)
    side = 2 * round(((4 * sigma**2 + 1) ** 0.5 - 1) / 2) + 1  # a box of this side has the variance (side^2 - 1) / 12
    for _ in range(3):
        mask = ndimage.uniform_filter(mask, side)
    return mask


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=pieces)
    areas = np.bincount(pieces.ravel())[1:]  # [pieces]
    return mask if len(areas) < 2 else pieces == 1 + areas.argmax()


def _filled(mask: np.ndarray) -> np.ndarray:
    """With everything that cannot be reached from the border, by steps along rows and columns."""
    cv2, outside = opencv(), 2
    flooded = np.pad(mask.view(np.uint8), 1)
    cv2.floodFill(flooded, None, (0, 0), outside, flags=4)
    return flooded[1:-1, 1:-1] != outside


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Grow with a round brush; negative values shrink. The border of the picture does not count as an edge."""
    limit = (pixels**2 + 0.5) ** 0.5  # squares of distances are whole numbers; OpenCV 4.10 rounds their roots
    if pixels > 0:
        return _distances(~mask) < limit if mask.any() else mask
    return mask if mask.all() else _distances(mask) > limit


def _distances(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel in the mask to the nearest pixel outside it, 0 elsewhere."""
    cv2 = opencv()
    return cv2.distanceTransform(np.ascontiguousarray(mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
