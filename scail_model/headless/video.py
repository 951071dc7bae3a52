"""Videos and pictures in, one video out: PyAV for videos, Pillow for pictures.

Frames come one by one, so that the caller decides what is kept. The output appears under its name only when it is
complete; its audio is the driving video's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..media.clips import open_video
from ..media.sound import SoundStream, track_of_file

_CRF = "14"  # libx264: close to invisible losses


def read_image(path: Path, name: str) -> Tensor:
    """A picture as people see it (camera orientation applied), uint8 [h, w, 3].

    RuntimeError that says `name` for a file that is no picture or is cut short.
    """
    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RuntimeError(f"The {name} {path} cannot be read as a picture ({error}): save it again as PNG or "
                           "JPEG.") from error


def frame_rate(path: Path, name: str) -> Fraction:
    """Average frames per second of a video. RuntimeError for a file that is no video."""
    with open_video(path, name) as container:
        return container.streams.video[0].average_rate


def read_frames(path: Path, name: str) -> Iterator[Tensor]:
    """The frames of a video, each uint8 [h, w, 3].

    RuntimeError that says `name` for a file that is no video, and with the number of the frame (from 0) for one that
    breaks off or is damaged on the way.
    """
    with open_video(path, name) as container:
        number = 0
        try:
            for frame in container.decode(video=0):
                if frame.is_corrupt:
                    raise RuntimeError(_damaged(path, name, number, "it is damaged"))
                number += 1
                yield torch.from_numpy(_upright(frame))
        except av.FFmpegError as error:
            raise RuntimeError(_damaged(path, name, number, error.strerror)) from error
        if number == 0:
            raise RuntimeError(f"The {name} {path} has no frames: export it again.")


class VideoWriter:
    """An .mp4 file (H.264, AAC) that takes frames one after the other.

    Used with `with`: leaving it normally finishes the file and gives it its name, leaving it by an error or Ctrl-C
    removes it. `frames` is how many frames will come; the audio of `audio_source` is cut to their duration.
    """

    def __init__(self, target: Path, width: int, height: int, fps: Fraction, frames: int, audio_source: Path) -> None:
        self.target, self.fps = target, fps
        self.partial = target.with_name(target.name + ".part")
        self.container = av.open(str(self.partial), "w", format="mp4")
        self.stream = self.container.add_stream("libx264", rate=fps, options={"crf": _CRF})
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        # players take small videos for BT.601 and large ones for BT.709 unless the file says which
        self.stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        self.stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
        self.source = av.open(str(audio_source))
        track = track_of_file(self.source, _start(self.source.streams.video[0]), frames / fps)
        self.audio = track and SoundStream(self.container, track)
        self.written = 0

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frames: Tensor) -> None:
        """Append frames, uint8 [n, height, width, 3]."""
        for pixels in frames.numpy():
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = self.written, 1 / self.fps
            self.container.mux(self.stream.encode(frame))
            self.written += 1
            if self.audio:
                self.audio.advance(self.written / self.fps)

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        try:
            if kind is None:
                self.container.mux(self.stream.encode())
                if self.audio:
                    self.audio.finish()
            self.container.close()
            if kind is None:
                os.replace(self.partial, self.target)
        finally:
            self.source.close()
            self.partial.unlink(missing_ok=True)


def _start(stream: av.VideoStream) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels uint8 [h, w, 3] as a player shows them: phones store portrait videos lying down."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def _damaged(path: Path, name: str, number: int, reason: str) -> str:
    return f"The {name} {path} cannot be decoded at frame {number} ({reason}): export it again."
