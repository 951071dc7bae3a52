"""A video file, or one in memory, as it is opened, and the sentences about one that cannot be."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream

from . import animated_webp

_WITH_ALPHA = {"vp9": "libvpx-vp9", "vp8": "libvpx"}  # decoders


@dataclass(frozen=True)
class Window:
    """The part of a file that is used: from `start` seconds on, `duration` seconds long; 0 is to the end."""

    start: float = 0.0
    duration: float = 0.0


WHOLE = Window()


@dataclass(frozen=True)
class VideoSource:
    """What is read: a window of a file. name: what messages call it."""

    file: str | os.PathLike | io.BytesIO
    window: Window
    name: str

    @property
    def shown(self) -> str:
        """The file as messages show it."""
        return "in memory" if isinstance(self.file, io.BytesIO) else os.fspath(self.file)

    def open(self) -> InputContainer:
        """The file, to be closed by the caller. RuntimeError if it is not a video."""
        return open_video(self.file, self.name)

    def identity(self) -> tuple | None:
        """What tells the window of a file from another one or from a later version; None in memory."""
        if isinstance(self.file, io.BytesIO) or not os.path.isfile(self.file):
            return None
        about = os.stat(self.file)
        return os.path.realpath(self.file), about.st_mtime_ns, about.st_size, self.window

    def damaged(self, number: int, seconds: float, reason: str | None) -> RuntimeError:
        """Of frame `number`, `seconds` after the first one."""
        return RuntimeError(f"The {self.name} {self.shown} cannot be decoded at frame {number} ({reason}, after "
                            f"{seconds:.2f} seconds): export it again, or cut it before that frame.")


def open_video(file: str | os.PathLike | io.BytesIO, name: str) -> InputContainer:
    """An opened file with a video stream, to be closed by the caller. RuntimeError, that says `name`, for others."""
    shown = "in memory" if isinstance(file, io.BytesIO) else os.fspath(file)
    try:
        # players show tags of any encoding, and nothing here reads them
        container = av.open(_readable(file), metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        raise RuntimeError(f"The {name} {shown} cannot be opened as a video ({error.strerror or error}): export it "
                           "again as .mp4, or wait until it is written.") from error
    try:
        pictures(cast(InputContainer, container), f"{name} {shown}")
    except RuntimeError:
        container.close()
        raise
    return cast(InputContainer, container)


def pictures(container: InputContainer, shown: str = "video") -> av.VideoStream:
    """The video stream of an opened file: the first one that is more than a cover picture. RuntimeError, that says
    `shown`, if there is none or no decoder for it."""
    streams = container.streams.video
    if not streams:
        raise RuntimeError(f"The {shown} has no video stream: give a video file.")
    videos = moving(container)
    if not videos:
        raise RuntimeError(f"The {shown} has a cover picture and no video: give a video file.")
    found = next((stream for stream in videos if stream.codec_context is not None), None)
    if found is None:
        raise RuntimeError(f"The {shown} is in a format that cannot be decoded here: export it again as .mp4 with "
                           "H.264.")
    return found


def decoded(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """All frames from here on."""
    decoder = _WITH_ALPHA.get(stream.codec.name) if stream.metadata.get("alpha_mode") == "1" else None
    if decoder is None:
        yield from container.decode(stream)
        return
    # FFmpeg's own decoders leave the alpha of WebM files out
    context = cast(av.VideoCodecContext, av.CodecContext.create(decoder, "r"))
    for packet in container.demux(stream):
        yield from context.decode(packet)


def enter(container: InputContainer, stream: Stream, stamp: int) -> bool:
    """Go to a place shortly before a time stamp, or to the beginning of a file that cannot be entered there. Returns
    whether that was possible."""
    beginning = stream.start_time or 0
    # where a DVD's stream is entered, FFmpeg's time stamps are a frame off
    for place in (beginning,) if container.format.name == "mpeg" else (stamp, beginning):
        with contextlib.suppress(FFmpegError):
            container.seek(place, stream=stream)
            return True
    return False


def moving(container: InputContainer) -> list[av.VideoStream]:
    """All video streams but pictures: those that say so, and single ones beside a video, as in animated AVIF."""
    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    return [stream for stream in found if stream.frames != 1] or found


def _readable(file: str | os.PathLike | io.BytesIO) -> str | io.BytesIO:
    """What FFmpeg can open."""
    if isinstance(file, io.BytesIO):
        data = file.getvalue()
        # of its own, because every reader has its own place
        return io.BytesIO(animated_webp.as_video(data) if animated_webp.is_one(data) else data)
    with open(file, "rb") as opened:
        head = opened.read(animated_webp.HEAD)
        if not head:
            raise OSError(errno.ENODATA, "it is empty")
        if animated_webp.is_one(head):
            opened.seek(0)
            return io.BytesIO(animated_webp.as_video(opened.read()))
    return os.path.abspath(file)  # a relative name may look like a protocol
