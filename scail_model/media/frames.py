"""One decoded frame -> the pixels that a player shows: RGB levels, turned, mirrored and with square pixels as the file
says.

Pixels are those that ComfyUI's `VideoFromFile` gives, rounded to 8 bits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import av.filter
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# decoded to 8 bits as they are; everything else through float, which keeps 10-bit video exact until it is rounded
_EIGHT_BITS = {"yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8"}
# What swscale makes floats of by dividing 16-bit levels by 65535: these levels are the same picture in a sixth of the
# time (the tests compare them).
_SIXTEEN, _MOST_BITS = ("yuv4", "nv12"), 12
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_ROWS = 64  # of a plane at a time, which stay in the processor's cache
_ALIGNMENT = 32  # pixels; swscale reads past the right edge of other widths


class Orientation(NamedTuple):
    """How stored frames are shown: rows and columns exchanged, then mirrored left to right, then upside down."""

    lying: bool
    mirrored: bool
    flipped: bool


UPRIGHT = Orientation(False, False, False)


class Traits(NamedTuple):
    """What the first frame of a clip says of all. size: (width, height) as stored. transfer: of ITU-T H.273."""

    size: tuple[int, int]
    way: Orientation
    transfer: int


def traits(frame: av.VideoFrame) -> Traits:
    return Traits((frame.width, frame.height), orientation(frame), frame.color_trc)


def levels(frame: av.VideoFrame, way: Orientation = UPRIGHT) -> np.ndarray:
    """RGB levels of a frame, uint8 [3, h, w], turned and mirrored."""
    height, width = frame.height, frame.width
    aligned = _padded(frame) if width % _ALIGNMENT and frame.format.name not in _EIGHT_BITS else frame
    if frame.format.name in _EIGHT_BITS:
        pixels = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
    elif frame.format.name.startswith(_SIXTEEN) and frame.format.components[0].bits <= _MOST_BITS:
        pixels = _rounded_planes(aligned.reformat(format="gbrp16le"), height, width)
    else:
        floats = aligned.to_ndarray(format="gbrpf32le")[:height, :width]
        pixels = np.rint(floats * np.float32(255)).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(_turned(pixels, way))


def squared(frames: Tensor, shape: Fraction) -> Tensor:
    """Levels uint8 [n, 3, h, w] of pixels `shape` times as wide as high -> square pixels, h stays."""
    if shape == 1:
        return frames
    size = frames.shape[2], max(1, round(frames.shape[3] * shape))
    # one by one, because the float copies are large
    return torch.cat([F.interpolate(frame[None].float(), size, mode="bicubic", antialias=True).round_().clamp_(0, 255)
                      .to(torch.uint8) for frame in frames])


def doubts(first: Traits, shape: Fraction, name: str) -> list[str]:
    """What showing a video costs in quality, or is not done here; by its first frame and the shape of its pixels."""
    sentences = []
    if shape != 1:
        sentences.append(f"The {name} has pixels of {shape.numerator}:{shape.denominator} and is scaled to square "
                         "ones: export it with square pixels for the best quality.")
    if first.transfer in _HDR:
        sentences.append(f"The {name} is HDR ({_HDR[first.transfer]}), which is read as SDR and looks pale: export it "
                         "as SDR (BT.709).")
    return sentences


def orientation(frame: av.VideoFrame) -> Orientation:
    """Of a file, by its first frame, whose display matrix maps stored places to shown ones: x' = a x + c y,
    y' = b x + d y (FFmpeg, libavutil/display.h). Only turns by 90 degrees and mirrors are known.

    Asked for once: a frame whose side data were looked at is in a circle with them, and stays in memory for a while.
    """
    side_data: Any = frame.side_data  # PyAV declares strings here, but gives objects
    stored = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
    if stored is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(bytes(stored), "<i4")[:5].tolist()
    lying = abs(b) > abs(a)
    right, down = (c, b) if lying else (a, d)
    return Orientation(lying, right < 0, down < 0)


def _turned(pixels: np.ndarray, way: Orientation) -> np.ndarray:
    """Levels [3, h, w] as they are shown."""
    if way.lying:
        pixels = pixels.transpose(0, 2, 1)
    return pixels[:, :: -1 if way.flipped else 1, :: -1 if way.mirrored else 1]


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
    graph, pixels = av.filter.Graph(), cast(Any, frame.format.name)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=pixels,
                              time_base=frame.time_base or Fraction(1, 25))
    pad = graph.add("pad", f"{width}:{height}:0:0")
    fill = graph.add("fillborders", f"right={width - frame.width}:bottom={height - frame.height}:mode=smear")
    sink = graph.add("buffersink")
    source.link_to(pad)
    pad.link_to(fill)
    fill.link_to(sink)
    graph.configure()
    source.push(frame)
    return cast(av.VideoFrame, sink.pull())
