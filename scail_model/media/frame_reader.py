"""Decoded frames of a file by number, in any order: found by time stamp, or counted from the beginning."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError

from .clips import Tick
from .source import VideoSource, decoded, enter, pictures
from .time_stamps import seconds_into

_FAR = 250  # frames; most files can be entered again after so many
_EARLIER = 0, 8, 64  # frames before the wanted one, at which a file is entered if it cannot be entered later
_LAST = 32  # frames; more than there are decoding threads, whose errors at the end FFmpeg does not report


class FrameReader:
    """Frames of a window of a file whose time stamps are known. stamps: of all frames, in the order in which they are
    shown; clock: seconds of a tick. It has one place in the file, and keeps the decoder there until `close`."""

    def __init__(self, source: VideoSource, stamps: Sequence[int | None], clock: Fraction) -> None:
        self.source, self.stamps, self.clock = source, stamps, clock
        self._known = source.identity()
        self._reader: Generator[av.VideoFrame] | None = None
        self._next = 0  # the frame that the reader gives next
        self._entered = False  # whether the reader began in the middle of the file
        self._enters = True  # whether it can, as far as is known

    def again(self) -> FrameReader:
        """Another one of the same file, for another thread."""
        other = FrameReader(self.source, self.stamps, self.clock)
        other._known = self._known
        return other

    def frames(self, start: int, stop: int) -> Iterator[av.VideoFrame]:
        """Frames start..stop. RuntimeError for a file that has been replaced since, or cannot be decoded."""
        if self._reader is None or start < self._next or (self._enters and start > self._next + _FAR):
            self._reader, self._next, self._entered = self._from(start), start, True
        while self._next < stop:
            frame = self._read()
            if frame is None or frame.pts != self.stamps[self._next]:
                if not self._entered:
                    raise self._damaged("the file has become shorter")
                self._reader, self._entered = self._from_the_beginning(self._next), False
                continue
            self._next += 1
            if self._next > start:
                yield frame

    def check_end(self, tick: Tick) -> None:
        """Find damage in the last frames, and an end that is missing, which decoding in threads passes over."""
        for _ in self.frames(max(0, len(self.stamps) - _LAST), len(self.stamps)):
            tick()
        self._read()

    def close(self) -> None:
        """Give back the decoder."""
        # reader and frames refer to each other: unclosed, they would stay until Python looks for circles
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _read(self) -> av.VideoFrame | None:
        try:
            return next(self._reader, None) if self._reader else None
        except FFmpegError as error:
            raise self._damaged(error.strerror) from error

    def _damaged(self, reason: str | None) -> RuntimeError:
        return self.source.damaged(self._next, seconds_into(self.stamps, self._next, self.clock), reason)

    def _from(self, index: int) -> Generator[av.VideoFrame]:
        """Frames from `index` on. By time stamps; where these do not lead there, everything before is decoded too."""
        if self.source.identity() != self._known:
            raise RuntimeError(f"The {self.source.name} {self.source.shown} has been replaced while it was in use: run "
                               "again, and leave the file as it is until the video is finished.")
        with self.source.open() as container:
            frames = self._found(container, index)
            if frames is not None:
                yield from frames
                return
        self._enters = index <= _EARLIER[-1]
        yield from self._from_the_beginning(index)

    def _found(self, container: InputContainer, index: int) -> Iterator[av.VideoFrame] | None:
        """Frames from `index` on, of a file that is entered shortly before; None if that does not lead there.

        A decoder leaves out frames after the place of entry that need others before it, so the wanted one may be
        missing. And of several frames with one time stamp, the first is known by an earlier stamp before it.
        """
        stream, stamp = pictures(container), self.stamps[index]
        first = self.stamps.index(stamp)
        shared = first < index or self.stamps[first + 1 : first + 2] == [stamp]
        for entry in (first - earlier for earlier in _EARLIER):
            if entry <= 0 or stamp is None or (place := self.stamps[entry]) is None:
                return None
            if not enter(container, stream, place):
                return None
            frames, passed = decoded(container, stream), False
            for frame in frames:
                if frame.pts is None or frame.pts >= stamp:
                    if frame.pts == stamp and (passed or not shared):
                        return islice(chain([frame], frames), index - first, None)
                    break
                passed = True
        return None

    def _from_the_beginning(self, index: int) -> Generator[av.VideoFrame]:
        with self.source.open() as container:
            yield from islice(all_frames(self.source, container), index, None)


def all_frames(source: VideoSource, container: InputContainer) -> Iterator[av.VideoFrame]:
    """Frames of an opened file from the start of the source's window on."""
    stream, window = pictures(container), source.window
    clock = cast(Fraction, stream.time_base)
    if not window.start:
        return decoded(container, stream)
    start = int(window.start / clock)  # truncated, as ComfyUI does it
    frames, first = iter(()), None
    for entry in (round(window.start / clock), stream.start_time or 0):
        if not enter(container, stream, entry):
            break
        frames = decoded(container, stream)
        first = next(frames, None)
        # recordings (.ts) and DVDs can be entered after the place that was asked for, where frames are missing
        if first is not None and first.pts is not None and first.pts <= start:
            break
    return (frame for frame in chain([first] if first else [], frames) if frame.pts is not None and frame.pts >= start)
