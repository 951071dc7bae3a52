"""A made video put into its plate and written to a file, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from ..files.atomic import writing
from ..levels import WHITE
from ..media.clips import Clip, Tick
from ..media.encoding import Encoding, join, write_part
from ..media.sound import write_sound
from .composite import Composited
from .facts import FrameFacts, lines
from .placement import Size
from .plate import Plate

_STRETCH = 80  # frames of a part, which are in memory when they are encoded


def result_rate(plate: Plate, made: Clip) -> Fraction | None:
    """Frames per second of the result; None where neither says it."""
    return plate.clip.rate or made.rate


@dataclass(frozen=True)
class Pasted:
    """Frames start..stop of a made video in the plate, as `encoding.Frames`. offsets: what is added to red, green and
    blue of each made frame, [T, 3] in units of white; None for nothing. facts: of the frames that were asked for, by
    number."""

    plate: Plate
    made: Clip
    start: int
    stop: int
    offsets: np.ndarray | None = None
    facts: dict[int, FrameFacts] = field(default_factory=dict)
    filmed = True  # of `encoding.Frames`

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.plate.size

    def __len__(self) -> int:
        return self.stop - self.start

    def pictures(self, start: int, stop: int, tick: Tick) -> Iterator[Tensor]:
        """Frames start..stop of these, float32 [h, w, 3] in 0..1 each. tick may raise."""
        first, last = self.start + start, self.start + stop
        # with a frame before and after, because what grows out of people is seen beside them
        begin, end = max(first - 1, 0), min(last + 1, len(self.made))
        with closing(self.made.ticking(tick)) as made:
            frames = made.read(begin, end).float() / WHITE
        if self.offsets is not None:
            frames = (frames + torch.from_numpy(self.offsets[begin:end])[:, None, None]).clamp_(0, 1)
        shown = Composited(self.plate, frames[first - begin :], first, frames[: first - begin])
        yield from shown.pictures(0, last - first, tick)
        self.facts.update({first + index: facts for index, facts in shown.facts.items()})


def paste(plate: Plate, made: Clip, target: Path, rate: Fraction, encoding: Encoding, tick: Tick,
          offsets: np.ndarray | None = None, comment: str = "") -> list[str]:
    """Write a made video in its plate to an .mp4 file, which appears when it is complete, with the sound of the plate.
    offsets: as in `Pasted`. Returns lines for a report. Raises RuntimeError where the sound is damaged."""
    seconds, facts = len(made) / rate, {}
    with TemporaryDirectory(dir=target.parent, prefix=".paste-") as name:
        folder, parts, sound = Path(name), [], None
        with plate.clip.sound(seconds) as track:
            if track is not None:
                sound = folder / "sound.m4a"
                write_sound(sound, track, seconds, tick)
        for start in range(0, len(made), _STRETCH):
            parts.append(folder / f"{start}.mp4")
            stretch = Pasted(plate, made, start, min(start + _STRETCH, len(made)), offsets, facts)
            write_part(parts[-1], stretch, rate, encoding, tick)
        with writing(target) as part:
            join(parts, part, rate, sound, tick, comment)
    return lines([facts[frame] for frame in sorted(facts)])
