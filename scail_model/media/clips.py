"""Videos that are read a few frames at a time, so that their length costs no memory: what every clip can do, and the
clip whose frames are in memory. `open_clip` opens a file (`video_file.py`)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..levels import BLACK, opaque, to_levels
from .sound import Form, Track, feed, track_of_waveform

Tick = Callable[[], None]  # called for every frame of long work; raises when the user has cancelled

_STRETCH = 16  # frames that are read at once where all are looked at
_THREADS = 8


class Clip(ABC):
    """Frames uint8 [h, w, 3] of one size, as a player shows them. rate: frames per second, the most usual one by time
    stamp; None if unknown. variable: whether frames would be left out or repeated at that rate (`retiming.py`).
    warnings: sentences about what was done to show them so. tick: called for each frame that is read."""

    height: int
    width: int
    rate: Fraction | None
    tick: Tick
    warnings: list[str]
    variable: bool = False
    name: str = "driving video"  # what messages call it

    @abstractmethod
    def __len__(self) -> int:
        """Frames."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Tensor:
        """Frames start..stop, uint8 [n, h, w, 3]; both within the clip."""

    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal; another one for other pictures or sound."""

    @abstractmethod
    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        """The first seconds of the sound from the first frame on; None without one. form: of the track, None for the
        sound's own. Its blocks are read within the context, and raise RuntimeError where the sound is damaged."""

    @property
    def indices(self) -> Sequence[int]:
        """Which of the stored frames each frame is, rising."""
        return range(len(self))

    @property
    def stored(self) -> int:
        """Frames that are stored, of which these were picked."""
        return len(self)

    @property
    def stored_rate(self) -> Fraction | None:
        """Frames per second of those that are stored, as `rate`."""
        return self.rate

    @property
    def filmed(self) -> Clip:
        """What a camera saw of it, with as many frames: scenes change there, and not in what is rendered from it."""
        return self

    def times(self) -> np.ndarray:
        """Seconds after the first frame at which each one is shown, and at which the last one ends, float64 [n + 1].
        The clip has a rate."""
        assert self.rate
        return np.arange(len(self) + 1) / float(self.rate)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def __iter__(self) -> Iterator[Tensor]:
        for frames in self.stretches(0, len(self)):
            yield from frames

    def stretches(self, start: int, stop: int) -> Iterator[Tensor]:
        """Frames start..stop, a few at a time."""
        for first in range(start, stop, _STRETCH):
            yield self.read(first, min(first + _STRETCH, stop))

    @abstractmethod
    def ticking(self, tick: Tick) -> Clip:
        """The same clip for another thread: with a place in the file of its own, and another tick."""

    def close(self) -> None:  # noqa: B027
        """Give back what reading holds until the next read: a decoder with its threads and frames."""

    def at(self, indices: Sequence[int]) -> Tensor:
        """Some frames in any order, uint8 [n, h, w, 3]. Rising indices are read in one go."""
        return torch.cat([self.read(index, index + 1) for index in indices])


class TensorClip(Clip):
    """Frames in memory: [T, h, w, 3 or 4], float in 0..1 or uint8; the fourth is alpha, over black. audio: ComfyUI's
    AUDIO, or None."""

    def __init__(self, images: Tensor, rate: Fraction | None = None, audio: dict[str, Any] | None = None,
                 tick: Tick = lambda: None) -> None:
        self.images, self.rate, self.audio, self.tick = images, rate, audio, tick
        self.warnings = []
        self.height, self.width = images.shape[1:3]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> Tensor:
        # frame by frame, because a clip's float copy is large
        levels = torch.empty(stop - start, self.height, self.width, 3, dtype=torch.uint8)
        for frame, target in zip(self.images[start:stop], levels, strict=True):
            self.tick()
            target.copy_(to_levels(opaque(frame, BLACK)))
        return levels

    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        return nullcontext(None if self.audio is None else track_of_waveform(self.audio, seconds, form))

    def ticking(self, tick: Tick) -> TensorClip:
        return TensorClip(self.images, self.rate, self.audio, tick)

    def digest(self) -> str:
        found = hashlib.blake2b(repr((tuple(self.images.shape[:3]), self.rate)).encode(), digest_size=16)
        with ThreadPoolExecutor(_THREADS) as threads:
            for frames in self.stretches(0, len(self)):
                for one in threads.map(lambda frame: hashlib.blake2b(frame, digest_size=16).digest(), frames.numpy()):
                    found.update(one)
        if self.audio is not None:
            feed(found, self.audio)
        return found.hexdigest()
