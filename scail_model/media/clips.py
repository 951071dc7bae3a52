"""Videos that are read a stretch at a time, from a file or from memory, so that their length costs no memory.

A file is decoded once from end to end when it is opened: that counts the frames, finds damage before anything expensive
is begun, and notes the time stamps by which every later read finds its frames exactly. Pixels are those that ComfyUI's
`VideoFromFile` gives, rounded to 8 bits.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from ..levels import to_levels

Tick = Callable[[], None]  # called for every frame of long work; raises when the user has cancelled

# decoded to 8 bits as they are; everything else through float, which keeps 10-bit video exact until it is rounded
_EIGHT_BITS = {"yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8"}
# What swscale makes floats of by dividing 16-bit levels by 65535: these levels are the same picture in a sixth of the
# time (the tests compare them).
_SIXTEEN, _MOST_BITS = ("yuv4", "nv12"), 12
_ROWS = 64  # of a plane at a time, which stay in the processor's cache
_ALIGNMENT = 32  # pixels; swscale reads past the right edge of other widths
_READ_BYTES = 1 << 20
_THREADS = 8
_STRETCH = 16  # frames that are read at once where all are looked at
_FAR = 250  # frames; most files can be entered again after so many
_REMEMBERED = 8  # files
_LAST = 32  # frames; more than there are decoding threads, whose errors at the end FFmpeg does not report


class Clip(ABC):
    """Frames uint8 [h, w, 3] of one size. rate: frames per second, None if unknown. tick: called for each one read."""

    height: int
    width: int
    rate: Fraction | None
    tick: Tick

    @abstractmethod
    def __len__(self) -> int:
        """Frames."""

    @abstractmethod
    def frames(self, start: int, stop: int) -> Tensor:
        """Frames start..stop, uint8 [n, h, w, 3]; both within the clip."""

    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal; another one for other pictures or sound."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def __iter__(self) -> Iterator[Tensor]:
        for frames in self.stretches(0, len(self)):
            yield from frames

    def stretches(self, start: int, stop: int) -> Iterator[Tensor]:
        """Frames start..stop, a few at a time."""
        for first in range(start, stop, _STRETCH):
            yield self.frames(first, min(first + _STRETCH, stop))

    @abstractmethod
    def ticking(self, tick: Tick) -> Clip:
        """The same clip for another thread: with a place in the file of its own, and another tick."""

    def at(self, indices: Sequence[int]) -> Tensor:
        """Some frames, uint8 [n, h, w, 3]."""
        return torch.cat([self.frames(index, index + 1) for index in indices])


class TensorClip(Clip):
    """Frames in memory: [T, h, w, 3 or more], float in 0..1 or uint8. audio: ComfyUI's AUDIO, or None."""

    def __init__(self, images: Tensor, rate: Fraction | None = None, audio: dict[str, Any] | None = None,
                 tick: Tick = lambda: None) -> None:
        self.images, self.rate, self.audio, self.tick = images, rate, audio, tick
        self.height, self.width = images.shape[1:3]

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, start: int, stop: int) -> Tensor:
        # frame by frame, because a clip's float copy is large
        levels = torch.empty(stop - start, self.height, self.width, 3, dtype=torch.uint8)
        for frame, target in zip(self.images[start:stop], levels, strict=True):
            self.tick()
            target.copy_(to_levels(frame[..., :3]))
        return levels

    def ticking(self, tick: Tick) -> TensorClip:
        return TensorClip(self.images, self.rate, self.audio, tick)

    def digest(self) -> str:
        found = hashlib.blake2b(repr((tuple(self.images.shape[:3]), self.rate)).encode(), digest_size=16)
        with ThreadPoolExecutor(_THREADS) as threads:
            for frames in self.stretches(0, len(self)):
                for one in threads.map(lambda frame: hashlib.blake2b(frame, digest_size=16).digest(), frames.numpy()):
                    found.update(one)
        if self.audio is not None:
            waveform = self.audio["waveform"].cpu().numpy()
            found.update(repr((int(self.audio["sample_rate"]), waveform.shape)).encode())
            found.update(np.ascontiguousarray(waveform))
        return found.hexdigest()


@dataclass(frozen=True)
class Window:
    """The part of a file that is used: from `start` seconds on, `duration` seconds long; 0 is to the end."""

    start: float = 0.0
    duration: float = 0.0


