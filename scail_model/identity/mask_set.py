"""Masks of several people in a video, and what can be read off them without unpacking.

Each person is a plane (`packed_mask.py`). Planes may overlap; who is in front is decided when they are painted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .packed_mask import POPULATION, Extent, PackedMask, Plane, append, packed, unpacked


@dataclass(frozen=True)
class Planes:
    """Masks of several people, in one order. bits: one plane for each, all of one length and size."""

    bits: tuple[Plane, ...]
    frames: int
    height: int
    width: int

    def __len__(self) -> int:
        """Frames."""
        return self.frames

    @property
    def people(self) -> int:
        return len(self.bits)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def select(self, order: Iterable[int]) -> Planes:
        """Some of the planes, in another order; shares the bits."""
        return replace(self, bits=tuple(self.bits[index] for index in order))

    def rows(self, index: int) -> np.ndarray:
        """The bits of one frame, uint8 [people, H, ceil(W / 8)]."""
        rows = np.zeros((self.people, self.height, -(-self.width // 8)), np.uint8)
        for plane, target in zip(self.bits, rows, strict=True):
            plane.masks[index].place(target)
        return rows

    def frame(self, index: int) -> np.ndarray:
        """One frame, bool [people, H, W]."""
        return unpacked(self.rows(index), self.width)

    def numbers(self, index: int, front: Iterable[int]) -> np.ndarray:
        """One frame as uint8 [H, W]: 0 where nobody is, else 1 + the plane. front: planes, the front one first."""
        image, masks = np.zeros(self.size, np.uint8), self.frame(index)
        for plane in reversed(tuple(front)):
            image[masks[plane]] = plane + 1
        return image

    def edited(self, edit: Callable[[np.ndarray], np.ndarray]) -> Planes:
        """Every mask, bool [H, W], replaced by what `edit` makes of it."""
        return replace(self, bits=tuple(plane.edited(edit) for plane in self.bits))

    @property
    def extents(self) -> tuple[Extent, ...]:
        return tuple(plane.extent for plane in self.bits)

    def near(self, left: int, right: int, index: int) -> bool:
        """Whether the boxes round two people have a common pixel in a frame; without one they cannot overlap."""
        one, other = (self.bits[plane].masks[index].box for plane in (left, right))
        return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])

    def digest(self) -> str:
        """Hexadecimal; another one for another size, number or order of people, or pixel of any mask."""
        found = hashlib.blake2b(repr((self.frames, self.size)).encode(), digest_size=16)
        for plane in self.bits:
            found.update(plane.digest().encode())
        return found.hexdigest()

    def centre(self, plane: int, index: int) -> float:
        """Centre of gravity of a person in a frame, across, 0..1."""
        columns = unpacked(self.bits[plane][index], self.width).sum(0)
        return float((columns * np.arange(self.width)).sum() / columns.sum() / self.width)


def pack_frames(frames: Iterable[np.ndarray], count: int, people: int, height: int, width: int) -> Planes:
    """Masks bool [people, H, W], frame after frame, -> planes."""
    made: list[list[PackedMask]] = [[] for _ in range(people)]
    for masks in frames:
        for plane, mask in zip(made, masks, strict=True):
            append(plane, packed(mask))
    return Planes(tuple(Plane(tuple(masks), height, width) for masks in made), count, height, width)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame of each stretch where flags, bool [T], are set."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def in_words(stretches: list[tuple[int, int]]) -> str:
    """Stretches as "3-8, 12", at most four of them."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in stretches]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more stretches" if len(texts) > 4 else "")


def overlaps(planes: Planes, share: float) -> Iterator[tuple[int, int, int]]:
    """(plane, plane, frame) of the largest overlap of each pair that shares more than `share` of the smaller one."""
    pairs = list(combinations(range(planes.people), 2))
    both = np.array([_shared_pixels(planes, frame, pairs) for frame in range(len(planes))]).reshape(len(planes), -1)
    for (left, right), pixels in zip(pairs, both.T, strict=True):
        smaller = np.minimum(planes.extents[left].area, planes.extents[right].area)
        shares = pixels / smaller.clip(min=1)
        if shares.max() > share:
            yield left, right, int(shares.argmax())


def _shared_pixels(planes: Planes, frame: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Of each pair in one frame."""
    near = [planes.near(*pair, frame) for pair in pairs]
    if not any(near):
        return [0] * len(near)
    rows = planes.rows(frame)
    return [int(POPULATION[rows[left] & rows[right]].sum(dtype=np.int64)) if close else 0
            for (left, right), close in zip(pairs, near, strict=True)]
