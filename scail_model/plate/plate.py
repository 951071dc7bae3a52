"""What was filmed, and what is made put into it: everything outside of the people stays as it was, to the level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..files.content_keys import digest
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..identity.packed_mask import unpacked
from ..media.clips import Clip
from ..opencv import opencv
from .edge import Edge, shares
from .placement import Placement, Size, covered_part
from .resample import resampled

_LEVELS = 255


@dataclass(frozen=True)
class Plate:
    """clip: what was filmed, a frame for each made one. identities: whose driving masks lie on it, of any size in its
    shape. given: masks of the made people, in the same frames."""

    clip: Clip
    placement: Placement
    identities: Identities
    edge: Edge
    given: MaskSet | None = None

    @property
    def size(self) -> Size:
        """(height, width) of what is written."""
        return self.clip.size

    @property
    def key(self) -> str:
        """Of everything but the clip and the driving masks."""
        return digest(self.placement.key, self.edge.grow, self.edge.feather,
                      "" if self.given is None else self.given.digest())

    def shares(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """How much of each pixel is made in frames start..stop, float32 [h, w] each, 0 where the plate stays."""
        for frame, driven in zip(range(start, stop), self.identities.driving_people(start, stop), strict=True):
            inside = fitted(driven, self.size)
            if self.given is not None:
                made = unpacked(np.bitwise_or.reduce(self.given.rows(frame), axis=0), self.given.width)
                inside |= fitted(made, self.size)
            across, down = self.placement.at(frame).scale
            yield shares(inside, self.edge, (across * down) ** 0.5, covered_part(self.placement, frame))

    def composited(self, start: int, made: Tensor) -> Tensor:
        """Made frames [n, H, W, 3] in 0..1 from frame `start` on, in the plate: float32 [n, h, w, 3] in 0..1."""
        stop = start + len(made)
        whole = self.clip.read(start, stop).float() / _LEVELS
        for frame, picture, target, share in zip(range(start, stop), made, whole, self.shares(start, stop),
                                                 strict=True):
            self._put(picture, target, share, frame)
        return whole

    def _put(self, picture: Tensor, target: Tensor, share: np.ndarray, frame: int) -> None:
        """One made picture [H, W, 3] into its frame of the plate [h, w, 3], which is overwritten."""
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        if not len(rows):
            return
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        back = self.placement.at(frame).inverse.moved(float(left), float(top))
        part = resampled(picture[None].cpu(), back, (bottom - top, right - left))[0].clamp_(0, 1)
        weights = torch.from_numpy(np.ascontiguousarray(share[top:bottom, left:right]))[..., None]
        target[top:bottom, left:right].lerp_(part, weights)


def fitted(mask: np.ndarray, size: Size) -> np.ndarray:
    """A mask bool [H, W] at another size of the same shape, a copy."""
    if mask.shape == size:
        return mask.copy()
    levels = np.ascontiguousarray(mask).view(np.uint8) * _LEVELS
    return opencv().resize(levels, size[::-1], interpolation=opencv().INTER_LINEAR) > _LEVELS // 2
