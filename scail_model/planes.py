"""Masks of a video at one bit per pixel and person, and what can be read off the bits without unpacking them.

A plane is one person's mask in every frame: uint8 [T, H, ceil(W / 8)], the lowest bit leftmost, as SAM3's tracks have
it. 1,000 frames of 704x1280 are 113 MB a person. Planes may overlap; who is in front is decided when they are painted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

POPULATION = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


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
class Planes:
    """Masks of several people, in one order. bits: one uint8 [T, H, ceil(width / 8)] for each."""

    bits: tuple[Tensor, ...]
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

    def frame(self, index: int) -> np.ndarray:
        """One frame, bool [people, H, W]."""
        rows = np.stack([plane[index].numpy() for plane in self.bits]) if self.bits else np.empty((0, self.height, 0))
        return unpacked(rows.astype(np.uint8, copy=False), self.width)

    def numbers(self, index: int, front: Iterable[int]) -> np.ndarray:
        """One frame as uint8 [H, W]: 0 where nobody is, else 1 + the plane. front: planes, the front one first."""
        image, masks = np.zeros(self.size, np.uint8), self.frame(index)
        for plane in reversed(tuple(front)):
            image[masks[plane]] = plane + 1
        return image

    def edited(self, edit: Callable[[np.ndarray], np.ndarray]) -> Planes:
        """Every mask, bool [H, W], replaced by what `edit` makes of it."""
        made = [torch.empty_like(plane, memory_format=torch.contiguous_format) for plane in self.bits]
        for source, target in zip(self.bits, made, strict=True):
            for rows, place in zip(source.numpy(), target.numpy(), strict=True):
                place[:] = packed(edit(unpacked(rows, self.width))) if rows.any() else 0
        return replace(self, bits=tuple(made))

    @cached_property
    def extents(self) -> tuple[Extent, ...]:
        return tuple(_extent(plane.numpy(), self.width) for plane in self.bits)

    def centre(self, plane: int, index: int) -> float:
        """Centre of gravity of a person in a frame, across, 0..1."""
        columns = unpacked(self.bits[plane][index].numpy(), self.width).sum(0)
        return float((columns * np.arange(self.width)).sum() / columns.sum() / self.width)


def pack_frames(frames: Iterable[np.ndarray], count: int, people: int, height: int, width: int) -> Planes:
    """Masks bool [people, H, W], frame after frame, -> planes."""
    bits = [torch.zeros(count, height, -(-width // 8), dtype=torch.uint8) for _ in range(people)]
    for index, masks in enumerate(frames):
        for plane, mask in zip(bits, masks, strict=True):
            plane[index] = torch.from_numpy(packed(mask))
    return Planes(tuple(bits), count, height, width)


def packed(masks: np.ndarray) -> np.ndarray:
    """bool [..., W] -> uint8 [..., ceil(W / 8)]."""
    return np.packbits(masks, axis=-1, bitorder="little")


def unpacked(bits: np.ndarray, width: int) -> np.ndarray:
    """uint8 [..., ceil(width / 8)] -> bool [..., width]."""
    return np.unpackbits(bits, axis=-1, count=width, bitorder="little").view(bool)


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
    for left in range(planes.people):
        for right in range(left + 1, planes.people):
            both = np.array([POPULATION[a.numpy() & b.numpy()].sum(dtype=np.int64)
                             for a, b in zip(planes.bits[left], planes.bits[right], strict=True)])
            smaller = np.minimum(planes.extents[left].area, planes.extents[right].area)
            shares = both / smaller.clip(min=1)
            if shares.max() > share:
                yield left, right, int(shares.argmax())


def _extent(plane: np.ndarray, width: int) -> Extent:
    area, box = np.zeros(len(plane), np.int64), np.zeros((len(plane), 4), np.int64)
    for index, rows in enumerate(plane):  # one frame at a time: the table's answer is as large as what it is asked
        area[index] = POPULATION[rows].sum(dtype=np.int64)
        if area[index]:
            across = np.flatnonzero(unpacked(np.bitwise_or.reduce(rows, axis=0), width))
            down = np.flatnonzero(rows.any(axis=1))
            box[index] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return Extent(area, box)
