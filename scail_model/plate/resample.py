"""Pictures scaled and moved by any amount, as exactly as samples allow: what is made goes back to where it was filmed.

Separable cubic interpolation (Keys 1981, a = -0.5), widened where a picture gets smaller, as in Pillow and in
`geometry.cover_crop`. Unlike these it takes any place between pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_SUPPORT = 2.0  # pixels on each side that the kernel reaches
_WHOLE = 1e-9  # rounding of a place that is meant to be a whole pixel


class Affine(NamedTuple):
    """Where points of one picture lie in another: (x, y) at (x, y) * scale - offset. Pixel i covers i to i + 1."""

    scale: tuple[float, float]  # x, y
    offset: tuple[float, float]

    @property
    def inverse(self) -> Affine:
        (across, down), (left, top) = self.scale, self.offset
        return Affine((1 / across, 1 / down), (-left / across, -top / down))

    @property
    def matrix(self) -> np.ndarray:
        """For OpenCV, which counts from centres of pixels: float64 [2, 3]."""
        (across, down), (left, top) = self.scale, self.offset
        return np.array([[across, 0, across / 2 - left - 0.5], [0, down, down / 2 - top - 0.5]])

    def moved(self, left: float, top: float) -> Affine:
        """The same into a part of the other picture that begins at (left, top)."""
        return Affine(self.scale, (self.offset[0] + left, self.offset[1] + top))


def resampled(pictures: Tensor, affine: Affine, size: tuple[int, int]) -> Tensor:
    """Pictures [n, h, w, c], float -> [n, H, W, c] of this size (H, W), float32; overshoot at edges is kept.

    affine: from the pictures to the result. What lies outside of the pictures repeats their border. Pixels that are not
    scaled and moved by whole pixels come back to the bit.
    """
    narrow = _along(pictures.float(), 1, size[0], affine.scale[1], affine.offset[1])
    return _along(narrow, 2, size[1], affine.scale[0], affine.offset[0])


def _along(pictures: Tensor, axis: int, target: int, scale: float, offset: float) -> Tensor:
    """The same along one axis. Few source pixels count for each target pixel, so they are gathered one by one."""
    sources, weights = axis_weights(pictures.shape[axis], target, scale, offset)
    shape = [-1 if each == axis else 1 for each in range(pictures.ndim)]
    result = pictures.index_select(axis, sources[0]).mul_(weights[0].view(shape))
    for source, weight in zip(sources[1:], weights[1:], strict=True):
        result.addcmul_(pictures.index_select(axis, source), weight.view(shape))
    return result


def axis_weights(source: int, target: int, scale: float, offset: float) -> tuple[Tensor, Tensor]:
    """Which source pixels count for each target pixel along one axis, and how much: int64 and float32 [taps,
    target]."""
    reach = max(1.0, 1.0 / scale)
    places = (torch.arange(target, dtype=torch.float64) + 0.5 + offset) / scale  # of target centres, in the source
    whole = (places - 0.5).round() + 0.5
    places = torch.where((places - whole).abs() < _WHOLE, whole, places).clamp_(0.5, source - 0.5)
    first = (places - _SUPPORT * reach - 0.5).ceil().long()
    taps = first + torch.arange(int(2 * _SUPPORT * reach) + 1)[:, None]
    weights = _cubic((taps + 0.5 - places).abs() / reach)
    weights[(taps < 0) | (taps >= source)] = 0
    used = weights.any(1)  # no tap beyond the kernel, and a single one where nothing is between pixels
    return taps.clamp(0, source - 1)[used], (weights / weights.sum(0))[used].float()


def _cubic(x: Tensor) -> Tensor:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
