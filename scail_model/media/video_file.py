"""A video file as a clip: every frame exactly, in any order.

A file is decoded once from end to end when it is opened: that counts the frames, finds damage before anything expensive
begins, and notes the time stamps by which every later read finds its frames exactly.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from typing import cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from torch import Tensor

from .clips import Clip, Tick, picked
from .frames import doubts, levels, orientation, squared
from .sound import doubts_about_sound

_READ_BYTES = 1 << 20
_THREADS = 8
_FAR = 250  # frames; most files can be entered again after so many
_REMEMBERED = 8  # files
_EARLIER = 0, 8, 64  # frames before the wanted one, at which a file is entered if it cannot be entered later
_LAST = 32  # frames; more than there are decoding threads, whose errors at the end FFmpeg does not report
_ASSUMED_RATE = Fraction(16)  # as the nodes' setting fps


@dataclass(frozen=True)
class Window:
    """The part of a file that is used: from `start` seconds on, `duration` seconds long; 0 is to the end."""

    start: float = 0.0
    duration: float = 0.0


def open_clip(path: str | os.PathLike, *, rate: Fraction | float | None = None) -> Clip:
    """Open a video file. rate: frames per second, picked by time stamp; None takes every frame. A file without a frame
    rate, such as a single picture, is taken to have 16 per second, and a warning says so.

    Raises RuntimeError as `FileClip` does, and ValueError for a rate that is not positive.
    """
    clip = FileClip(path, name="video")
    if clip.rate is None:
        clip.rate = _ASSUMED_RATE
        clip.warnings.append(f"The video {os.fspath(path)} states no frame rate: {_ASSUMED_RATE} per second is "
                             "assumed.")
    if rate is None:
        return clip
    # a time stamp is rounded to the file's clock, so a frame may come half a tick late
    return picked(clip, clip.times(), float(clip._time_base) / 2, Fraction(rate).limit_denominator(100_000))


class FileClip(Clip):
    """A video file, or one in memory, as a player shows it: turned, mirrored, with square pixels. name: what messages
    call it.

    Raises RuntimeError with the number of the frame (from 0) for a file that is not a video, has no frames in the
    window, or is damaged.
    """

    def __init__(self, source: str | os.PathLike | io.BytesIO, window: Window = Window(), name: str = "driving video",
                 tick: Tick = lambda: None) -> None:
        self.source, self.window, self.name, self.tick = source, window, name, tick
        self._reader: Generator[av.VideoFrame] | None = None
        self._next = 0  # the frame that the reader gives next
        self._entered = False  # whether the reader began in the middle of the file
        self._known = identity = _identity(source, window)
        # time stamps of all frames, in the order in which they are shown
        self._stamps: list[int | None] = _scanned.pop(identity, []) if identity else []
        with open_video(self.source, self.name) as container:
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate) if stream.average_rate else None
            self._time_base = cast(Fraction, stream.time_base)
            self._pixel_shape = Fraction(stream.sample_aspect_ratio or 1)
            self._lasts = float(1 / self.rate) if self.rate else 0.0  # seconds that a frame is shown
            ended = not self._stamps and self._scan(container, stream)
            self.warnings = doubts_about_sound(container, name)
        if not self._stamps:
            raise RuntimeError(f"The {self.name} {self._shown} has no frames: export it again, or trim less.")
        if ended:
            self._check_end()
        if identity:
            _scanned[identity] = self._stamps
            if len(_scanned) > _REMEMBERED:
                del _scanned[next(iter(_scanned))]
        self.warnings += self._doubts()
        self.height, self.width = self.read(0, 1).shape[1:3]

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def first_time(self) -> float:
        """Seconds in the file at which the first frame is shown."""
        return float((self._stamps[0] or 0) * self._time_base)

    def read(self, start: int, stop: int) -> Tensor:
        # Turning a frame into RGB takes longer than decoding it. No torch in it: each thread would bring torch's own.
        with ThreadPoolExecutor(_THREADS) as threads:
            converted = list(threads.map(partial(levels, way=self._way), self._ticked(self._decoded(start, stop))))
        return squared(torch.from_numpy(np.stack(converted)), self._shown_shape).movedim(1, -1)

    def times(self) -> list[float]:
        """Seconds after the first frame at which each one is shown, and at which the last one ends."""
        first = self._stamps[0] or 0
        shown = [float(((first if stamp is None else stamp) - first) * self._time_base) for stamp in self._stamps]
        return [*shown, shown[-1] + self._lasts]

    def digest(self) -> str:
        found = hashlib.blake2b(repr(self.window).encode(), digest_size=16)
        with io.BytesIO(self.source.getvalue()) if isinstance(self.source, io.BytesIO) else open(
                self.source, "rb") as file:
            while block := file.read(_READ_BYTES):
                self.tick()
                found.update(block)
        return found.hexdigest()

    def ticking(self, tick: Tick) -> FileClip:
        other = copy.copy(self)
        other.tick, other._reader = tick, None
        return other

    def shaped_like(self, video: FileClip) -> FileClip:
        """This clip with the video's shape of pixels if both are stored in one size: a mask that was made of the stored
        frames lies on their grid, whether its file says so or not."""
        if self.size == video.size or self._stored != video._stored:
            return self
        other = self.ticking(self.tick)
        other._shown_shape = video._shown_shape
        other.height, other.width = other.read(0, 1).shape[1:3]
        return other

    def close(self) -> None:
        # reader and clip refer to each other: unclosed, the decoder would stay until Python looks for circles
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _ticked(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            self.tick()
            yield frame

    def _decoded(self, start: int, stop: int) -> Iterator[av.VideoFrame]:
        if self._reader is None or start < self._next or start > self._next + _FAR:
            self._reader, self._next, self._entered = self._from(start), start, True
        while self._next < stop:
            frame = self._read()
            if frame is None or frame.pts != self._stamps[self._next]:
                if not self._entered:
                    raise RuntimeError(self._damaged(self._next, "the file has become shorter"))
                self._reader, self._entered = self._from_the_beginning(self._next), False
                continue
            self._next += 1
            if self._next > start:
                yield frame

    def _read(self) -> av.VideoFrame | None:
        try:
            return next(self._reader, None) if self._reader else None
        except FFmpegError as error:
            raise RuntimeError(self._damaged(self._next, error.strerror)) from error

    def _check_end(self) -> None:
        """Find damage in the last frames, and an end that is missing, which decoding in threads passes over."""
        for _ in self._decoded(max(0, len(self) - _LAST), len(self)):
            self.tick()
        self._read()

    def _from(self, index: int) -> Generator[av.VideoFrame]:
        """Frames from `index` on. By time stamps; where these do not lead there, everything before is decoded too."""
        if _identity(self.source, self.window) != self._known:
            raise RuntimeError(f"The {self.name} {self._shown} has been replaced while it was in use: run again, and "
                               "leave the file as it is until the video is finished.")
        with open_video(self.source, self.name) as container:
            frames = self._found(container, index)
            if frames is not None:
                yield from frames
                return
        yield from self._from_the_beginning(index)

    def _found(self, container: InputContainer, index: int) -> Iterator[av.VideoFrame] | None:
        """Frames from `index` on, of a file that is entered shortly before; None if that does not lead there.

        A decoder leaves out frames after the place of entry that need others before it, so the wanted one may be
        missing. And of several frames with one time stamp, the first is known by an earlier stamp before it.
        """
        stream, stamp = container.streams.video[0], self._stamps[index]
        first = self._stamps.index(stamp)
        shared = first < index or self._stamps[first + 1 : first + 2] == [stamp]
        for entry in (first - earlier for earlier in _EARLIER):
            if entry <= 0 or stamp is None or (place := self._stamps[entry]) is None:
                return None
            container.seek(place, stream=stream)
            frames, passed = container.decode(stream), False
            for frame in frames:
                if frame.pts is None or frame.pts >= stamp:
                    if frame.pts == stamp and (passed or not shared):
                        return islice(chain([frame], frames), index - first, None)
                    break
                passed = True
        return None

    def _from_the_beginning(self, index: int) -> Generator[av.VideoFrame]:
        with open_video(self.source, self.name) as container:
            yield from islice(self._all(container, container.streams.video[0]), index, None)

    def _all(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Frames from the window's start on."""
        if self.window.start:
            container.seek(round(self.window.start / self._time_base), stream=stream)
        return (frame for frame in container.decode(stream) if self._inside(frame, stream))

    def _scan(self, container: InputContainer, stream: av.VideoStream) -> bool:
        """Note all time stamps; returns whether the file ended before the window did."""
        stream.thread_type = "AUTO"
        size = None
        try:
            for frame in self._all(container, stream):
                self.tick()
                if self._past(frame, stream):
                    return False
                if frame.is_corrupt:
                    raise RuntimeError(self._damaged(len(self), "it is damaged"))
                size = size or (frame.width, frame.height)
                if size != (frame.width, frame.height):
                    reason = "its size changes from {}x{} to {}x{} there, after {:.2f} seconds".format(
                        *size, frame.width, frame.height, len(self) * self._lasts)
                    raise RuntimeError(self._damaged(len(self), reason))
                self._stamps.append(frame.pts)
        except FFmpegError as error:
            raise RuntimeError(self._damaged(len(self), error.strerror)) from error
        return True

    def _inside(self, frame: av.VideoFrame, stream: av.VideoStream) -> bool:
        # truncated, as ComfyUI does it
        return not self.window.start or cast(int, frame.pts) >= int(self.window.start / self._time_base)

    def _past(self, frame: av.VideoFrame, stream: av.VideoStream) -> bool:
        end = self.window.start + self.window.duration
        return bool(self.window.duration) and cast(int, frame.pts) >= int(end / self._time_base)

    def _doubts(self) -> list[str]:
        """What a player does to the stored frames that costs quality, or that is not done here."""
        first = next(self._decoded(0, 1))
        self.close()
        self._stored = first.width, first.height
        self._way = orientation(first)
        self._shown_shape = 1 / self._pixel_shape if self._way.lying else self._pixel_shape
        return doubts(first, self._pixel_shape, self.name)

    @property
    def _shown(self) -> str:
        return "in memory" if isinstance(self.source, io.BytesIO) else os.fspath(self.source)

    def _damaged(self, number: int, reason: str | None) -> str:
        return (f"The {self.name} {self._shown} cannot be decoded at frame {number} ({reason}): export it again, or "
                "cut it before that frame.")


