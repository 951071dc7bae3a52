"""Made frames in their plate, one at a time: as many as an encoder asks for are in memory at the plate's size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..media.clips import Clip, Tick
from . import growth
from .facts import FrameFacts, cut_sides
from .growth import Look
from .placement import Size
from .plate import Plate


@dataclass(frozen=True)
class Composited:
    """made: [n, H, W, 3] in 0..1, from frame `start` of the plate on. before: made frames that come before these,
    [m, H, W, 3], which are not shown. `pictures` may be called by several threads at once, each of which reads the
    plate for itself. facts: of the frames that were asked for, by number from 0."""

    plate: Plate
    made: Tensor
    start: int
    before: Tensor | None = None
    facts: dict[int, FrameFacts] = field(default_factory=dict)
    filmed = True  # of `encoding.Frames`

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.plate.size

    def __len__(self) -> int:
        return len(self.made)

    def pictures(self, start: int, stop: int, tick: Tick) -> Iterator[Tensor]:
        """Frames start..stop of the made ones, float32 [h, w, 3] in 0..1 each. tick may raise."""
        earliest, beside = 0 if self.before is None else -len(self.before), int(self.plate.measured)
        seen: dict[int, tuple[Tensor, Look]] = {}  # frames beside the one that is made
        with closing(self.plate.clip.ticking(tick)) as clip:
            for index in range(start, stop):
                near = range(max(index - beside, earliest), min(index + beside + 1, len(self.made)))
                seen = {each: seen.get(each) or self._seen(clip, each) for each in near}
                looks = {each: look for each, (_, look) in seen.items()}
                share = self._share(index, looks)
                tick()  # both take long in 4K
                yield self.plate.put(self._made(index), seen[index][0], share, self.start + index)

    def _seen(self, clip: Clip, index: int) -> tuple[Tensor, Look]:
        """What was filmed, uint8 [h, w, 3], and what is made beside it."""
        frame, plate = self.start + index, self.plate
        filmed = clip.read(frame, frame + 1)[0]
        small = growth.reduced(filmed.numpy(), plate.placement.at(frame), plate.placement.size)
        people, kept = (None if mask is None else plate.seen(frame, mask)
                        for mask in (plate.outline(frame), plate.kept(frame)))
        assert people is not None
        return filmed, growth.look(self._made(index).numpy(), small, people, kept)

    def _made(self, index: int) -> Tensor:
        """float32 [H, W, 3]."""
        whole = self.made if index >= 0 else self.before
        assert whole is not None
        return whole[index].cpu().float()

    def _share(self, index: int, looks: dict[int, Look]) -> np.ndarray:
        """How much of each pixel is made, float32 [h, w]; and the frame's facts are noted."""
        plate, now = self.plate, looks[index]
        grown = growth.steady(looks.get(index - 1), now, looks.get(index + 1)) if plate.measured else None
        share = plate.share(self.start + index, grown, now.other)
        people = now.people if grown is None else now.people | grown
        cut = cut_sides(now.strange, people, plate.edge.reach) if plate.whole else ()
        self.facts[index] = FrameFacts(float(np.mean(share == 0)), cut)
        return share
