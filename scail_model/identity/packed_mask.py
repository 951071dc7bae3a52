"""Compressed masks: one person's mask in one frame (`PackedMask`), and in every frame (`MaskTrack`).

A frame unpacks to one bit per pixel, uint8 [H, ceil(W / 8)], lowest bit leftmost, as in SAM3's tracks. At 704x1280 that
is 113 KB; about 2 KB remain, because only the box around the person is stored, deflated. Frames are independent, so any
of them can be read alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np

POPULATION = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

_LEVEL = 1  # of deflate: higher levels save another quarter, but take several times as long


class PackedMask(NamedTuple):
    """One person in one frame. area: pixels. box: left, top, right, bottom, the last two exclusive; all 0 if the mask
    is empty. deflated: the bytes that the box touches, row by row."""

    area: int
    box: tuple[int, int, int, int]
    deflated: bytes

    def inside(self) -> np.ndarray:
        """The bytes of the box, uint8 [bottom - top, ceil(right / 8) - left // 8]; the mask must not be empty."""
        left, top, right, bottom = self.box
        rows, columns = bottom - top, -(-right // 8) - left // 8
        return np.frombuffer(zlib.decompress(self.deflated, bufsize=rows * columns), np.uint8).reshape(rows, columns)

    def place(self, rows: np.ndarray) -> None:
        """Write the mask into an empty frame, uint8 [H, ceil(W / 8)]."""
        if self.area:
            left, top, right, bottom = self.box
            rows[top:bottom, left // 8 : -(-right // 8)] = self.inside()


EMPTY = PackedMask(0, (0, 0, 0, 0), b"")


@dataclass(frozen=True)
class Extent:
    """Where a person is in each frame, int64. area: pixels [T]. box: [T, 4] left, top, right, bottom, the last two
    exclusive; all 0 in frames without the person."""

    area: np.ndarray
    box: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Frames that show the person, bool [T]."""
        return self.area > 0


@dataclass(frozen=True)
class MaskTrack:
    """One person's masks in T frames of height x width pixels. track[index] is a frame, uint8 [H, ceil(W / 8)];
    track[start:stop] is a shorter track that shares the masks."""

    masks: tuple[PackedMask, ...]
    height: int
    width: int

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of all frames as one array: T, H, ceil(W / 8)."""
        return len(self.masks), self.height, -(-self.width // 8)

    def __len__(self) -> int:
        return len(self.masks)

    @overload
    def __getitem__(self, index: int | np.integer) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> MaskTrack: ...

    def __getitem__(self, index: int | np.integer | slice) -> np.ndarray | MaskTrack:
        if isinstance(index, slice):
            return MaskTrack(self.masks[index], self.height, self.width)
        rows = np.zeros(self.shape[1:], np.uint8)
        self.masks[index].place(rows)
        return rows

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self)):
            yield self[index]

    def edited(self, edit: Callable[[np.ndarray], np.ndarray]) -> MaskTrack:
        """Apply `edit` (bool [H, W] -> bool [H, W]) to every mask that is not empty."""
        frames = (packed(edit(unpacked(rows, self.width))) if mask.area else rows
                  for mask, rows in zip(self.masks, self, strict=True))
        return pack_track(frames, self.height, self.width)

    @cached_property
    def extent(self) -> Extent:
        return Extent(np.array([mask.area for mask in self.masks], np.int64),
                      np.array([mask.box for mask in self.masks], np.int64).reshape(-1, 4))

    def digest(self) -> str:
        """Hexadecimal hash of the pixels, independent of how they were compressed."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hashed = hashlib.blake2b(repr((self.shape, self.width)).encode(), digest_size=16)
        for mask in self.masks:
            hashed.update(np.array(mask.box, "<i4").tobytes())
            if mask.area:
                hashed.update(mask.inside().tobytes())
        return hashed.hexdigest()


def pack(rows: np.ndarray) -> PackedMask:
    """Compress a frame, uint8 [H, ceil(W / 8)]; the bits after the last pixel must be 0."""
    down = np.flatnonzero(rows.any(axis=1))
    if not down.size:
        return EMPTY
    top, bottom = int(down[0]), int(down[-1]) + 1
    across = np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(rows[top:bottom], axis=0), bitorder="little"))
    left, right = int(across[0]), int(across[-1]) + 1
    inside = rows[top:bottom, left // 8 : -(-right // 8)]
    area = int(POPULATION[inside].sum(dtype=np.int64))
    return PackedMask(area, (left, top, right, bottom), zlib.compress(inside.tobytes(), _LEVEL))


def append(masks: list[PackedMask], rows: np.ndarray) -> None:
    """Compress a frame and append it; equal consecutive masks share one object."""
    append_packed(masks, pack(rows))


def append_packed(masks: list[PackedMask], mask: PackedMask) -> None:
    """The same for a mask that is already compressed."""
    masks.append(masks[-1] if masks and masks[-1] == mask else mask)


def pack_track(frames: Iterable[np.ndarray], height: int, width: int) -> MaskTrack:
    """Frames uint8 [H, ceil(W / 8)], in order -> a track."""
    masks: list[PackedMask] = []
    for rows in frames:
        append(masks, rows)
    return MaskTrack(tuple(masks), height, width)


def packed(masks: np.ndarray) -> np.ndarray:
    """bool [..., W] -> uint8 [..., ceil(W / 8)]."""
    return np.packbits(masks, axis=-1, bitorder="little")


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    """uint8 [..., ceil(width / 8)] -> bool [..., width]."""
    return np.unpackbits(bits, axis=-1, count=width, bitorder="little").view(bool)
