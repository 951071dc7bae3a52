"""What was filmed, and what is made put into it: everything outside of the people stays as it was, to the level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..files.content_keys import digest
from ..geometry import aspect_distance
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..levels import WHITE
from ..media.clips import Clip
from ..opencv import opencv
from .edge import Edge, shares
from .placement import Placement, Size, covered_part
from .resample import Affine, resampled


@dataclass(frozen=True)
class Plate:
    """clip: what was filmed, a frame for each made one. identities: whose driving masks lie on it, of any size in its
    shape. given: masks of the made people in the same frames, of the plate's shape or else the made picture's.
    measured: whether people also reach to where the made ones are seen to grow out of the masks (`growth.py`). whole:
    whether the masks are of whole people, not of heads, which go on where the mask ends. held: whether the made picture
    was held to the plate around people while it was sampled (`lock.py`): there it differs by what the VAE changes, and
    the plate itself is shown wherever nothing else is seen."""

    clip: Clip
    placement: Placement
    identities: Identities
    edge: Edge
    given: MaskSet | None = None
    measured: bool = False
    whole: bool = True
    held: bool = False

    @property
    def size(self) -> Size:
        """(height, width) of what is written."""
        return self.clip.size

    @property
    def key(self) -> str:
        """Of everything but the clip. Of the driving masks too: those of a crop are not what the model sees."""
        masks = self.identities.driving, self.given, self.identities.bystanders
        return digest(self.placement.key, self.edge.grow, self.edge.feather,
                      *("" if each is None else each.digest() for each in masks), self.measured, self.held)

    def outline(self, frame: int, grown: np.ndarray | None = None) -> np.ndarray:
        """Where people are in a frame, bool [h, w]. grown: where the made ones are seen beyond the masks, bool [H, W]
        of the made picture."""
        inside, made = fitted(self._driven(frame), self.size), self.made_people(frame)
        if made is not None:
            inside |= made
        if grown is not None and grown.any():
            inside |= self.onto(frame, grown)
        return inside

    def made_people(self, frame: int) -> np.ndarray | None:
        """Where the given masks have the made people in a frame, bool [h, w]; None without such masks."""
        if self.given is None:
            return None
        made = self.given.anybody(frame)
        plate, picture = (aspect_distance(made.shape, size) for size in (self.size, self.placement.size))
        return fitted(made, self.size) if plate <= picture else self.onto(frame, made)

    def kept(self, frame: int) -> np.ndarray | None:
        """Where people who are not made anew are in a frame, bool [h, w]; None without any. Where somebody who is made
        is too, they are not: of masks that overlap nobody knows who is in front."""
        if self.identities.bystanders is None:
            return None
        others = self.identities.bystanders.anybody(min(frame, len(self.identities.bystanders) - 1))
        return fitted(others, self.size) & ~fitted(self._driven(frame), self.size) if others.any() else None

    def share(self, frame: int, grown: np.ndarray | None = None, other: np.ndarray | None = None) -> np.ndarray:
        """How much of each pixel of a frame is made, float32 [h, w], 0 where the plate stays. grown: as in `outline`.
        other: how clearly the made picture differs, float32 [H, W], as in `growth.Look`; it counts on a held plate."""
        across, down = self.placement.at(frame).scale
        outline = self.outline(frame, grown)
        share = shares(outline, self.edge, (across * down) ** 0.5, covered_part(self.placement, frame),
                       self.kept(frame))
        if self.held and other is not None:
            differing = _moved(other, self.placement.at(frame).inverse, self.size)
            share *= np.where(outline, np.float32(1), differing)
        return share

    def put(self, picture: Tensor, filmed: Tensor, share: np.ndarray, frame: int) -> Tensor:
        """One made picture [H, W, 3] in 0..1 into its frame of the plate, uint8 [h, w, 3]: float32 [h, w, 3] in
        0..1."""
        whole = filmed.float() / WHITE
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        if not len(rows):
            return whole
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        back = self.placement.at(frame).inverse.moved(float(left), float(top))
        part = resampled(picture[None].cpu(), back, (bottom - top, right - left))[0].clamp_(0, 1)
        weights = torch.from_numpy(np.ascontiguousarray(share[top:bottom, left:right]))[..., None]
        whole[top:bottom, left:right].lerp_(part, weights)
        return whole

    def onto(self, frame: int, mask: np.ndarray) -> np.ndarray:
        """A mask of the made picture, bool of any size in its shape, where it lies on the plate, bool [h, w]."""
        affine, (height, width) = self.placement.at(frame).inverse, self.placement.size
        finer = Affine((affine.scale[0] * width / mask.shape[1], affine.scale[1] * height / mask.shape[0]),
                       affine.offset)
        return warped(mask, finer, self.size)

    def uncovered(self, frame: int) -> np.ndarray | None:
        """Where a frame shows driven people and the given masks nobody, so that the place has to be invented, bool
        [h, w]; None without such masks."""
        made = self.made_people(frame)
        return None if made is None else fitted(self._driven(frame), self.size) & ~made

    def seen(self, frame: int, mask: np.ndarray) -> np.ndarray:
        """A mask of the plate, bool [h, w], where the made picture shows it, bool [H, W]."""
        return warped(mask, self.placement.at(frame), self.placement.size)

    def _driven(self, frame: int) -> np.ndarray:
        return next(self.identities.driving_people(frame, frame + 1))


def check_even(size: Size) -> None:
    """Raise ValueError for a plate that cannot be written in colours of half the size."""
    height, width = size
    if height % 2 or width % 2:
        raise ValueError(f"The plate, and so the result, has {width}x{height} pixels, but the codec stores colours at "
                         "half the size and needs even sides: set codec to lossless, or crop the driving video by a "
                         "pixel.")


def fitted(mask: np.ndarray, size: Size) -> np.ndarray:
    """A mask bool [H, W] at another size of the same shape, a copy."""
    if mask.shape == size:
        return mask.copy()
    return opencv().resize(_grey(mask), size[::-1], interpolation=opencv().INTER_LINEAR) > WHITE // 2


def warped(mask: np.ndarray, affine: Affine, size: Size) -> np.ndarray:
    """A mask bool [H, W] scaled and moved into a picture of another size; outside of it nobody is."""
    return _moved(_grey(mask), affine, size) > WHITE // 2


def _moved(picture: np.ndarray, affine: Affine, size: Size) -> np.ndarray:
    """A picture [H, W] scaled and moved into one of another size; 0 outside of it."""
    cv2 = opencv()
    return cv2.warpAffine(picture, affine.matrix, size[::-1], flags=cv2.INTER_LINEAR)


def _grey(mask: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mask).view(np.uint8) * WHITE
