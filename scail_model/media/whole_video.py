"""Frames to one .mp4 file as they come, with the time stamps and the sound of a clip, for other programs to read.

Colours are converted by the matrix of BT.601, and the file says so: readers that do not look assume it, as the official
tools do. Masks are stored without loss and with every pixel's own colour (4:4:4): of a thin skeleton at another size,
halved colours would lose a fifth. So are colours of pictures with an odd side, which cannot be halved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from torch import Tensor

from .clips import Clip, Tick
from .sound import SoundStream, Track
from .x264 import SAME_FILE

_QUALITY = "10"  # CRF
_LOSSLESS = "0"
_BT601_TAG = 6  # of the matrix; FFmpeg's scaler has another number for it
_CLOCK = Fraction(1, 90000)


def write_clip(path: Path, clip: Clip, tick: Tick, frames: Iterable[Tensor] | None = None) -> None:
    """A clip with its sound. tick: called for every frame. frames: shown instead of its own."""
    with clip.sound(Fraction(float(clip.times()[-1]))) as track:
        shown = chain.from_iterable(clip.stretches(0, len(clip))) if frames is None else frames
        write_frames(path, shown, clip, tick, track)


def write_frames(path: Path, frames: Iterable[Tensor], clip: Clip, tick: Tick, track: Track | None = None, *,
                 masks: bool = False) -> None:
    """As many frames uint8 [h, w, 3] as the clip has, shown when its frames are. track: what sounds with them. masks:
    whether they are masks."""
    assert clip.rate  # every clip of a file has one
    times, even = clip.times(), not clip.variable
    clock = 1 / clip.rate if even else _CLOCK
    frames = iter(frames)
    first = next(frames)
    with av.open(os.fspath(path), "w", format="mp4") as output:
        stream = _stream(output, first, clip.rate, clock, masks=masks)
        sound = SoundStream(output, track) if track else None
        for number, picture in enumerate(chain((first,), frames)):
            tick()
            stamp = number if even else round(float(times[number]) / float(clock))
            if sound:
                sound.advance(stamp * clock)
            output.mux(stream.encode(_frame(picture.numpy(), stream.pix_fmt, stamp, clock)))
        if sound:
            sound.advance(Fraction(float(times[-1])))
            sound.finish()
        output.mux(stream.encode())


def _stream(output: OutputContainer, picture: Tensor, rate: Fraction, clock: Fraction, *, masks: bool
            ) -> av.VideoStream:
    # no B-frames: then the first time stamp is 0 for every reader
    options = {"crf": _LOSSLESS if masks else _QUALITY, "bf": "0", **SAME_FILE}
    stream = cast(av.VideoStream, output.add_stream("libx264", rate=rate, options=options))
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv444p" if masks or stream.width % 2 or stream.height % 2 else "yuv420p"
    stream.codec_context.time_base = clock
    tags = stream.codec_context
    tags.colorspace, tags.color_range = _BT601_TAG, ColorRange.MPEG
    tags.color_primaries, tags.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def _frame(picture: np.ndarray, form: str | None, stamp: int, clock: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format=form, dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
    frame.pts, frame.time_base = stamp, clock
    return frame
