"""Pictures scaled and moved by any amount, as exactly as samples allow: what is made goes back to where it was filmed.

Separable cubic interpolation (Keys 1981, a = -0.5), widened where a picture gets smaller, as in Pillow and in
`geometry.cover_crop`. Unlike these it takes any place between pixels.
"""

from __future__ import annotations

from typing import NamedTuple

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

    def moved(self, left: float, top: float) -> Affine:
        """The same into a part of the other picture that begins at (left, top)."""
        return Affine(self.scale, (self.offset[0] + left, self.offset[1] + top))


def resampled(pictures: Tensor, affine: Affine, size: tuple[int, int]) -> Tensor:
    """Pictures [n, h, w, c], float -> [n, H, W, c] of this size (H, W), float32; overshoot at edges is kept.

    affine: from the pictures to the result. What lies outside of the pictures repeats their border. Pixels that are not
    scaled and moved by whole pixels come back to the bit.
    """
    (rows, top), (columns, left) = (_weights(pictures.shape[axis], size[axis - 1], affine.scale[2 - axis],
                                             affine.offset[2 - axis]) for axis in (1, 2))
    part = pictures[:, top : top + rows.shape[1], left : left + columns.shape[1]].float()
    count, height, width, colours = part.shape
    narrow = torch.matmul(rows, part.reshape(count, height, width * colours))  # [n, H, w * c]
    return torch.matmul(columns, narrow.reshape(count, size[0], width, colours))


def _weights(source: int, target: int, scale: float, offset: float) -> tuple[Tensor, int]:
    """How much each source pixel counts for each target pixel along one axis, float32 [target, used], and the first
    source pixel that is used."""
    reach = max(1.0, 1.0 / scale)
    places = (torch.arange(target, dtype=torch.float64) + 0.5 + offset) / scale  # of target centres, in the source
    whole = (places - 0.5).round() + 0.5
    places = torch.where((places - whole).abs() < _WHOLE, whole, places).clamp_(0.5, source - 0.5)
    first = max(int((places[0] - _SUPPORT * reach).floor()), 0)
    last = min(int((places[-1] + _SUPPORT * reach).ceil()), source)
    distances = (torch.arange(first, last, dtype=torch.float64) + 0.5 - places[:, None]).abs() / reach
    weights = _cubic(distances)
    return (weights / weights.sum(1, keepdim=True)).float(), first


def _cubic(x: Tensor) -> Tensor:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