class FileClip(Clip):
    """A video file, or one in memory. name: what messages call it. Turned upright as a player shows it.

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
        self._stamps: list[int | None] = _scanned.pop(identity, [])
        with self._opened() as container:
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate) if stream.average_rate else None
            self._time_base = stream.time_base
            ended = not self._stamps and self._scan(container, stream)
        if not self._stamps:
            raise RuntimeError(f"The {self.name} {self._shown} has no frames: export it again, or trim less.")
        if ended:
            self._check_end()
        if identity:
            _scanned[identity] = self._stamps
            if len(_scanned) > _REMEMBERED:
                del _scanned[next(iter(_scanned))]
        self.height, self.width = self.frames(0, 1).shape[1:3]

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def first_time(self) -> float:
        """Seconds in the file at which the first frame is shown."""
        return float((self._stamps[0] or 0) * self._time_base)

    def frames(self, start: int, stop: int) -> Tensor:
        # Turning a frame into RGB takes longer than decoding it. No torch in it: each thread would bring torch's own.
        with ThreadPoolExecutor(_THREADS) as threads:
            converted = list(threads.map(levels, self._ticked(self._decoded(start, stop))))
        return torch.from_numpy(np.stack(converted)).movedim(1, -1)

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
            return next(self._reader, None)
        except av.FFmpegError as error:
            raise RuntimeError(self._damaged(self._next, error.strerror)) from error

    def _check_end(self) -> None:
        """Find damage in the last frames, and an end that is missing, which decoding in threads passes over."""
        for _ in self._decoded(max(0, len(self) - _LAST), len(self)):
            self.tick()
        self._read()

    def _from(self, index: int) -> Iterator[av.VideoFrame]:
        """Frames from `index` on. By time stamps; where a file has none, everything before is decoded too."""
        if _identity(self.source, self.window) != self._known:
            raise RuntimeError(f"The {self.name} {self._shown} has been replaced while it was in use: queue again, and "
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

    def _scan(self, container: av.container.InputContainer, stream: av.VideoStream) -> bool:
        """Note all time stamps; returns whether the file ended before the window did."""
        stream.thread_type = "AUTO"
        if self.window.start:
            container.seek(round(self.window.start / stream.time_base), stream=stream)
        try:
            for frame in container.decode(stream):
                self.tick()
                if self._past(frame, stream):
                    return False
                if self._inside(frame, stream):
                    if frame.is_corrupt:
                        raise RuntimeError(self._damaged(len(self), "it is damaged"))
                    self._stamps.append(frame.pts)
        except av.FFmpegError as error:
            raise RuntimeError(self._damaged(len(self), error.strerror)) from error
        return True

    def _inside(self, frame: av.VideoFrame, stream: av.VideoStream) -> bool:
        # truncated, as ComfyUI does it
        return not self.window.start or frame.pts >= int(self.window.start / stream.time_base)

    def _past(self, frame: av.VideoFrame, stream: av.VideoStream) -> bool:
        end = self.window.start + self.window.duration
        return bool(self.window.duration) and frame.pts >= int(end / stream.time_base)

    def _opened(self) -> av.container.InputContainer:
        return open_video(self.source, self.name)

    @property
    def _shown(self) -> str:
        return "in memory" if isinstance(self.source, io.BytesIO) else os.fspath(self.source)

    def _damaged(self, number: int, reason: str) -> str:
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


def open_video(source: str | os.PathLike | io.BytesIO, name: str) -> av.container.InputContainer:
    """An opened file with a video stream, to be closed by the caller. RuntimeError, that says `name`, for others."""
    if isinstance(source, io.BytesIO):
        source = io.BytesIO(source.getvalue())  # of its own, because every reader has its own place
    shown = "in memory" if isinstance(source, io.BytesIO) else os.fspath(source)
    try:
        container = av.open(source if isinstance(source, io.BytesIO) else os.fspath(source))
    except av.FFmpegError as error:
        raise RuntimeError(f"The {name} {shown} cannot be opened as a video ({error.strerror}): export it again as "
                           ".mp4.") from error
    if not container.streams.video:
        container.close()
        raise RuntimeError(f"The {name} {shown} has no video stream: give a video file.")
    return container


def levels(frame: av.VideoFrame) -> np.ndarray:
    """uint8 [3, h, w], upright."""
    height, width = frame.height, frame.width
    aligned = _padded(frame) if width % _ALIGNMENT and frame.format.name not in _EIGHT_BITS else frame
    if frame.format.name in _EIGHT_BITS:
        pixels = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
    elif frame.format.name.startswith(_SIXTEEN) and frame.format.components[0].bits <= _MOST_BITS:
        pixels = _rounded_planes(aligned.reformat(format="gbrp16le"), height, width)
    else:
        floats = aligned.to_ndarray(format="gbrpf32le")[:height, :width]
        pixels = to_levels(torch.from_numpy(floats)).numpy().transpose(2, 0, 1)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90), (1, 2)))


def _rounded_planes(frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
    """gbrp16le -> uint8 [3, height, width]: levels of 0..65535 divided by 257 and rounded, in 16 bits."""
    pixels = np.empty((3, height, width), np.uint8)
    for plane, target in zip(frame.planes, (pixels[1], pixels[2], pixels[0]), strict=True):
        given = np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[:height, :width]
        for top in range(0, height, _ROWS):
            part = given[top : top + _ROWS]
            rounded = part >> 8
            np.subtract(part, rounded, out=rounded)
            rounded += 127
            rounded += part >> 15
            rounded >>= 8
            target[top : top + _ROWS] = rounded
    return pixels


def _padded(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame with its right and bottom edges repeated up to a multiple of 32 pixels."""
    width, height = (-(-side // _ALIGNMENT) * _ALIGNMENT for side in (frame.width, frame.height))
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name,
                              time_base=frame.time_base or Fraction(1, 25))
    pad = graph.add("pad", f"{width}:{height}:0:0")
    fill = graph.add("fillborders", f"right={width - frame.width}:bottom={height - frame.height}:mode=smear")
    sink = graph.add("buffersink")
    source.link_to(pad)
    pad.link_to(fill)
    fill.link_to(sink)
    graph.configure()
    source.push(frame)
    return sink.pull()
