"""Videos that are read a few frames at a time, so that their length costs no memory: what every clip can do, and the
clip whose frames are in memory. `open_clip` opens a file (`video_file.py`)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..levels import to_levels

Tick = Callable[[], None]  # called for every frame of long work; raises when the user has cancelled

_STRETCH = 16  # frames that are read at once where all are looked at
_THREADS = 8


class Clip(ABC):
    """Frames uint8 [h, w, 3] of one size, as a player shows them. rate: frames per second, None if unknown. warnings:
    sentences about what was done to show them so. tick: called for each frame that is read."""

    height: int
    width: int
    rate: Fraction | None
    tick: Tick
    warnings: list[str]

    @abstractmethod
    def __len__(self) -> int:
        """Frames."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Tensor:
        """Frames start..stop, uint8 [n, h, w, 3]; both within the clip."""

    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal; another one for other pictures or sound."""

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
        """Some frames, uint8 [n, h, w, 3]."""
        return torch.cat([self.read(index, index + 1) for index in indices])


class TensorClip(Clip):
    """Frames in memory: [T, h, w, 3 or more], float in 0..1 or uint8. audio: ComfyUI's AUDIO, or None."""

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
            target.copy_(to_levels(frame[..., :3]))
        return levels

    def ticking(self, tick: Tick) -> TensorClip:
        return TensorClip(self.images, self.rate, self.audio, tick)

    def digest(self) -> str:
        found = hashlib.blake2b(repr((tuple(self.images.shape[:3]), self.rate)).encode(), digest_size=16)
        with ThreadPoolExecutor(_THREADS) as threads:
            for frames in self.stretches(0, len(self)):
                for one in threads.map(lambda frame: hashlib.blake2b(frame, digest_size=16).digest(), frames.numpy()):
                    found.update(one)
        if self.audio is not None:
            waveform = self.audio["waveform"].cpu().numpy()
            found.update(repr((int(self.audio["sample_rate"]), waveform.shape)).encode())
            found.update(np.ascontiguousarray(waveform))
        return found.hexdigest()


class PickedClip(Clip):
    """Frames `indices` of another clip, rising, as a clip of its own at `rate` frames per second."""

    def __init__(self, clip: Clip, indices: Sequence[int], rate: Fraction) -> None:
        self.clip, self.indices, self.rate = clip, indices, rate
        self.height, self.width, self.tick, self.warnings = clip.height, clip.width, clip.tick, clip.warnings

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, start: int, stop: int) -> Tensor:
        wanted = self.indices[start:stop]
        frames = self.clip.read(wanted[0], wanted[-1] + 1)
        return frames[[index - wanted[0] for index in wanted]]

    def ticking(self, tick: Tick) -> PickedClip:
        return PickedClip(self.clip.ticking(tick), self.indices, cast(Fraction, self.rate))

    def close(self) -> None:
        self.clip.close()

    def digest(self) -> str:
        return hashlib.blake2b(f"{self.clip.digest()} {self.rate}".encode(), digest_size=16).hexdigest()


def picked(clip: Clip, times: Sequence[float], slack: float, rate: Fraction) -> PickedClip:
    """As many seconds of a clip at `rate`: for each frame the one that a player shows at its time. times: seconds at
    which each frame is shown, and at which the last one ends; slack: by how much they may be late. Raises ValueError
    for a rate that is not positive."""
    if rate <= 0:
        raise ValueError(f"rate is {rate}, but it must be positive: give frames per second.")
    count = max(1, round(times[-1] * rate))
    shown = np.searchsorted(times[:-1], [float(index / rate) + slack for index in range(count)], side="right") - 1
    return PickedClip(clip, shown.clip(min=0).tolist(), rate)
