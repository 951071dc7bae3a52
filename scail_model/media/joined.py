"""Clips one after the other, as one clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .clips import Clip, Tick
from .sound import Form, Track, feed, joined_tracks, track_of_waveform
from .time_stamps import every_frame, usual_rate


class JoinedClip(Clip):
    """Clips of one size. audio: ComfyUI's AUDIO in place of the clips' own sound.

    Clips of several rates are one of variable rate. Raises ValueError for clips of several sizes, and for one that does
    not say how long its frames are shown.
    """

    def __init__(self, parts: Sequence[Clip], audio: dict[str, Any] | None = None) -> None:
        self.parts, self.audio, self.name = parts, audio, parts[0].name
        for number, part in enumerate(parts, 1):
            if part.rate is None:
                raise ValueError(f"Part {number} of the {self.name} has no frame rate: export it as .mp4 before you "
                                 "join them.")
            if part.size != parts[0].size:
                height, width, other_height, other_width = *parts[0].size, *part.size
                raise ValueError(f"Part {number} of the {self.name} is {other_width}x{other_height}, but part 1 is "
                                 f"{width}x{height}: resize it before you join them.")
        self.tick, (self.height, self.width) = parts[0].tick, parts[0].size
        self.warnings = list(dict.fromkeys(text for part in parts for text in part.warnings))
        self._starts = np.cumsum([0, *map(len, parts)])
        times = self.times()
        self.rate = parts[0].rate
        if any(part.variable or part.rate != self.rate for part in parts):
            self.rate = usual_rate(times[:-1]) or self.rate
            assert self.rate
            self.variable = not every_frame(times[:-1], float(times[-1]), self.rate)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def times(self) -> np.ndarray:
        found, end = [], 0.0
        for part in self.parts:
            times = part.times() + end
            found.append(times[:-1])
            end = float(times[-1])
        return np.concatenate([*found, [end]])

    def read(self, start: int, stop: int) -> Tensor:
        return self.at(range(start, stop))

    def at(self, indices: Sequence[int]) -> Tensor:
        numbers = (np.searchsorted(self._starts, indices, side="right") - 1).tolist()
        found = []
        for number, run in groupby(zip(numbers, indices, strict=True), key=lambda pair: pair[0]):
            for other in self.parts:
                if other is not self.parts[number]:
                    other.close()
            found.append(self.parts[number].at([index - int(self._starts[number]) for _, index in run]))
        return torch.cat(found)

    @contextmanager
    def sound(self, seconds: Fraction, form: Form | None = None) -> Iterator[Track | None]:
        if self.audio is not None:
            yield track_of_waveform(self.audio, seconds, form)
            return
        form = form or next(filter(None, map(_form, self.parts)), None)
        yield form and joined_tracks(self._tracks(seconds, form), form)

    def _tracks(self, seconds: Fraction, form: Form) -> Iterator[tuple[Track | None, Fraction]]:
        for part in self.parts:
            lasts = min(seconds, Fraction(float(part.times()[-1])))
            with part.sound(lasts, form) as track:
                yield track, lasts
            seconds -= lasts

    def ticking(self, tick: Tick) -> JoinedClip:
        return JoinedClip([part.ticking(tick) for part in self.parts], self.audio)

    def close(self) -> None:
        for part in self.parts:
            part.close()

    def digest(self) -> str:
        found = hashlib.blake2b(" ".join(part.digest() for part in self.parts).encode(), digest_size=16)
        if self.audio is not None:
            feed(found, self.audio)
        return found.hexdigest()


def _form(part: Clip) -> Form | None:
    with part.sound(Fraction(0)) as track:
        return track and Form(track.rate, track.layout)
