"""Made frames in their plate, one at a time: as many as an encoder asks for are in memory at the plate's size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from ..media.clips import Tick
from .placement import Size
from .plate import Plate


@dataclass(frozen=True)
class Composited:
    """made: [n, H, W, 3] in 0..1, from frame `start` of the plate on. `pictures` may be called by several threads at
    once, each of which reads the plate for itself."""

    plate: Plate
    made: Tensor
    start: int

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.plate.size

    def __len__(self) -> int:
        return len(self.made)

    def pictures(self, start: int, stop: int, tick: Tick) -> Iterator[Tensor]:
        """Frames start..stop of the made ones, float32 [h, w, 3] in 0..1 each. tick may raise."""
        with closing(self.plate.clip.ticking(tick)) as clip:
            for index in range(start, stop):
                frame = self.start + index
                filmed = clip.read(frame, frame + 1)[0]
                yield self.plate.put(self.made[index], filmed, self.plate.share(frame), frame)
