"""Who is who: which pixels of the driving video and of the reference pictures belong to which person, and the mode.

Each person is a plane of bits on both sides (`planes.py`), under one colour. Colours are painted only for the frames
that are asked for, and backgrounds as the mode needs them, whatever they were:

    mode           driving background    reference background
    animation      black                 white (the reference's scene is kept)
    replacement    white (the video's)   black

An additional reference is black round its people; one that shows nobody is a picture of the place, and white.

Source: SCAIL-2, arXiv 2606.10804 (environment switch), and section "Mask" of the official README.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..masks import BLACK, NAMES, WHITE, paint
from .mask_bits import components, pack_bits
from .mask_edits import Edits
from .mask_set import Planes, in_words, runs
from .packed_mask import unpacked

ANIMATION, REPLACEMENT = "animation", "replacement"
MODES = (ANIMATION, REPLACEMENT)


@dataclass(frozen=True)
class Identities:
    """Masks of one job: the people have the same order everywhere.

    driving: T frames. references: one frame each, the primary first. labels: 1..6 of each person, in the order of the
    palette. names: of each person. front: people, the front one first. notes: what the report says of the sources.
    """

    mode: str
    driving: Planes
    references: tuple[Planes, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    front: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hexadecimal; another one for another mode, colour, order or mask. Names and notes do not count."""
        found = hashlib.blake2b(repr((self.mode, self.labels, self.front)).encode(), digest_size=16)
        for planes in (self.driving, *self.references):
            found.update(planes.digest().encode())
        return found.hexdigest()

    @property
    def given_names(self) -> tuple[str, ...]:
        """Names that somebody has chosen; empty where it is only the colour's."""
        return tuple("" if name == NAMES[label - 1] else name
                     for name, label in zip(self.names, self.labels, strict=True))

    def title(self, person: int) -> str:
        """What a person is called: the colour, behind a name if there is one."""
        colour, given = NAMES[self.labels[person] - 1], self.names[person]
        return colour if given == colour else f"{given} ({colour})"

    @property
    def replacement(self) -> bool:
        return self.mode == REPLACEMENT

    def driving_labels(self, start: int, stop: int, background: int = BLACK, end: int | None = None) -> Tensor:
        """Label maps uint8 [T, H, W], 1..6 or `background`; from `end` on, or the end of the video, the frame before is
        repeated."""
        frames = self._frames(start, stop, end)
        return torch.stack([self._labels(self.driving, index, background) for index in frames])

    def reference_labels(self, index: int, background: int = BLACK) -> Tensor:
        """Label map uint8 [h, w] of one reference."""
        return self._labels(self.references[index], 0, background)

    def driving_colours(self, start: int, stop: int, end: int | None = None) -> Tensor:
        """Mask frames as the model wants them, uint8 [T, 3, H, W]; `end` as for labels."""
        return paint(self.driving_labels(start, stop, self.driving_background, end))

    def reference_colours(self, index: int) -> Tensor:
        """Mask of one reference as the model wants it, uint8 [1, 3, h, w]."""
        return paint(self.reference_labels(index, self.reference_background(index))[None])

    def driving_channels(self, start: int, stop: int, end: int | None = None) -> Tensor:
        """The 28 channels [28, T', H/16, W/16] of 4n+1 driving frames at the masks' own size, straight from the bits;
        multiples of 16. `end` as for labels."""
        bits = (self.driving.rows(index) for index in self._frames(start, stop, end))
        return pack_bits(bits, self.labels, self.front, white=self.replacement, half=True)

    def driving_components(self, start: int, stop: int, end: int | None = None) -> Iterator[list[np.ndarray]]:
        """Red, green and blue of driving frames as the model wants them, frame by frame: bits, uint8 [H, ceil(W / 8)]
        each, what is behind the last pixel undefined. `end` as for labels."""
        for index in self._frames(start, stop, end):
            yield components(self.driving.rows(index), self.labels, self.front, white=self.replacement)

    def driving_people(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Where driving frames show somebody, bool [H, W], frame by frame; behind the end the last frame is
        repeated."""
        for index in self._frames(start, stop, None):
            yield unpacked(np.bitwise_or.reduce(self.driving.rows(index), axis=0), self.driving.width)

    @property
    def driving_background(self) -> int:
        return WHITE if self.replacement else BLACK

    def reference_background(self, index: int) -> int:
        if index > 0:
            return BLACK if any(extent.seen[0] for extent in self.references[index].extents) else WHITE
        return BLACK if self.replacement else WHITE

    def edited(self, edits: Edits, tick: Callable[[], None] = lambda: None) -> Identities:
        """With edited driving masks. tick is called before each of them, and raises when the user has cancelled.

        Raises ValueError if nothing is left of somebody.
        """
        if not edits:
            return self

        def edit(mask: np.ndarray) -> np.ndarray:
            tick()
            return edits(mask)

        driving = self.driving.edited(edit)
        for label, extent in zip(self.labels, driving.extents, strict=True):
            if not extent.seen.any():
                raise ValueError(f"Nothing is left of {NAMES[label - 1]} in the driving mask after grow {edits.grow} "
                                 f"and feather {edits.feather:g}: shrink or feather less.")
        return replace(self, driving=driving)

    def _frames(self, start: int, stop: int, end: int | None) -> np.ndarray:
        return np.arange(start, stop).clip(max=(len(self.driving) if end is None else end) - 1)

    def _labels(self, planes: Planes, index: int, background: int) -> Tensor:
        table = np.array((background, *self.labels), np.uint8)
        return torch.from_numpy(table[planes.numbers(index, self.front)])


def report(identities: Identities) -> str:
    """One line per person: colour, share of the primary reference and of the driving frames where it is seen; and
    what there is to say of the sources."""
    driving, reference = identities.driving, identities.references[0]
    lines = [f"mode: {identities.mode}; {len(driving)} driving frames, {len(identities.references)} reference(s)"]
    for person in range(len(identities.labels)):
        lines.append(f"{identities.title(person)}: {_shares(reference, person).mean():.1%} of the reference; in "
                     f"{_seen(driving, person)}, {_shares(driving, person).mean():.1%} of the picture there")
    return "\n".join((*lines, *identities.notes))


def _shares(planes: Planes, person: int) -> np.ndarray:
    """Share of the picture in the frames that show the person."""
    extent = planes.extents[person]
    shown = extent.area[extent.seen] if extent.seen.any() else extent.area
    return shown / (planes.height * planes.width)


def _seen(planes: Planes, person: int) -> str:
    """In how many frames a person is, and which."""
    seen = planes.extents[person].seen
    text = f"{seen.sum()} driving frames"
    return text if seen.all() else f"{text} ({in_words(runs(seen))})"
