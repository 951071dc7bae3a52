"""A clip at another frame rate: for each frame the one that a player shows at its time.

A clip of variable rate is read at its most usual rate, so that its frames last as long as each other, as a model needs
it, and its sound stays in sync.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from fractions import Fraction

import numpy as np
from torch import Tensor

from .clips import Clip, Tick
from .sound import Form, Track
from .time_stamps import half_a_frame, shown_at

_SAME = 1e-4  # 29.97 is 30000/1001


class PickedClip(Clip):
    """Frames `indices` of another clip, rising, as a clip of its own at `rate` frames per second, None if unknown."""

    def __init__(self, clip: Clip, indices: Sequence[int], rate: Fraction | None,
                 warnings: Sequence[str] = ()) -> None:
        self.clip, self._indices, self.rate = clip, indices, rate
        self.height, self.width, self.tick = clip.height, clip.width, clip.tick
        self.warnings = [*clip.warnings, *warnings]

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def indices(self) -> Sequence[int]:
        return self._indices

    @property
    def stored(self) -> int:
        return len(self.clip)

    @property
    def stored_rate(self) -> Fraction | None:
        return self.clip.rate

    @property
    def filmed(self) -> Clip:
        return self if self.clip.filmed is self.clip else PickedClip(self.clip.filmed, self._indices, self.rate)

    def read(self, start: int, stop: int) -> Tensor:
        return self.clip.at(self._indices[start:stop])

    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        return self.clip.sound(seconds, form)

    def ticking(self, tick: Tick) -> PickedClip:
        other = PickedClip(self.clip.ticking(tick), self._indices, self.rate)
        other.warnings = self.warnings
        return other

    def close(self) -> None:
        self.clip.close()

    def digest(self) -> str:
        found = hashlib.blake2b(f"{self.clip.digest()} {self.rate}".encode(), digest_size=16)
        found.update(np.asarray(self._indices, "<i8"))
        return found.hexdigest()


def retimed(clip: Clip, rate: Fraction | float | None = None, assumed: Fraction | None = None) -> Clip:
    """A clip at `rate` frames per second, as long in seconds; the clip itself where every frame is shown once.

    rate: None for the most usual one by time stamp, which adds a warning where that leaves frames out or repeats them.
    assumed: the rate of frames that have none of their own. Raises ValueError for a rate that is not positive, and
    where neither the frames nor `assumed` say how long they last.
    """
    if rate is None:
        return _usual(clip)
    if not 0 < rate < float("inf"):
        raise ValueError(f"rate is {rate}, but it must be positive: give frames per second.")
    wanted, own = Fraction(rate).limit_denominator(100_000), clip.rate or assumed
    if own is None:
        raise ValueError("rate asks for frames by time, but the frames have no frame rate: give a video, or leave rate "
                         "at every frame.")
    if abs(wanted / own - 1) < _SAME:
        return _usual(clip)
    times = clip.times() if clip.rate else np.arange(len(clip) + 1) / float(own)
    return _picked(clip, times, wanted, own)


def picked_like(masks: Clip, driving: Clip) -> Clip:
    """Masks at the frames of a driving video that may be re-timed: the same ones of as many stored frames; as they are
    if they were made of the re-timed frames; else by their own time stamps."""
    if len(masks) == driving.stored:
        return masks if driving.stored == len(driving) and not isinstance(driving, PickedClip) else PickedClip(
            masks, driving.indices, driving.rate or Fraction(1))
    if len(masks) == len(driving) or not masks.rate or not driving.rate:
        return masks
    return retimed(masks, driving.rate)


def _usual(clip: Clip) -> Clip:
    if not clip.variable or not clip.rate:
        return clip
    found = _picked(clip, clip.times(), clip.rate, clip.rate)
    rate = float(clip.rate)
    found.warnings.append(f"The {clip.name} has a variable frame rate: read by time stamp at its most usual rate, "
                          f"{rate:g} per second, its {len(clip)} frames become {len(found)} ({len(found) / rate:.2f} "
                          "seconds); set rate for another one.")
    return found


def _picked(clip: Clip, times: np.ndarray, rate: Fraction, own: Fraction) -> PickedClip:
    # jittering frames may be shown up to half a frame early, or they would be left out and repeated in turn
    early = half_a_frame(rate, own) if clip.variable else 0.0
    return PickedClip(clip, shown_at(times[:-1], float(times[-1]), rate, early), rate)
