"""A clip and its people through a window: what the model sees of one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, pack_frames
from ..media.clips import Clip, Tick
from ..media.sound import Form, Track
from .enlarged import enlarged
from .placement import Placement, Size
from .plate import warped
from .resample import Affine
from .window import Window

_METHOD = "enlarged 1"  # another one would make other pixels of the same windows
_PIECE = 8  # frames of the whole picture in memory


class CroppedClip(Clip):
    """The frames of a clip through a window, which has one for each of them; rate, time stamps and sound are the
    clip's."""

    def __init__(self, clip: Clip, window: Window) -> None:
        self.clip, self.window = clip, window
        self.height, self.width = window.size
        self.rate, self.variable, self.name, self.tick = clip.rate, clip.variable, clip.name, clip.tick
        self.warnings = clip.warnings

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def indices(self) -> Sequence[int]:
        return self.clip.indices

    @property
    def stored(self) -> int:
        return self.clip.stored

    @property
    def stored_rate(self) -> Fraction | None:
        return self.clip.stored_rate

    @property
    def filmed(self) -> Clip:
        return self.clip.filmed  # a window that moves is no cut

    def times(self) -> np.ndarray:
        return self.clip.times()

    def read(self, start: int, stop: int) -> Tensor:
        frames = torch.empty(stop - start, *self.size, 3, dtype=torch.uint8)
        for first in range(start, stop, _PIECE):
            last = min(first + _PIECE, stop)
            self._fill(frames[first - start : last - start], self.clip.read(first, last), range(first, last))
        return frames

    def at(self, indices: Sequence[int]) -> Tensor:
        frames = torch.empty(len(indices), *self.size, 3, dtype=torch.uint8)
        for first in range(0, len(indices), _PIECE):
            some = indices[first : first + _PIECE]
            self._fill(frames[first : first + len(some)], self.clip.at(some), some)
        return frames

    def _fill(self, targets: Tensor, frames: Tensor, indices: Sequence[int]) -> None:
        for target, frame, index in zip(targets, frames, indices, strict=True):
            target.copy_(enlarged(frame, self.window.at(index), self.size))

    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        return self.clip.sound(seconds, form)

    def ticking(self, tick: Tick) -> CroppedClip:
        return CroppedClip(self.clip.ticking(tick), self.window)

    def close(self) -> None:
        self.clip.close()

    def digest(self) -> str:
        values = _METHOD, self.clip.digest(), self.window.key
        return hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()


def alone(identities: Identities, person: int, tick: Tick = lambda: None) -> Identities:
    """Identities of one person where they are seen, with everybody else as a bystander. tick: called for each frame."""
    driving = identities.driving
    others = driving.people > 1 or identities.bystanders is not None

    def frames() -> Iterator[np.ndarray]:
        for frame in range(len(driving)):
            tick()
            numbers = driving.numbers(frame, identities.front)
            around = (numbers != 0) & (numbers != person + 1)
            if identities.bystanders is not None:
                around |= identities.bystanders.frame(frame).any(0) & (numbers == 0)
            yield np.stack([numbers == person + 1, around])

    masks = pack_frames(frames(), len(driving), 2, *driving.size)
    references = tuple(masks.select([person]) for masks in identities.references)
    return Identities(identities.mode, masks.select([0]), references,
                      (identities.labels[person],), (identities.names[person],), (0,), identities.notes,
                      masks.select([1]) if others else None)


def through(identities: Identities, placement: Placement, tick: Tick = lambda: None) -> Identities:
    """Identities whose driving masks are seen through a window. tick: called for each frame."""
    def seen(masks: MaskSet) -> MaskSet:
        return masks_through(masks, placement, tick)

    return replace(identities, driving=seen(identities.driving),
                   bystanders=identities.bystanders and seen(identities.bystanders))


def masks_through(masks: MaskSet, placement: Placement, tick: Tick = lambda: None) -> MaskSet:
    """Masks that lie on the plate, of any size in its shape, at the size of what is made."""
    def frames() -> Iterator[np.ndarray]:
        for frame in range(len(masks)):
            tick()
            yield np.stack([_through(mask, placement.at(frame), placement.plate_size, placement.size)
                            for mask in masks.frame(frame)])

    return pack_frames(frames(), len(masks), masks.people, *placement.size)


def _through(mask: np.ndarray, affine: Affine, of: Size, size: Size) -> np.ndarray:
    """A mask bool [h, w] through an affine from a picture of the size `of`, on which it lies, to one of `size`."""
    across, down = (scale * side / own for scale, side, own in zip(affine.scale, of[::-1], mask.shape[::-1],
                                                                   strict=True))
    return warped(mask, Affine((across, down), affine.offset), size) if mask.any() else np.zeros(size, bool)
