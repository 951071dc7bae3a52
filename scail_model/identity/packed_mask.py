"""One person's mask in every frame: a bit for each pixel, compressed frame by frame, so that an hour of it is small.

A frame is uint8 [H, ceil(W / 8)], the lowest bit leftmost, as SAM3's tracks have it. Of the 113 KB that this is at
704x1280, about 2 are kept: what is inside the box round the person, deflated. Every frame can be read by itself.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

POPULATION = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

_LEVEL = 1  # of deflate: higher ones take a quarter off, and several times as long


class PackedMask(NamedTuple):
    """One mask. area in pixels; box: left, top, right, bottom, the last two exclusive, all 0 where nobody is seen;
    deflated: the whole bytes of each row that the box touches."""

    area: int
    box: tuple[int, int, int, int]
    deflated: bytes

    def inside(self) -> np.ndarray:
        """The bytes of the box, uint8 [bottom - top, ceil(right / 8) - left // 8]; somebody is seen."""
        left, top, right, bottom = self.box
        rows, columns = bottom - top, -(-right // 8) - left // 8
        return np.frombuffer(zlib.decompress(self.deflated, bufsize=rows * columns), np.uint8).reshape(rows, columns)

    def place(self, rows: np.ndarray) -> None:
        """Write the mask into a frame of zeros, uint8 [H, ceil(W / 8)]."""
        if self.area:
            left, top, right, bottom = self.box
            rows[top:bottom, left // 8 : -(-right // 8)] = self.inside()


EMPTY = PackedMask(0, (0, 0, 0, 0), b"")


@dataclass(frozen=True)
class Extent:
    """Where a plane's person is, frame by frame, int64 arrays. area [T] in pixels; box [T, 4] is left, top, right,
    bottom, the last two exclusive, all 0 where nobody is seen."""

    area: np.ndarray
    box: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """bool [T]."""
        return self.area > 0


@dataclass(frozen=True)
class Plane:
    """A mask for each of T frames of height x width pixels. plane[index] is a frame, uint8 [H, ceil(W / 8)];
    plane[start:stop] is a shorter plane that shares them."""

    masks: tuple[PackedMask, ...]
    height: int
    width: int

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of all frames as one array: T, H, ceil(W / 8)."""
        return len(self.masks), self.height, -(-self.width // 8)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int | slice) -> np.ndarray | Plane:
        if isinstance(index, slice):
            return Plane(self.masks[index], self.height, self.width)
        rows = np.zeros(self.shape[1:], np.uint8)
        self.masks[index].place(rows)
        return rows

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self)):
            yield self[index]

    def edited(self, edit: Callable[[np.ndarray], np.ndarray]) -> Plane:
        """Every mask that shows somebody, bool [H, W], replaced by what `edit` makes of it."""
        frames = (packed(edit(unpacked(rows, self.width))) if mask.area else rows
                  for mask, rows in zip(self.masks, self, strict=True))
        return plane_of(frames, self.height, self.width)

    @cached_property
    def extent(self) -> Extent:
        return Extent(np.array([mask.area for mask in self.masks], np.int64),
                      np.array([mask.box for mask in self.masks], np.int64).reshape(-1, 4))

    def digest(self) -> str:
        """Hexadecimal; another one for other bits, whatever compressed them."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = hashlib.blake2b(repr((self.shape, self.width)).encode(), digest_size=16)
        for mask in self.masks:
            found.update(np.array(mask.box, "<i4"))
            if mask.area:
                found.update(mask.inside())
        return found.hexdigest()


def pack(rows: np.ndarray) -> PackedMask:
    """A frame, uint8 [H, ceil(W / 8)], compressed; bits behind the last pixel are 0."""
    down = np.flatnonzero(rows.any(axis=1))
    if not down.size:
        return EMPTY
    top, bottom = int(down[0]), int(down[-1]) + 1
    across = np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(rows[top:bottom], axis=0), bitorder="little"))
    left, right = int(across[0]), int(across[-1]) + 1
    inside = np.ascontiguousarray(rows[top:bottom, left // 8 : -(-right // 8)])
    area = int(POPULATION[inside].sum(dtype=np.int64))
    return PackedMask(area, (left, top, right, bottom), zlib.compress(inside, _LEVEL))


def append(masks: list[PackedMask], rows: np.ndarray) -> None:
    """Put a packed frame behind others; one that is equal to the last is kept once."""
    append_packed(masks, pack(rows))


def append_packed(masks: list[PackedMask], mask: PackedMask) -> None:
    """`append` of a frame that is compressed already."""
    masks.append(masks[-1] if masks and masks[-1] == mask else mask)


def plane_of(frames: Iterable[np.ndarray], height: int, width: int) -> Plane:
    """Frames uint8 [H, ceil(W / 8)], one after another, -> a plane."""
    masks: list[PackedMask] = []
    for rows in frames:
        append(masks, rows)
    return Plane(tuple(masks), height, width)


def packed(masks: np.ndarray) -> np.ndarray:
    """bool [..., W] -> uint8 [..., ceil(W / 8)]."""
    return np.packbits(masks, axis=-1, bitorder="little")


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    """uint8 [..., ceil(width / 8)] -> bool [..., width]."""
    return np.unpackbits(bits, axis=-1, count=width, bitorder="little").view(bool)
