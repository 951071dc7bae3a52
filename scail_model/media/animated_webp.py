"""Animated WebP, which FFmpeg cannot decode: Pillow decodes it, into a lossless video in memory."""

from __future__ import annotations

import errno
import io
from fractions import Fraction
from functools import lru_cache
from typing import cast

import av
import numpy as np
from PIL import Image, ImageSequence

HEAD = 21  # bytes by which one is known
_CLOCK = Fraction(1, 1000)
_SHORTEST, _INSTEAD = 11, 100  # milliseconds; browsers show frames that are to be shorter for so long


def is_one(head: bytes) -> bool:
    """Whether a file that begins so is an animated WebP (developers.google.com/speed/webp/docs/riff_container)."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


@lru_cache(2)  # a file is opened several times
def as_video(data: bytes) -> bytes:
    """The same frames and time stamps as PNG in QuickTime. OSError for a damaged file."""
    try:
        return _converted(data)
    except (SyntaxError, ValueError, RuntimeError, EOFError, Image.DecompressionBombError) as error:  # Pillow's
        raise OSError(errno.EIO, str(error)) from error


def _converted(data: bytes) -> bytes:
    file, stamp = io.BytesIO(), 0
    with Image.open(io.BytesIO(data)) as image, av.open(file, "w", "mov") as output:
        stream = cast(av.VideoStream, output.add_stream("png", rate=25, options={"compression_level": "1"}))
        stream.width, stream.height, stream.pix_fmt = *image.size, "rgba"
        stream.codec_context.time_base = stream.time_base = _CLOCK
        for picture in ImageSequence.Iterator(image):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGBA")), format="rgba")
            lasts = picture.info["duration"]
            lasts = lasts if lasts >= _SHORTEST else _INSTEAD
            frame.pts, frame.time_base, frame.duration = stamp, _CLOCK, lasts
            for packet in stream.encode(frame):
                packet.duration = lasts
                output.mux(packet)
            stamp += lasts
        output.mux(stream.encode())
    return file.getvalue()
