"""Identities: which pixels of the driving video and of the reference pictures belong to which person, and the mode.

Each person has a mask track on both sides (`mask_set.py`) and one colour. Colours are painted on demand, frame by
frame, and the background is painted as the mode needs it, whatever colour it had:

    mode           driving background    reference background
    animation      black                 white (the reference's scene is kept)
    replacement    white (the video's)   black

An additional reference is black around its people. One without people is a picture of the place, and all white.

Source: SCAIL-2, arXiv 2606.10804 (environment switch), and section "Mask" of the official README.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..masks import BLACK, NAMES, WHITE, given_name, paint, title
from .mask_bits import components, pack_bits
from .mask_edits import Edits
from .mask_set import MaskSet, in_words, runs

ANIMATION, REPLACEMENT = "animation", "replacement"
MODES = (ANIMATION, REPLACEMENT)
WHOLE_PICTURE = "no masks: one person, the whole picture, as whole_picture asks for"  # a note
RENDERED = "driving mask: of rendered poses"  # a note


@dataclass(frozen=True)
class Identities:
    """Masks of one job. People have the same order in every field.

    driving: T frames. references: one frame each, the primary first. labels: palette index of each person, 1..6.
    names: one per person. front: people, front to back. notes: remarks about the sources, for the report. bystanders:
    people of the driving masks who are not bound, None without any.
    """

    mode: str
    driving: MaskSet
    references: tuple[MaskSet, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    front: tuple[int, ...]
    notes: tuple[str, ...] = ()
    bystanders: MaskSet | None = None

    def digest(self) -> str:
        """Hexadecimal hash of mode, colours, order and masks; names, notes and bystanders do not count."""
        hashed = hashlib.blake2b(repr((self.mode, self.labels, self.front)).encode(), digest_size=16)
        for mask_set in (self.driving, *self.references):
            hashed.update(mask_set.digest().encode())
        return hashed.hexdigest()

    @property
    def given_names(self) -> tuple[str, ...]:
        """Names that the user chose; empty for people named after their colour."""
        return tuple(map(given_name, self.labels, self.names))

    def title(self, person: int) -> str:
        """Display name of a person: "blue", or "Anna (blue)" if it has a name."""
        return title(self.labels[person], self.names[person])

    @property
    def whole_picture(self) -> bool:
        """Whether there are no masks, as the user has said."""
        return WHOLE_PICTURE in self.notes

    @property
    def rendered(self) -> bool:
        """Whether the driving masks are those of rendered poses."""
        return RENDERED in self.notes

    @property
    def replacement(self) -> bool:
        return self.mode == REPLACEMENT

    def driving_labels(self, start: int, stop: int, background: int = BLACK, end: int | None = None) -> Tensor:
        """Label maps uint8 [T, H, W], 1..6 or `background`. From `end` (default: the end of the video) on, the last
        frame is repeated."""
        frames = self._frames(start, stop, end)
        return torch.stack([self._labels(self.driving, index, background) for index in frames])

    def reference_labels(self, index: int, background: int = BLACK) -> Tensor:
        """Label map uint8 [h, w] of one reference."""
        return self._labels(self.references[index], 0, background)

    def driving_colours(self, start: int, stop: int, end: int | None = None) -> Tensor:
        """Mask frames as the model expects them, uint8 [T, 3, H, W]; `end` as for labels."""
        return paint(self.driving_labels(start, stop, self.driving_background, end))

    def reference_colours(self, index: int) -> Tensor:
        """Mask of one reference as the model expects it, uint8 [1, 3, h, w]."""
        return paint(self.reference_labels(index, self.reference_background(index))[None])

    def driving_channels(self, start: int, stop: int, end: int | None = None) -> Tensor:
        """The 28 channels [28, T', H/16, W/16] of 4n+1 driving frames, computed from the bits at the masks' own size,
        which must be a multiple of 16. `end` as for labels."""
        bits = (self.driving.rows(index) for index in self._frames(start, stop, end))
        return pack_bits(bits, self.labels, self.front, white=self.replacement, half=True)

    def driving_components(self, start: int, stop: int, end: int | None = None) -> Iterator[list[np.ndarray]]:
        """Red, green and blue of each driving frame as the model expects them: bits, uint8 [H, ceil(W / 8)] each; the
        bits after the last pixel are undefined. `end` as for labels."""
        for index in self._frames(start, stop, end):
            yield components(self.driving.rows(index), self.labels, self.front, white=self.replacement)

    def driving_people(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Where each driving frame shows people, bool [H, W]; after the end the last frame is repeated."""
        for index in self._frames(start, stop, None):
            yield self.driving.anybody(index)

    @property
    def driving_background(self) -> int:
        return WHITE if self.replacement else BLACK

    def reference_background(self, index: int) -> int:
        if index > 0:
            return BLACK if any(extent.seen[0] for extent in self.references[index].extents) else WHITE
        return BLACK if self.replacement else WHITE

    def edited(self, edits: Edits, tick: Callable[[], None] = lambda: None) -> Identities:
        """The same with edited driving masks. tick is called before each mask and may raise to cancel.

        Raises ValueError if a person disappears.
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

    def picked(self, frames: Sequence[int]) -> Identities:
        """The same with these frames of the driving video, in this order."""
        return replace(self, driving=self.driving.picked(frames),
                       bystanders=self.bystanders and self.bystanders.picked(frames))

    def _frames(self, start: int, stop: int, end: int | None) -> np.ndarray:
        return np.arange(start, stop).clip(max=(len(self.driving) if end is None else end) - 1)

    def _labels(self, mask_set: MaskSet, index: int, background: int) -> Tensor:
        table = np.array((background, *self.labels), np.uint8)
        return torch.from_numpy(table[mask_set.numbers(index, self.front)])


def report(identities: Identities) -> str:
    """One line per person (colour, share of the primary reference and of the driving frames that show it), then the
    notes about the sources."""
    driving, reference = identities.driving, identities.references[0]
    lines = [f"mode: {identities.mode}; {len(driving)} driving frames, {len(identities.references)} reference(s)"]
    for person in range(len(identities.labels)):
        lines.append(f"{identities.title(person)}: {_shares(reference, person).mean():.1%} of the reference; in "
                     f"{_seen(driving, person)}, {_shares(driving, person).mean():.1%} of the picture there")
    return "\n".join((*lines, *identities.notes))


def _shares(mask_set: MaskSet, person: int) -> np.ndarray:
    """Share of the picture in the frames that show the person."""
    extent = mask_set.extents[person]
    shown = extent.area[extent.seen] if extent.seen.any() else extent.area
    return shown / (mask_set.height * mask_set.width)


def _seen(mask_set: MaskSet, person: int) -> str:
    """In how many frames a person is seen, and in which."""
    seen = mask_set.extents[person].seen
    text = f"{seen.sum()} driving frames"
    return text if seen.all() else f"{text} ({in_words(runs(seen))})"
