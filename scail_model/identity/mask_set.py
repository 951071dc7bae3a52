"""Masks of several people in one video, and questions that need no unpacking: sizes, overlaps, gaps.

Masks may overlap. Who is in front is decided when they are painted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .packed_mask import POPULATION, Extent, MaskTrack, PackedMask, append, packed, unpacked


@dataclass(frozen=True)
class MaskSet:
    """One track per person, all of the same length and size. People are indexed from 0."""

    tracks: tuple[MaskTrack, ...]
    frames: int
    height: int
    width: int

    def __len__(self) -> int:
        """Number of frames."""
        return self.frames

    @property
    def people(self) -> int:
        return len(self.tracks)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def select(self, order: Iterable[int]) -> MaskSet:
        """The people with these indices, in this order; the tracks are shared."""
        return replace(self, tracks=tuple(self.tracks[person] for person in order))

    def picked(self, frames: Sequence[int]) -> MaskSet:
        """The frames with these numbers, in this order; the masks are shared."""
        tracks = (MaskTrack(tuple(track.masks[frame] for frame in frames), self.height, self.width)
                  for track in self.tracks)
        return replace(self, tracks=tuple(tracks), frames=len(frames))

    def rows(self, frame: int | np.integer) -> np.ndarray:
        """One frame as bits, uint8 [people, H, ceil(W / 8)]."""
        rows = np.zeros((self.people, self.height, -(-self.width // 8)), np.uint8)
        for track, target in zip(self.tracks, rows, strict=True):
            track.masks[frame].place(target)
        return rows

    def frame(self, frame: int | np.integer) -> np.ndarray:
        """One frame, bool [people, H, W]."""
        return unpacked(self.rows(frame), self.width)

    def anybody(self, frame: int | np.integer) -> np.ndarray:
        """Where one frame shows people, bool [H, W]."""
        return unpacked(np.bitwise_or.reduce(self.rows(frame), axis=0), self.width)

    def numbers(self, frame: int | np.integer, front: Iterable[int]) -> np.ndarray:
        """One frame as uint8 [H, W]: 1 + index of the person, 0 where there is none. front: people, front to back."""
        image, masks = np.zeros(self.size, np.uint8), self.frame(frame)
        for person in reversed(tuple(front)):
            image[masks[person]] = person + 1
        return image

    def edited(self, edit: Callable[[np.ndarray], np.ndarray]) -> MaskSet:
        """Apply `edit` (bool [H, W] -> bool [H, W]) to every mask that is not empty."""
        return replace(self, tracks=tuple(track.edited(edit) for track in self.tracks))

    @property
    def extents(self) -> tuple[Extent, ...]:
        return tuple(track.extent for track in self.tracks)

    def near(self, left: int, right: int, frame: int | np.integer) -> bool:
        """Whether the boxes of two people intersect in a frame; if not, the masks cannot overlap."""
        one, other = (self.tracks[person].masks[frame].box for person in (left, right))
        return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])

    def digest(self) -> str:
        """Hexadecimal hash of size, order of the people and pixels of every mask."""
        hashed = hashlib.blake2b(repr((self.frames, self.size)).encode(), digest_size=16)
        for track in self.tracks:
            hashed.update(track.digest().encode())
        return hashed.hexdigest()

    def centre(self, person: int, frame: int | np.integer) -> float:
        """Horizontal centre of gravity of a person in a frame, 0..1."""
        columns = unpacked(self.tracks[person][frame], self.width).sum(0)
        return float((columns * np.arange(self.width)).sum() / columns.sum() / self.width)


def pack_frames(frames: Iterable[Iterable[np.ndarray]], count: int, people: int, height: int, width: int) -> MaskSet:
    """`count` frames of masks, bool [people, H, W] each -> a mask set."""
    tracks: list[list[PackedMask]] = [[] for _ in range(people)]
    for masks in frames:
        for track, mask in zip(tracks, masks, strict=True):
            append(track, packed(mask))
    return MaskSet(tuple(MaskTrack(tuple(masks), height, width) for masks in tracks), count, height, width)


def at_size(masks: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Masks bool [P, h, w] at another size (height, width), the nearest pixel of each.

    As OpenCV picks it, and so the official scripts, whose rounding takes the pixel before in one of 20 pairs of sizes.
    """
    rows, columns = (np.minimum((np.arange(to) * (1 / (to / old))).astype(int), old - 1)
                     for to, old in zip(size, masks.shape[1:], strict=True))
    return masks if masks.shape[1:] == tuple(size) else masks[:, rows][:, :, columns]


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last frame of each stretch where flags, bool [T], are set."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def in_words(stretches: list[tuple[int, int]]) -> str:
    """Stretches as "3-8, 12"; at most four are named."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in stretches]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more stretches" if len(texts) > 4 else "")


def overlaps(mask_set: MaskSet, share: float) -> Iterator[tuple[int, int, int]]:
    """(person, person, frame) for each pair that overlaps by more than `share` of the smaller one, and the frame where
    they overlap most."""
    pairs = list(combinations(range(mask_set.people), 2))
    counts = [_shared_pixels(mask_set, frame, pairs) for frame in range(len(mask_set))]
    both = np.array(counts).reshape(len(mask_set), -1)  # [T, pairs]
    for (left, right), pixels in zip(pairs, both.T, strict=True):
        smaller = np.minimum(mask_set.extents[left].area, mask_set.extents[right].area)
        shares = pixels / smaller.clip(min=1)
        if shares.max() > share:
            yield left, right, int(shares.argmax())


def _shared_pixels(mask_set: MaskSet, frame: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Pixels that each pair shares in one frame."""
    near = [mask_set.near(*pair, frame) for pair in pairs]
    if not any(near):
        return [0] * len(near)
    rows = mask_set.rows(frame)
    return [int(POPULATION[rows[left] & rows[right]].sum(dtype=np.int64)) if close else 0
            for (left, right), close in zip(pairs, near, strict=True)]
