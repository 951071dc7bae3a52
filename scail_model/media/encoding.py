"""Finished frames as video files: one part for each segment, and all parts joined without encoding anything again.

Parts have no B-frames, so that every packet is one frame in the order in which it is shown, and joining is counting.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import av
import numpy as np
import torch
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from torch import Tensor

from .clips import Tick
from .workers import together
from .x264 import SAME_FILE

_BT709, _LIMITED = Colorspace.ITU709, ColorRange.MPEG
_RGB, _FULL = 0, ColorRange.JPEG


@dataclass(frozen=True)
class Codec:
    """encoder: of FFmpeg. pixels: as encoded. source, white: the pixels made of floats, and their highest level.
    options: `{quality}` and `{narrow}` are filled in. help: what it is good for. tag: what players of MP4 files look
    for, empty for the encoder's own."""

    encoder: str
    pixels: str
    source: str
    white: int
    options: dict[str, str]
    help: str
    tag: str = ""


# A part that is encoded again has to be the same to the bit. With several threads, x264 gave another one about once in
# a thousand times on a busy machine, perhaps only for the reason in `x264.py`. So every encoder has one, and there is
# one for each piece of a part. Longer pieces keep one waiting; shorter ones make larger files (20 frames: about 4 %,
# because each begins with a whole picture).
_PIECE = 20
_AT_ONCE = 2 * 3840 * 2160  # pixels: an encoder keeps all frames of its piece, which at 4K are hundreds of MB
_X265 = "log-level=error:bframes=0:frame-threads=1:pools=none{narrow}"
# In a picture that is one block wide, x265 4.2 decides by memory that nobody has written: another file each time, and
# pixels that are far off. So pictures no wider than its blocks get smaller ones.
_BLOCK, _SMALLER = 64, ":ctu=16"
# What of 12 bits a level of 8 bits is stored as. FFmpeg's scaler to 8 bits rounds a 16th and is off by up to 2 of 4095
# before, as it goes through YUV: 5 over 16 times the level is read back beside any other colour. Who divides by 4095,
# or shifts and divides by 65535 as ComfyUI, is off by less than one level.
_TWELVE_BITS, _LEVELS = 4095, np.arange(256)
_FILMED = np.minimum(np.rint(_LEVELS * 4095 / 255), 16 * _LEVELS + 5)
_FILMED[255] = 4095
_FILMED = _FILMED.astype(np.uint16)
CODECS = {
    "h264": Codec("libx264", "yuv420p", "rgb24", 255, {"crf": "{quality}", "bf": "0", "threads": "1", **SAME_FILE},
                  "plays everywhere"),
    "h265 10-bit": Codec("libx265", "yuv420p10le", "rgb48le", 65535,
                         {"crf": "{quality}", "x265-params": _X265},
                         "has finer steps of colour", "hvc1"),
    "lossless": Codec("libx265", "gbrp12le", "gbrp12le", 4095,
                      {"preset": "ultrafast", "x265-params": f"{_X265}:lossless=1"},
                      "keeps 12 bits of every colour, for further work", "hvc1"),
}


@dataclass(frozen=True)
class Encoding:
    """codec: a key of CODECS. quality: CRF, lower is better; without effect on lossless."""

    codec: str
    quality: int

    @property
    def key(self) -> str:
        """Another one for files that cannot be joined."""
        return f"{self.codec} {'' if self.lossless else self.quality} {_PIECE} {av.__version__}"

    @property
    def lossless(self) -> bool:
        return "{quality}" not in str(CODECS[self.codec].options)


def check_encoder(codec: str) -> None:
    """Raise RuntimeError if FFmpeg was built without the encoder of a codec."""
    try:
        av.Codec(CODECS[codec].encoder, "w")
    except FFmpegError as error:
        raise RuntimeError(f"The codec {codec} needs {CODECS[codec].encoder}, which this build of PyAV does not have: "
                           "choose another codec, or install the package av from PyPI.") from error


