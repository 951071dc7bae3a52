"""From time stamps to when frames are shown, how many a second there usually are, and which one is shown at a time.

Files are trusted for their time stamps, never for the rate that they state: recordings of browsers and phones have
jitter, gaps and dropped frames, and state an average, the clock of their time stamps, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

_COMMON = (*map(Fraction, (1, 2, 5, 8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 144, 240)),
           *(Fraction(nominal * 1000, 1001) for nominal in (24, 30, 48, 60, 120)))  # frames per second
_SLOWEST = Fraction(1, 1001)
_NEAR = 0.004  # a rate this near to a common one is taken for it
_ALIKE = 1.1  # times between frames that differ by no more than this factor are one kind
_JITTER = 0.5  # of the time of a frame: time stamps of a constant rate are not further apart; a dropped frame is
_FEW = 8  # frames; of fewer, jitter cannot be told from a variable rate
_TAIL, _SHARE, _LATE = 4, 8, 3  # so many last frames, of at least so many times as many, may be so many frames late
_ROUNDING = 1e-6  # seconds; what floats lose


def shown_times(stamps: Sequence[int | None], clock: Fraction, usual: float) -> np.ndarray:
    """Seconds after the first frame at which each one is shown, rising, float64 [n].

    clock: seconds of a tick; usual: seconds that a frame is usually shown. Frames that share a time stamp, have none or
    an earlier one share the time until the next later one.
    """
    first = next((stamp for stamp in stamps if stamp is not None), 0)
    seconds = np.array([np.nan if stamp is None else float((stamp - first) * clock) for stamp in stamps])
    starts = np.maximum.accumulate(np.nan_to_num(seconds, nan=-np.inf).clip(min=0))
    firsts = np.flatnonzero(np.diff(starts, prepend=-1.0))  # of each run of frames at one time
    counts = np.diff(firsts, append=len(starts))
    ends = np.append(starts[firsts][1:], starts[-1] + counts[-1] * usual)
    place = np.arange(len(starts)) - np.repeat(firsts, counts)
    return starts + place * np.repeat((ends - starts[firsts]) / counts, counts)


def usual_rate(times: np.ndarray) -> Fraction | None:
    """Frames per second at the most usual time between two frames; None for a single frame."""
    gaps = np.sort(np.diff(times))
    if not len(gaps):
        return None
    counts = np.searchsorted(gaps, gaps * _ALIKE + _ROUNDING, side="right") - np.arange(len(gaps))
    start = int(counts.argmax())
    alike = gaps[start : start + counts[start]]
    if len(alike) < len(gaps) / 2:  # jitter everywhere: no kind is usual, but the middle is
        middle = np.median(gaps)
        alike = gaps[(gaps > middle / 2) & (gaps < middle * 1.5)]
    return rounded_rate(1 / float(alike.mean()))


def rounded_rate(rate: float) -> Fraction:
    """The common rate that this one is near to, or itself."""
    nearest = min(_COMMON, key=lambda common: abs(common - rate))
    return nearest if abs(nearest / rate - 1) < _NEAR else max(Fraction(rate).limit_denominator(1001), _SLOWEST)


def steady_rate(times: np.ndarray, stated: Fraction | None) -> Fraction | None:
    """The constant rate at which frames are shown at these times, but for the rounding of clocks and small jitter; None
    if there is none. stated: the one that the file states, which is taken if it fits."""
    if len(times) < 2:
        return stated
    average, usual = rounded_rate((len(times) - 1) / float(times[-1] - times[0])), usual_rate(times)
    return next((rate for rate in (stated, usual, average) if rate and usual and _fits(times, rate)
                 and (len(times) >= _FEW or 1 / _ALIKE < rate / usual < _ALIKE)), None)


def _fits(times: np.ndarray, rate: Fraction) -> bool:
    late = times * float(rate) - np.arange(len(times))
    # a cut without encoding takes away frames that others at its end need: that is not a variable rate
    tail = len(late) - min(_TAIL, len(late) // _SHARE)
    jitter, last = late[:tail], late[tail:] - late[:tail].min()
    return bool(np.ptp(jitter) < _JITTER and (last > -_JITTER).all() and (last < _LATE).all())


def seconds_into(stamps: Sequence[int | None], number: int, clock: Fraction) -> float:
    """Seconds after the first frame at which a frame is shown, or would be after the last one."""
    if not stamps:
        return 0.0
    times = shown_times(stamps[: number + 1], clock, 0.0)
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    times = shown_times(stamps[: number + 1], clock, usual)
    return float(times[number]) if number < len(times) else float(times[-1]) + usual


def shown_at(times: np.ndarray, end: float, rate: Fraction, early: float) -> list[int]:
    """For each frame of as many seconds at `rate` the number of the one that is shown then.

    times: seconds at which frames are shown, rising from 0; end: of the last one; early: seconds that a frame may be
    shown before its time.
    """
    count = max(1, round(end * rate))
    moments = np.arange(count) * float(1 / rate) + early + _ROUNDING
    return (np.searchsorted(times, moments, side="right") - 1).tolist()


def half_a_frame(*rates: Fraction) -> float:
    """Seconds; of the highest rate."""
    return float(1 / max(rates)) / 2


def every_frame(times: np.ndarray, end: float, rate: Fraction) -> bool:
    """Whether all frames are shown once at a rate, jitter aside."""
    return shown_at(times, end, rate, half_a_frame(rate)) == list(range(len(times)))
