"""Driving frames and masks of a segment, and a reader that prepares one segment while another is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..identity.identities import Identities
from ..media.clips import Clip, Tick
from ..media.workers import WorkerPool, ahead, result
from ..segments import Segment
from . import conditioning
from .crops import Crop

Size = tuple[int, int]  # height, width of the result
R = TypeVar("R")


def segment_pixels(clip: Clip, identities: Identities, segment: Segment, size: Size,
                   crop: Crop | None = None) -> Tensor:
    """Driving frames of a segment, padded with the last one: float32 [T, 3, height / 2, width / 2] in 0..1.

    crop: what is left of them, None for everything. Only a few frames at a time are in memory at the clip's own size.
    """
    small, start = [], segment.start
    for frames in ahead(clip.stretches(segment.start, segment.stop)):
        if crop is not None:
            frames = crop.applied(frames, identities, start)
        small.append(conditioning.driving_pixels(frames, *size))
        start += len(frames)
    return torch.cat((*small, small[-1][-1:].expand(segment.padding, -1, -1, -1)))


def segment_mask(identities: Identities, segment: Segment, size: Size, tick: Tick) -> Tensor:
    """Mask channels of the same frames, float32 [28, T', height / 16, width / 16]."""
    return conditioning.driving_mask(identities, segment.start, segment.start + segment.length, *size, segment.stop,
                                     tick)


@dataclass(frozen=True)
class _Reading:
    index: int
    size: Size
    pixels: Future[Tensor]
    mask: Future[Tensor]
    more: Future[Any] | None


class Reader:
    """Prepares the driving frames and masks of one segment at a time in threads: `begin`, then `take`.

    more: reads what else a segment needs, in a thread of its own. Errors are raised by `take`. tick is called while it
    waits.
    """

    def __init__(self, clip: Clip, identities: Identities, plan: Sequence[Segment], *, crop: Crop | None,
                 tick: Tick, more: Callable[[Segment, Tick], Any] | None = None) -> None:
        self.clip, self.identities, self.plan, self.crop, self.more = clip, identities, plan, crop, more
        self.tick, self._workers = tick, WorkerPool(2 + (more is not None))
        self._reading: _Reading | None = None

    def begin(self, index: int, size: Size) -> None:
        """Start preparing a segment, unless it is being prepared already."""
        if self._reading is None or (self._reading.index, self._reading.size) != (index, size):
            self._reading = _Reading(index, size, self._workers.start(self._pixels, index, size),
                                     self._workers.start(self._mask, index, size),
                                     self.more and self._workers.start(self.more, self.plan[index]))

    def take(self, index: int, size: Size) -> tuple[Tensor, Future[Tensor], Future[Any] | None]:
        """A segment's pixels, and futures of its mask and of what else there is (see `waited`). They are handed over,
        not kept."""
        self.begin(index, size)
        reading, self._reading = self._reading, None
        assert reading is not None  # `begin` has set it
        return self.waited(reading.pixels), reading.mask, reading.more

    def waited(self, future: Future[R]) -> R:
        return result(future, self.tick)

    def stop(self) -> None:
        """Stop the threads."""
        self._workers.stop()

    def _pixels(self, index: int, size: Size, tick: Tick) -> Tensor:
        with closing(self.clip.ticking(tick)) as clip:
            return segment_pixels(clip, self.identities, self.plan[index], size, self.crop)

    def _mask(self, index: int, size: Size, tick: Tick) -> Tensor:
        return segment_mask(self.identities, self.plan[index], size, tick)