class Frames(Protocol):
    """Frames in 0..1 that are made as they are encoded. size: (height, width). filmed: whether they show levels of 8
    bits, as they were filmed."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def filmed(self) -> bool: ...

    def __len__(self) -> int: ...

    def pictures(self, start: int, stop: int, tick: Tick) -> Iterator[Tensor]:
        """Frames start..stop, [H, W, 3] each. Several threads ask at once; tick may raise."""
        ...


@dataclass(frozen=True)
class Held:
    """Frames that are in memory, [n, H, W, 3]."""

    frames: Tensor
    filmed: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.frames.shape[1], self.frames.shape[2]

    def __len__(self) -> int:
        return len(self.frames)

    def pictures(self, start: int, stop: int, tick: Tick) -> Iterator[Tensor]:  # noqa: ARG002
        yield from self.frames[start:stop]


def write_part(path: Path, frames: Tensor | Frames, rate: Fraction, encoding: Encoding, tick: Tick) -> None:
    """Encode frames [n, H, W, 3] in 0..1 as an MP4 file, in pieces that are encoded side by side."""
    made = Held(frames) if isinstance(frames, Tensor) else frames
    height, width = made.size
    threads = max(1, min(os.cpu_count() or 1, _AT_ONCE // (height * width)))
    pieces = together(partial(_piece, made, rate=rate, encoding=encoding), range(0, len(made), _PIECE), threads, tick)
    join(pieces, path, rate, None, tick)


def _piece(frames: Frames, start: int, tick: Tick, *, rate: Fraction, encoding: Encoding) -> io.BytesIO:
    """The frames of a piece that begins at `start`, as an MP4 file in memory."""
    codec, file = CODECS[encoding.codec], io.BytesIO()
    height, width = frames.size
    narrow = _SMALLER if width <= _BLOCK else ""
    options = {name: value.format(quality=encoding.quality, narrow=narrow) for name, value in codec.options.items()}
    with av.open(file, "w", format="mp4") as output:
        stream = cast(av.VideoStream, output.add_stream(codec.encoder, rate=rate, options=options))
        stream.height, stream.width = height, width
        stream.pix_fmt = codec.pixels
        if codec.tag:
            stream.codec_context.codec_tag = codec.tag
        # players take small videos for BT.601 and large ones for BT.709, and guess the rest, unless the file says it
        tags, yuv = stream.codec_context, codec.pixels.startswith("yuv")
        tags.colorspace, tags.color_range = (_BT709, _LIMITED) if yuv else (_RGB, _FULL)
        tags.color_primaries, tags.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for number, picture in enumerate(frames.pictures(start, min(start + _PIECE, len(frames)), tick)):
            tick()
            pixels = _pixels(picture.cpu().float().numpy(), codec, filmed=frames.filmed)
            tick()  # a picture in 4K takes most of a second, and as long again in the encoder
            output.mux(stream.encode(_frame(pixels, codec, number, rate)))
        # x264 looks so far ahead that nearly all the work is here
        for packet in stream.codec_context.encode_lazy():
            tick()
            packet.stream = stream
            output.mux(packet)
    return file


def count_frames(path: Path) -> int:
    """Frames of a part, without decoding them; 0 for a file that is none."""
    try:
        with av.open(os.fspath(path)) as container:
            return sum(1 for _ in _packets(container, "video"))
    except (FFmpegError, IndexError):
        return 0


def first_picture(path: Path) -> Tensor:
    """The first frame of a part, uint8 [H, W, 3]."""
    with av.open(os.fspath(path)) as container:
        return torch.from_numpy(next(container.decode(video=0)).to_ndarray(format="rgb24"))


def join(parts: Sequence[Path | io.BytesIO], target: Path, rate: Fraction, sound: Path | None, tick: Tick,
         comment: str = "") -> int:
    """Parts one after the other, and as much of a sound file as they are long, in one MP4 file; returns the frames.

    comment: written into the file's metadata.
    """
    with _opened(parts[0]) as first, av.open(os.fspath(target), "w", format="mp4") as output:
        if comment:
            output.metadata["comment"] = comment
        template = first.streams.video[0]
        video = output.add_stream_from_template(template)
        video.codec_context.codec_tag = template.codec_context.codec_tag  # a template does not bring its own
        audio = _Sound(output, sound)
        number = 0
        for part in parts:
            with _opened(part) as container:
                base = cast(Fraction, container.streams.video[0].time_base)
                for packet in _packets(container, "video"):
                    tick()
                    audio.until(number / rate)
                    packet.pts = packet.dts = round(number / (rate * base))
                    packet.duration = round((number + 1) / (rate * base)) - packet.pts
                    packet.stream = video
                    output.mux(packet)
                    number += 1
        audio.until(number / rate)
        audio.close()
    return number


def _opened(part: Path | io.BytesIO) -> InputContainer:
    # of its own in memory, because the first part is read twice at once
    source = io.BytesIO(part.getvalue()) if isinstance(part, io.BytesIO) else os.fspath(part)
    return cast(InputContainer, av.open(source))


class _Sound:
    """Copies the packets of a sound file, up to a time."""

    def __init__(self, output: OutputContainer, path: Path | None) -> None:
        self.output, self.source = output, path and av.open(os.fspath(path))
        self.packets: Iterator[av.Packet] = iter(())
        self.waiting: av.Packet | None = None
        if self.source and self.source.streams.audio:  # there is none if nothing sounds
            self.stream = output.add_stream_from_template(self.source.streams.audio[0])
            self.packets = _packets(self.source, "audio")

    def until(self, seconds: Fraction) -> None:
        while True:
            packet = self.waiting or next(self.packets, None)
            self.waiting = packet
            if packet is None or cast(int, packet.pts) * packet.time_base >= seconds:
                return
            self.waiting = None
            packet.stream = self.stream
            self.output.mux(packet)

    def close(self) -> None:
        if self.source:
            self.source.close()


def _packets(container: InputContainer, kind: str) -> Iterator[av.Packet]:
    """The packets of the first stream of a kind, without the empty one at the end."""
    stream = getattr(container.streams, kind)[0]
    return (packet for packet in container.demux(stream) if packet.size)


def _pixels(picture: np.ndarray, codec: Codec, *, filmed: bool) -> Any:
    """float32 [H, W, 3] in 0..1 -> levels up to the codec's white. filmed: as of `Frames`."""
    levels = np.multiply(picture.clip(0, 1), np.float32(codec.white), order="C")
    pixels = np.rint(levels, out=levels).astype(np.uint8 if codec.white == 255 else np.uint16)
    if filmed and codec.white == _TWELVE_BITS:
        narrow = np.rint(picture.clip(0, 1) * np.float32(255))
        exact = picture == narrow / np.float32(255)
        np.copyto(pixels, _FILMED[narrow.astype(np.uint8)], where=exact)
    return pixels


def _frame(pixels: Any, codec: Codec, number: int, rate: Fraction) -> av.VideoFrame:
    """pixels: levels [H, W, 3] as `_pixels` gives them."""
    frame = av.VideoFrame.from_ndarray(pixels, format=codec.source)
    if codec.source != codec.pixels:
        frame = frame.reformat(format=codec.pixels, dst_colorspace=_BT709, dst_color_range=_LIMITED)
    frame.pts, frame.time_base = number, 1 / rate
    return frame
