"""One decoded frame -> the pixels that a player shows: RGB levels, turned and mirrored as the file says, HDR and wide
gamut in BT.709, one field of interlaced frames, transparent ones over black.

Of all other frames pixels are those that ComfyUI's `VideoFromFile` gives, rounded to 8 bits; of 12-bit RGB those of
FFmpeg's scaler to 8 bits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..levels import WHITE
from .colours import Colours, as_sdr
from .filters import deinterlaced, filtered

# decoded to 8 bits as they are; everything else through float, which keeps 10-bit video exact until it is rounded
_EIGHT_BITS = {"yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8"}
# What swscale makes floats of by dividing 16-bit levels by 65535: these levels are the same picture in a sixth of the
# time (the tests compare them).
_SIXTEEN, _MOST_BITS = ("yuv4", "nv12"), 12
_LOSSLESS = "gbrp12le"  # as `encoding.py` stores levels of 8 bits in 12: this way they come back
_ROWS = 64  # of a plane at a time, which stay in the processor's cache
_ALIGNMENT = 32  # pixels; swscale reads past the right edge of other widths
_TOP = 65535  # the highest of 16-bit levels


class Orientation(NamedTuple):
    """How stored frames are shown: rows and columns exchanged, then mirrored left to right, then upside down."""

    lying: bool
    mirrored: bool
    flipped: bool


UPRIGHT = Orientation(False, False, False)
_TURNS = (UPRIGHT, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))


class Look(NamedTuple):
    """How stored frames become pixels. over: the level of grey under transparent ones, None for frames without alpha.
    interlaced: whether frames that say so are made of two fields. crop: (x, y, width, height) of the shown pixels that
    are kept."""

    way: Orientation = UPRIGHT
    colours: Colours = Colours()
    over: int | None = None
    interlaced: bool = False
    crop: tuple[int, int, int, int] | None = None

    @property
    def plain(self) -> bool:
        """Whether pixels are shown as they are stored, turned and mirrored at the most."""
        return self.colours.plain and self.over is None and not self.interlaced and self.crop is None


PLAIN = Look()


def look_of(frame: av.VideoFrame) -> Look:
    """As much as the first frame of a file tells."""
    return Look(orientation(frame), Colours(frame.color_trc, frame.color_primaries))


def transparent(frame: av.VideoFrame) -> bool:
    """Whether pixels are not opaque."""
    alpha = frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)
    return alpha and bool(frame.to_ndarray(format="rgba")[..., 3].min() < WHITE)


def levels(frame: av.VideoFrame, look: Look = PLAIN) -> np.ndarray:
    """RGB levels of a frame, uint8 [3, h, w], turned and mirrored."""
    height, width = frame.height, frame.width
    if look.interlaced and frame.interlaced_frame:
        frame = deinterlaced(frame)
    eight = frame.format.name in _EIGHT_BITS
    aligned = _padded(frame) if width % _ALIGNMENT and not (eight and look.colours.plain) else frame
    if look.over is not None:
        pixels = _composed(frame if eight else aligned, height, width, look.over)
    elif not look.colours.plain:
        pixels = _rounded_planes(as_sdr(aligned, look.colours), height, width)
    elif eight:
        pixels = frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
    elif frame.format.name == _LOSSLESS:
        pixels = aligned.to_ndarray(format="rgb24")[:height, :width].transpose(2, 0, 1)
    elif frame.format.name.startswith(_SIXTEEN) and frame.format.components[0].bits <= _MOST_BITS:
        pixels = _rounded_planes(aligned.reformat(format="gbrp16le"), height, width)
    else:
        floats = aligned.to_ndarray(format="gbrpf32le")[:height, :width]
        pixels = np.rint(floats * np.float32(255)).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
    shown = _turned(pixels, look.way)
    if look.crop is not None:
        x, y, columns, rows = look.crop
        shown = shown[:, y : y + rows, x : x + columns]
    return np.ascontiguousarray(shown)


def squared(frames: Tensor, shape: Fraction) -> Tensor:
    """Levels uint8 [n, 3, h, w] of pixels `shape` times as wide as high -> square pixels, h stays."""
    if shape == 1:
        return frames
    size = frames.shape[2], max(1, round(frames.shape[3] * shape))
    # one by one, because the float copies are large
    return torch.cat([F.interpolate(frame[None].float(), size, mode="bicubic", antialias=True).round_().clamp_(0, 255)
                      .to(torch.uint8) for frame in frames])


def doubts(look: Look, shape: Fraction, name: str) -> list[str]:
    """What showing a video costs in quality. shape: of its pixels; name: what messages call it."""
    sentences = []
    if shape != 1:
        sentences.append(f"The {name} has pixels of {shape.numerator}:{shape.denominator} and is scaled to square "
                         "ones: export it with square pixels for the best quality.")
    if not look.colours.plain:
        sentences.append(look.colours.doubt(name))
    if look.over is not None:
        sentences.append(f"The {name} has transparency, which is shown over black: export it over another background "
                         "if it should have one.")
    if look.interlaced:
        sentences.append(f"The {name} is interlaced, and one field of each frame is used: export it deinterlaced for "
                         "the best quality.")
    return sentences


def orientation(frame: av.VideoFrame) -> Orientation:
    """Of a file, by its first frame, whose display matrix maps stored places to shown ones: x' = a x + c y,
    y' = b x + d y (FFmpeg, libavutil/display.h). Only turns by 90 degrees and mirrors are known.

    Asked for once: a frame whose side data were looked at is in a circle with them, and stays in memory for a while.
    """
    try:
        side_data: Any = frame.side_data  # PyAV declares strings here, but gives objects
    except ValueError:  # of a kind that PyAV does not know, such as the EXIF data of a camera
        return _TURNS[round(frame.rotation / 90) % 4]
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


def _composed(frame: av.VideoFrame, height: int, width: int, over: int) -> np.ndarray:
    """Levels uint8 [3, h, w] of a frame with alpha, over a level of grey."""
    if frame.format.name in _EIGHT_BITS:
        stored, top = frame.to_ndarray(format="rgba"), 255
    else:
        stored, top = frame.to_ndarray(format="rgba64le")[:height, :width], _TOP
    share = stored[..., 3:].astype(np.float32) / top
    pixels = stored[..., :3] * np.float32(255 / top) * share + over * (1 - share)
    return np.rint(pixels).clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


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
    return filtered(frame, ("pad", {"width": width, "height": height, "x": 0, "y": 0}),
                    ("fillborders", {"right": width - frame.width, "bottom": height - frame.height, "mode": "smear"}))
