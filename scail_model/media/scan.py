"""A video file decoded once from end to end: that counts the frames, finds damage before anything expensive begins, and
notes the time stamps by which every later read finds its frames exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from ..levels import BLACK
from .clips import Tick
from .frame_reader import FrameReader, all_frames
from .frames import Look, look_of, transparent
from .source import VideoSource, pictures
from .time_stamps import every_frame, seconds_into, shown_times, steady_rate, usual_rate

_REMEMBERED = 8  # files
_LONGEST = 10  # pixels are not more times as wide as high
_MOST = 1000  # times as long as usual that frames may be shown on the average
_HELD = 1.5  # times as long as usual: a last frame that is meant to be looked at
_MISSING = 0.25  # seconds by which what files say of their length may be off
_LENGTH_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")  # in Matroska and WebM
STORE_DURATIONS = {"mov", "gif", "apng"}  # containers that state how long the last frame is shown


@dataclass(frozen=True)
class Scan:
    """stamps: of all frames, in the order in which they are shown, in ticks of `clock` seconds. times: seconds after
    the first frame at which each one is shown, and at which the last one ends. rate: the most usual one, None if
    unknown; variable: whether frames are shown at other times. size: (width, height) as stored. missing: seconds by
    which the file is shorter than it says."""

    stamps: list[int | None]
    clock: Fraction
    times: np.ndarray
    rate: Fraction | None
    variable: bool
    pixel_shape: Fraction
    size: tuple[int, int]
    look: Look
    missing: float


# Several nodes of a graph open one file.
_scanned: dict[tuple, Scan] = {}


def scan(source: VideoSource, tick: Tick) -> Scan:
    """What is known of a file, from memory if it was scanned lately. tick: called for each frame that is decoded.

    Raises RuntimeError with the number of the frame (from 0) and its time for a file that has no frames in the window
    or is damaged.
    """
    identity = source.identity()
    found = _scanned.pop(identity, None) if identity else None
    if found is None:
        found = _decoded(source, tick)
    if identity:
        _scanned[identity] = found
        if len(_scanned) > _REMEMBERED:
            del _scanned[next(iter(_scanned))]
    return found


def _decoded(source: VideoSource, tick: Tick) -> Scan:
    with source.open() as container:
        stream = pictures(container)
        notes = _Notes(source, cast(Fraction, stream.time_base))
        ended = notes.take(container, stream, tick)
        stated = Fraction(stream.average_rate) if stream.average_rate else None
        end = _stated_end(container, stream) if ended else 0.0
        shape, holds = Fraction(stream.sample_aspect_ratio or 1), container.format.name.split(",")[0]
        shape = shape if 1 / _LONGEST < shape < _LONGEST else Fraction(1)
    if notes.look is None:
        raise RuntimeError(f"The {source.name} {source.shown} has no frames: export it again, or trim less.")
    if ended:
        reader = FrameReader(source, notes.stamps, notes.clock)
        reader.check_end(tick)
        reader.close()
    lasts = notes.lasts if holds in STORE_DURATIONS else 0.0
    times, rate, variable = timing(notes.stamps, notes.clock, stated, lasts)
    if rate and times[-1] * rate > _MOST * len(notes.stamps):
        raise RuntimeError(f"The {source.name} {source.shown} would be {times[-1] / 3600:,.1f} hours long by its time "
                           f"stamps, with {len(notes.stamps)} frames: export it again, because they are damaged.")
    look = notes.look._replace(interlaced=notes.interlaced, over=BLACK if notes.transparent else None)
    missing = end - float((notes.stamps[-1] or 0) * notes.clock) - max(notes.lasts, *np.diff(times[-2:]))
    return Scan(notes.stamps, notes.clock, times, rate, variable, shape, notes.size, look,
                missing if missing > _MISSING else 0.0)


def _stated_end(container: InputContainer, stream: av.VideoStream) -> float:
    """Seconds at which a stream ends at the latest, as the file says; 0 if it says nothing."""
    if stream.duration and container.format.name.startswith("mov"):  # others guess it
        return float(stream.duration * cast(Fraction, stream.time_base))
    tag = _LENGTH_TAG.match(stream.metadata.get("DURATION", ""))
    return sum(float(part) * unit for part, unit in zip(tag.groups(), (3600, 60, 1), strict=True)) if tag else 0.0


class _Notes:
    """What is noted while frames go by. lasts: seconds that the last one is shown, as the file says."""

    def __init__(self, source: VideoSource, clock: Fraction) -> None:
        self.source, self.clock = source, clock
        self.stamps: list[int | None] = []
        self.look: Look | None = None
        self.size = 0, 0
        self.lasts, self.interlaced, self.transparent = 0.0, False, False

    def take(self, container: InputContainer, stream: av.VideoStream, tick: Tick) -> bool:
        """Note all frames; returns whether the file ended before the window did."""
        stream.thread_type = "AUTO"
        window = self.source.window
        end = int((window.start + window.duration) / self.clock) if window.duration else None
        try:
            for frame in all_frames(self.source, container):
                tick()
                if end is not None and frame.pts is not None and frame.pts >= end:
                    return False
                self._note(frame)
        except FFmpegError as error:
            raise self._damaged(error.strerror) from error
        return True

    def _note(self, frame: av.VideoFrame) -> None:
        self.stamps.append(frame.pts)
        if frame.is_corrupt:
            raise self._damaged("it is damaged", -1)
        size = frame.width, frame.height
        if self.look is None:
            self.look, self.size = look_of(frame), size
        if size != self.size:
            raise self._damaged("its size changes from {}x{} to {}x{} there".format(*self.size, *size), -1)
        self.lasts = float(frame.duration * self.clock)
        self.interlaced |= frame.interlaced_frame
        self.transparent = self.transparent or transparent(frame)

    def _damaged(self, reason: str | None, back: int = 0) -> RuntimeError:
        number = len(self.stamps) + back
        return self.source.damaged(number, seconds_into(self.stamps, number, self.clock), reason)


def timing(stamps: list[int | None], clock: Fraction, stated: Fraction | None, lasts: float
            ) -> tuple[np.ndarray, Fraction | None, bool]:
    """Times, rate, and whether it is variable, as in `Scan`. stated: the rate that the file says. lasts: seconds that
    the last frame is shown, 0 if unknown."""
    times = shown_times(stamps, clock, 1 / float(stated or 25))
    steady = steady_rate(times, stated)
    rate = steady or usual_rate(times)
    if rate is None:
        return np.append(times, lasts), None, False
    end = float(times[-1]) + (lasts or 1 / float(rate))
    constant = lasts * rate < _HELD if steady else len(times) == round(end * rate) and every_frame(times, end, rate)
    return np.arange(len(times) + 1) / float(rate) if constant else np.append(times, end), rate, not constant
