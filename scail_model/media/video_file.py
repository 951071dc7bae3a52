"""A video file as a clip: every frame exactly, in any order."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from torch import Tensor

from .clips import Clip, Tick
from .frame_reader import FrameReader
from .frames import UPRIGHT, doubts, levels, squared
from .retiming import retimed
from .scan import scan
from .sound import Form, Track, doubts_about_sound, track_of_file
from .source import WHOLE, VideoSource, Window, moving

_READ_BYTES = 1 << 20
_THREADS = 8
_ASSUMED_RATE = Fraction(16)  # as the nodes' setting fps


def open_clip(path: str | os.PathLike, *, rate: Fraction | float | None = None) -> Clip:
    """Open a video file. rate: frames per second, picked by time stamp; None takes every frame, or a clip of variable
    rate at its most usual one, which a warning says. A file without a frame rate, such as a single picture, is taken to
    have 16 per second, and a warning says so.

    Raises RuntimeError as `FileClip` does, and ValueError for a rate that is not positive.
    """
    clip = FileClip(path, name="video")
    if clip.rate is None:
        clip.rate = _ASSUMED_RATE
        clip.warnings.append(f"The video {os.fspath(path)} states no frame rate: {_ASSUMED_RATE} per second is "
                             "assumed.")
    return retimed(clip, rate)


class FileClip(Clip):
    """A video file, or one in memory, as a player shows it: turned, mirrored, with square pixels. name: what messages
    call it. crop: (x, y, width, height) that is kept of it, before pixels are made square.

    Raises RuntimeError with the number of the frame (from 0) and its time for a file that is not a video, has no frames
    in the window, or is damaged.
    """

    def __init__(self, source: str | os.PathLike | io.BytesIO, window: Window = WHOLE, name: str = "driving video",
                 tick: Tick = lambda: None, crop: tuple[int, int, int, int] | None = None) -> None:
        self.file, self.name, self.tick = VideoSource(source, window, name), name, tick
        self.known = scan(self.file, tick)
        self.rate, self.variable = self.known.rate, self.known.variable
        self._reader = FrameReader(self.file, self.known.stamps, self.known.clock)
        self.look = look = self.known.look._replace(crop=crop)
        shape = self.known.pixel_shape
        self._shown_shape = 1 / shape if look.way.lying else shape
        with self.file.open() as container:
            self.warnings = doubts_about_streams(container, name) + doubts(look, shape, name)
        if missing := self.known.missing:
            self.warnings.append(f"The {name} is {missing:.2f} seconds shorter than its file says: copy or export it "
                                 "again if its end is missing.")
        self.height, self.width = self.read(0, 1).shape[1:3]

    def __len__(self) -> int:
        return len(self.known.stamps)

    @property
    def first_time(self) -> float:
        """Seconds in the file at which the first frame is shown."""
        return float((self.known.stamps[0] or 0) * self.known.clock)

    def times(self) -> np.ndarray:
        return self.known.times if self.known.rate else super().times()

    def read(self, start: int, stop: int) -> Tensor:
        return self._shown(range(start, stop))

    def at(self, indices: Sequence[int]) -> Tensor:
        rising = all(index <= after for index, after in zip(indices, indices[1:], strict=False))
        return self._shown(indices) if rising else super().at(indices)

    def _shown(self, indices: Sequence[int]) -> Tensor:
        """Frames by rising numbers. Those between are left out, and where there are many, not decoded either."""
        wanted = sorted(set(indices))

        def frames():
            for number in wanted:
                self.tick()
                yield from self._reader.frames(number, number + 1)

        # Turning a frame into RGB takes longer than decoding it. No torch in it: each thread would bring torch's own.
        try:
            with ThreadPoolExecutor(_THREADS) as threads:
                converted = list(threads.map(partial(levels, look=self.look), frames()))
        except FFmpegError as error:
            raise RuntimeError(f"The {self.name} {self.file.shown} has colours that cannot be converted "
                               f"({error.strerror}): export it in BT.709.") from error
        places = {number: place for place, number in enumerate(wanted)}
        stacked = np.stack([converted[places[index]] for index in indices])
        return squared(torch.from_numpy(stacked), self._shown_shape).movedim(1, -1)

    def digest(self) -> str:
        source = self.file.file
        # what is not plain was read in another way once, and jobs of that time are of other pixels
        found = hashlib.blake2b(repr(self.file.window).encode(), digest_size=16)
        if not self.look.plain:
            found.update(repr(self.look._replace(way=UPRIGHT)).encode())
        with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else open(source, "rb") as file:
            while block := file.read(_READ_BYTES):
                self.tick()
                found.update(block)
        return found.hexdigest()

    @contextmanager
    def sound(self, seconds: Fraction, form: Form | None = None) -> Iterator[Track | None]:
        with self.file.open() as container:
            yield track_of_file(container, self.first_time, seconds, form)

    def ticking(self, tick: Tick) -> FileClip:
        other = copy.copy(self)
        other.tick, other._reader = tick, self._reader.again()
        return other

    def shaped_like(self, video: FileClip) -> FileClip:
        """This clip with the video's shape of pixels if both are stored in one size: a mask that was made of the stored
        frames lies on their grid, whether its file says so or not."""
        if self.size == video.size or self.known.size != video.known.size:
            return self
        other = self.ticking(self.tick)
        other._shown_shape = video._shown_shape
        other.height, other.width = other.read(0, 1).shape[1:3]
        return other

    def close(self) -> None:
        self._reader.close()


def doubts_about_streams(container: InputContainer, name: str) -> list[str]:
    """What has to be said of the streams of an open file, in sentences. name: what messages call it."""
    count = len(moving(container))
    several = [f"The {name} has {count} video streams, of which the first is read: export the one that you mean alone."]
    return several * (count > 1) + doubts_about_sound(container, name)
