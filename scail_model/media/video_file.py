"""A video file as a clip: every frame exactly, in any order.

A file is decoded once from end to end when it is opened: that counts the frames, finds damage before anything expensive
begins, and notes the time stamps by which every later read finds its frames exactly.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer
from av.error import FFmpegError
from torch import Tensor

from .clips import Clip, PickedClip, Tick
from .frames import levels

_READ_BYTES = 1 << 20
_THREADS = 8
_FAR = 250  # frames; most files can be entered again after so many
_REMEMBERED = 8  # files
_LAST = 32  # frames; more than there are decoding threads, whose errors at the end FFmpeg does not report
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273


@dataclass(frozen=True)
class Window:
    """The part of a file that is used: from `start` seconds on, `duration` seconds long; 0 is to the end."""

    start: float = 0.0
    duration: float = 0.0


def open_clip(path: str | os.PathLike, *, rate: Fraction | float | None = None) -> Clip:
    """Open a video file. rate: frames per second, picked by time stamp; None takes every frame.

    Raises RuntimeError as `FileClip` does, and ValueError for a rate that is not positive.
    """
    clip = FileClip(path, name="video")
    return clip if rate is None else PickedClip(clip, *clip.picks(Fraction(rate).limit_denominator(100_000)))


class FileClip(Clip):
    """A video file, or one in memory, as a player shows it: turned, mirrored, with square pixels. name: what messages
    call it.

    Raises RuntimeError with the number of the frame (from 0) for a file that is no video, has no frames in the window,
    or is damaged.
    """

    def __init__(self, source: str | os.PathLike | io.BytesIO, window: Window = Window(), name: str = "driving video",
                 tick: Tick = lambda: None) -> None:
        self.source, self.window, self.name, self.tick = source, window, name, tick
        self._reader: Iterator[av.VideoFrame] | None = None
        self._next = 0  # the frame that the reader gives next
        self._known = identity = _identity(source, window)
        # time stamps of all frames, in the order in which they are shown
        self._stamps: list[int | None] = _scanned.pop(identity, []) if identity else []
        with self._opened() as container:
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate) if stream.average_rate else None
            self._time_base = cast(Fraction, stream.time_base)
            self._pixel_shape = Fraction(stream.sample_aspect_ratio or 1)
            self._lasts = _frame_seconds(stream)
            ended = not self._stamps and self._scan(container, stream)
        if not self._stamps:
            raise RuntimeError(f"The {self.name} {self._shown} has no frames: export it again, or trim less.")
        if ended:
            self._check_end()
        if identity:
            _scanned[identity] = self._stamps
            if len(_scanned) > _REMEMBERED:
                del _scanned[next(iter(_scanned))]
        self.warnings = self._doubts()
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
            converted = list(threads.map(levels, self._ticked(self._decoded(start, stop))))
        return _squared(torch.from_numpy(np.stack(converted)), self._shown_shape).movedim(1, -1)

    def picks(self, rate: Fraction) -> tuple[list[int], Fraction]:
        """For each frame of the same seconds at `rate`, the frame that a player shows at its time; and the rate."""
        if rate <= 0:
            raise ValueError(f"rate is {rate}, but it must be positive: give frames per second.")
        first = self._stamps[0] or 0
        times = [float(((first if stamp is None else stamp) - first) * self._time_base) for stamp in self._stamps]
        count = max(1, round((times[-1] + self._lasts) * rate))
        # a time stamp is rounded to the file's clock, so a frame may come half a tick late
        slack = float(self._time_base) / 2
        shown = np.searchsorted(times, [float(index / rate) + slack for index in range(count)], side="right") - 1
        return shown.clip(min=0).tolist(), rate

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

    def _ticked(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            self.tick()
            yield frame

    def _decoded(self, start: int, stop: int) -> Iterator[av.VideoFrame]:
        if self._reader is None or start < self._next or start > self._next + _FAR:
            self._reader, self._next = self._from(start), start
        while self._next < stop:
            frame = self._read()
            if frame is None:
                raise RuntimeError(self._damaged(self._next, "the file has become shorter"))
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

    def _from(self, index: int) -> Iterator[av.VideoFrame]:
        """Frames from `index` on. By time stamps; where a file has none, everything before is decoded too."""
        if _identity(self.source, self.window) != self._known:
            raise RuntimeError(f"The {self.name} {self._shown} has been replaced while it was in use: run again, and "
                               "leave the file as it is until the video is finished.")
        with self._opened() as container:
            stream = container.streams.video[0]
            stamp = self._stamps[index]
            if index and stamp is not None:
                container.seek(stamp, stream=stream)
                frames = container.decode(stream)
                first = next((frame for frame in frames if frame.pts is not None and frame.pts >= stamp), None)
                if first is not None and first.pts == stamp:
                    yield first
                    yield from frames
                    return
                container.seek(0)
            frames = (frame for frame in container.decode(stream) if self._inside(frame, stream))
            for number, frame in enumerate(frames):
                if number >= index:
                    yield frame

    def _scan(self, container: InputContainer, stream: av.VideoStream) -> bool:
        """Note all time stamps; returns whether the file ended before the window did."""
        stream.thread_type = "AUTO"
        if self.window.start:
            container.seek(round(self.window.start / self._time_base), stream=stream)
        try:
            for frame in container.decode(stream):
                self.tick()
                if self._past(frame, stream):
                    return False
                if self._inside(frame, stream):
                    if frame.is_corrupt:
                        raise RuntimeError(self._damaged(len(self), "it is damaged"))
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
        self._reader = None
        self._shown_shape = 1 / self._pixel_shape if abs(round(first.rotation / 90)) % 2 else self._pixel_shape
        doubts = []
        if self._pixel_shape != 1:
            doubts.append(f"The {self.name} has pixels of {self._pixel_shape.numerator}:{self._pixel_shape.denominator}"
                          " and is scaled to square ones: export it with square pixels for the best quality.")
        if first.color_trc in _HDR:
            doubts.append(f"The {self.name} is HDR ({_HDR[first.color_trc]}), which is read as SDR and looks pale: "
                          "export it as SDR (BT.709).")
        return doubts

    def _opened(self) -> InputContainer:
        return open_video(self.source, self.name)

    @property
    def _shown(self) -> str:
        return "in memory" if isinstance(self.source, io.BytesIO) else os.fspath(self.source)

    def _damaged(self, number: int, reason: str | None) -> str:
        return (f"The {self.name} {self._shown} cannot be decoded at frame {number} ({reason}): export it again, or "
                "cut it before that frame.")


def _frame_seconds(stream: av.VideoStream) -> float:
    """How long one frame is shown, by the average rate."""
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _squared(frames: Tensor, shape: Fraction) -> Tensor:
    """Levels uint8 [n, 3, h, w] of pixels `shape` times as wide as high -> square pixels, h stays."""
    if shape == 1:
        return frames
    size = frames.shape[2], max(1, round(frames.shape[3] * shape))
    # one by one, because the float copies are large
    return torch.cat([F.interpolate(frame[None].float(), size, mode="bicubic", antialias=True).round_().clamp_(0, 255)
                      .to(torch.uint8) for frame in frames])


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