# Several nodes of a graph open one file. The time stamps of those that were decoded last, by what tells a file from
# another one or from a later version.
_scanned: dict[tuple, list[int | None]] = {}


def _identity(source: str | os.PathLike | io.BytesIO, window: Window) -> tuple | None:
    if isinstance(source, io.BytesIO) or not os.path.isfile(source):
        return None
    about = os.stat(source)
    return os.path.realpath(source), about.st_mtime_ns, about.st_size, window


def open_video(source: str | os.PathLike | io.BytesIO, name: str) -> InputContainer:
    """An opened file with a video stream, to be closed by the caller. RuntimeError, that says `name`, for others."""
    if isinstance(source, io.BytesIO):
        source = io.BytesIO(source.getvalue())  # of its own, because every reader has its own place
    shown = "in memory" if isinstance(source, io.BytesIO) else os.fspath(source)
    try:
        # players show tags of any encoding, and nothing here reads them
        container = av.open(source if isinstance(source, io.BytesIO) else os.fspath(source), metadata_errors="replace")
    except FFmpegError as error:
        raise RuntimeError(f"The {name} {shown} cannot be opened as a video ({error.strerror}): export it again as "
                           ".mp4.") from error
    if not container.streams.video:
        container.close()
        raise RuntimeError(f"The {name} {shown} has no video stream: give a video file.")
    return cast(InputContainer, container)
