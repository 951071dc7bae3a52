"""A look at input files, quick enough for hundreds of them: pictures are decoded, and of a video only its first frame;
its length and rate are read off its time stamps, without decoding. Each file is looked at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NoReturn, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from PIL import ExifTags, Image

from ..media.clips import Clip, Tick
from ..media.frames import orientation
from ..media.pictures import MANY
from ..media.retiming import retimed
from ..media.scan import STORE_DURATIONS, timing
from ..media.sound import Form
from ..media.source import WHOLE, Window, decoded, open_video, pictures
from .row_values import PICTURE, SOUND, VIDEO, MediaFile

_THREADS = 4
_MISSING = 0.25  # seconds by which what files say of their length may be off
_LYING = (5, 6, 7, 8)  # EXIF's orientations in which a picture lies on its side


class Stamps(Clip):
    """As much of a clip as its time stamps tell: what plans, rates and checks of lengths ask of one. It has no
    pictures."""

    def __init__(self, stamps: list[int], clock: Fraction, stated: Fraction | None, lasts: float,
                 size: tuple[int, int]) -> None:
        self.stamps, self.clock, self.stated, self.lasts = stamps, clock, stated, lasts
        self.height, self.width = size
        self._times, self.rate, self.variable = timing(list(stamps), clock, stated, lasts)
        self.warnings, self.tick = [], lambda: None

    def __len__(self) -> int:
        return len(self.stamps)

    def times(self) -> np.ndarray:
        return self._times if self.rate else super().times()

    def read(self, start: int, stop: int) -> NoReturn:
        raise NotImplementedError

    def digest(self) -> NoReturn:
        raise NotImplementedError

    def sound(self, seconds: Fraction, form: Form | None = None) -> NoReturn:
        raise NotImplementedError

    def ticking(self, tick: Tick) -> Stamps:
        return self

    def within(self, window: Window) -> Stamps | None:
        """Only the frames of a part of the file; None if there are none."""
        if window == WHOLE:
            return self
        first = int(window.start / self.clock)
        last = int((window.start + window.duration) / self.clock) if window.duration else None
        kept = [stamp for stamp in self.stamps if stamp >= first and (last is None or stamp < last)]
        return Stamps(kept, self.clock, self.stated, self.lasts, self.size) if kept else None


@dataclass(frozen=True)
class Looked:
    """What a file is. fault: the end of a sentence that begins with its place and name. size: (height, width) as shown;
    stored: the same as stored. stamps: of a video. several: of a file that is not one picture, what it is instead."""

    fault: str = ""
    size: tuple[int, int] = (0, 0)
    stored: tuple[int, int] = (0, 0)
    stamps: Stamps | None = None
    warnings: tuple[str, ...] = field(default=())
    several: str = ""


def look_at_all(files: Iterable[MediaFile]) -> Mapping[tuple[Path, str], Looked]:
    """Every distinct file, several at once; by path and kind."""
    distinct = list(dict.fromkeys((file.path, file.kind) for file in files))
    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(distinct, threads.map(lambda file: looked_at(*file), distinct), strict=True))


def looked_at(path: Path, kind: str) -> Looked:
    """A file as it is now. Raises nothing."""
    try:
        about = path.stat()
        return _looked(path, kind, about.st_mtime_ns, about.st_size)
    except OSError as error:
        return Looked(f"which cannot be read ({error.strerror}): check the path and its permissions.")


def as_read(stamps: Stamps, rate: Fraction | None, assumed: Fraction) -> Clip:
    """The clip that a run makes of a file, at the rate that is asked for. ValueError as of `retimed`."""
    return retimed(stamps, rate, assumed=assumed)


@lru_cache(maxsize=100_000)
def _looked(path: Path, kind: str, _changed: int, size: int) -> Looked:
    if not size:
        return Looked("which is empty: wait until it is written, or export it again.")
    try:
        return {PICTURE: _picture, VIDEO: _video, SOUND: _sound}.get(kind, _other)(path)
    except (FFmpegError, OSError) as error:
        return Looked(f"which cannot be decoded ({error.strerror or error}): export it again.")


def _picture(path: Path) -> Looked:
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _LYING
            width, height = image.size
            pictures = getattr(image, "n_frames", 1) if image.format in MANY else 1
            image.draft("RGB", (width // 8, height // 8))  # of a JPEG: all of the file is read, little is computed
            image.load()
    except Exception as error:  # each of Pillow's decoders has errors of its own
        return _decoded_picture(path, error)
    size = (width, height) if turned else (height, width)
    return Looked(size=size, stored=(height, width), several=f"holds {pictures} pictures" if pictures > 1 else "")


def _decoded_picture(path: Path, error: Exception) -> Looked:
    """A picture that FFmpeg reads, as ComfyUI and the command line do, and Pillow does not."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(container.streams.video[0]))
            several = "" if container.format.name.endswith(("_pipe", "image2")) else "is a video"
            return Looked(size=(frame.height, frame.width), stored=(frame.height, frame.width), several=several)
    except (FFmpegError, OSError, IndexError, StopIteration):
        reason = str(error).replace(f" '{path}'", "") or type(error).__name__
        return Looked(f"which cannot be read as a picture ({reason}): save it again as PNG or JPEG.")


def _video(path: Path) -> Looked:
    try:
        with open_video(path, "video") as container:
            return _of_container(container)
    except RuntimeError as error:
        return Looked("which " + str(error).removeprefix(f"The video {path} "))


def _of_container(container: InputContainer) -> Looked:
    stream = pictures(container)
    clock = cast(Fraction, stream.time_base)
    stated = Fraction(stream.average_rate) if stream.average_rate else None
    stamps, stored, last = [], 0, 0
    for packet in container.demux(stream):
        if packet.size:
            stored += 1
            if not packet.is_discard and packet.pts is not None:
                stamps.append(packet.pts)
                last = packet.duration or last
    if not stamps:
        return Looked("which has no frames: export it again.")
    mov = container.format.name.split(",")[0] in STORE_DURATIONS
    if stream.frames > stored and mov:
        return Looked(f"which ends after {stored} of {stream.frames} frames: copy or export it again.")
    warnings, stamps = (), sorted(stamps)
    end = float(stream.duration * clock) if stream.duration else (container.duration or 0) / av.time_base
    if (missing := end - float((stamps[-1] - min(stamps[0], 0) + last) * clock)) > _MISSING:
        warnings = (f"is {missing:.2f} seconds shorter than its file says: copy or export it again if its end is "
                    "missing.",)
    container.seek(stream.start_time or 0, stream=stream)
    frame = next(decoded(container, stream), None)
    if frame is None:
        return Looked("of which no frame can be decoded: export it again.")
    size = _shown_size(frame, Fraction(stream.sample_aspect_ratio or 1))
    lasts = float(last * clock) if mov else 0.0
    return Looked("", size, (frame.height, frame.width), Stamps(stamps, clock, stated, lasts, size), warnings)


def _shown_size(frame: av.VideoFrame, shape: Fraction) -> tuple[int, int]:
    """(height, width) with square pixels, turned as a player shows it."""
    height, width = (frame.height, frame.width * shape) if shape > 1 else (frame.height / shape, frame.width)
    height, width = round(height), round(width)
    return (width, height) if orientation(frame).lying else (height, width)


def _sound(path: Path) -> Looked:
    with av.open(str(path)) as container:
        return Looked("" if container.streams.audio else "which has no sound: give a file with an audio stream.")


def _other(path: Path) -> Looked:
    with av.open(str(path)) as container:
        if not container.streams:
            return Looked("which has neither pictures nor sound: give another file.")
    return Looked()
