"""Videos of every kind, made at test time: one scene in whatever a device or a program makes of it.

The scene: 20 frames, 25 a second, 96x64, orange with a blue upper left quarter; one white frame at 0.4 seconds, when a
click sounds.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

FRAMES, RATE, HEIGHT, WIDTH = 20, 25, 64, 96
FLASH = 10  # frame; also the time of the click
ORANGE, BLUE = (200, 60, 40), (40, 80, 200)
HZ = 48000
CLOCK = Fraction(1, 1000)
PQ = 16  # transfer characteristics of ITU-T H.273


def scene(height: int = HEIGHT, width: int = WIDTH, alpha: int = 255, frames: int = FRAMES) -> np.ndarray:
    """uint8 [n, h, w, 4]."""
    found = np.empty((frames, height, width, 4), np.uint8)
    found[:] = (*ORANGE, alpha)
    found[:, : height // 2, : width // 2] = (*BLUE, alpha)
    found[FLASH : FLASH + 1] = (255, 255, 255, alpha)
    return found


def hdr(transfer: int) -> np.ndarray:
    """The scene at SDR's brightness in HDR's levels, in BT.2020, uint16 [n, h, w, 3]; by BT.2100 and BT.2087."""
    linear = (scene()[..., :3] / 255.0) ** 2.4 * 100  # cd/m2
    linear = linear @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    if transfer == PQ:
        root = (linear / 10000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375
    else:
        luminance = linear @ (0.2627, 0.6780, 0.0593)
        light = (linear / 1000) * (luminance[..., None] / 1000).clip(1e-9) ** (1 / 1.2 - 1)
        signal = np.where(light <= 1 / 12, (3 * light) ** 0.5, 0.17883277 * np.log(
            (12 * light - 0.28466892).clip(1e-9)) + 0.55991073)
    return np.rint(signal.clip(0, 1) * 65535).astype(np.uint16)


def pq(light: float) -> float:
    return ((0.8359375 + 18.8515625 * (light / 10000) ** 0.1593017578125)
            / (1 + 18.6875 * (light / 10000) ** 0.1593017578125)) ** 78.84375


def tone_mapped(colour: tuple[int, int, int]) -> tuple[float, ...]:
    """SDR's colour as it is seen between HDR's highlights of 1000 cd/m2: BT.2390's curve, looked up light by light."""
    grid = np.geomspace(0.01, 100, 20001)  # where the curve leads to
    brightest = (max(colour) / 255) ** 2.4 * 100
    given, top = pq(brightest) / pq(1000), pq(100) / pq(1000)
    knee = 1.5 * top - 0.5
    t = (given - knee) / (1 - knee)
    curve = given if t < 0 else ((2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
                                 + (3 * t**2 - 2 * t**3) * top)
    light = grid[np.argmin(np.abs(pq(grid) - curve * pq(1000)))]
    return tuple(value * (light / brightest) ** (1 / 2.4) for value in colour)


@dataclass
class Sound:
    """A track: from `start` seconds on, `seconds` long, with a click at FLASH."""

    start: float = 0.0
    seconds: float = FRAMES / RATE
    codec: str = "aac"
    rate: int = HZ
    layout: str = "mono"
    volume: float = 0.8


@dataclass
class Made:
    """How the scene is written. stamps: milliseconds at which the frames are shown. colours: tags of H.273 (matrix,
    range, primaries, transfer)."""

    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"crf": "6"})
    rate: Any = RATE
    stamps: list[int] | None = None
    size: tuple[int, int] = (HEIGHT, WIDTH)
    alpha: int = 255
    colours: tuple[int, int, int, int] | None = None
    aspect: Fraction | None = None
    sounds: tuple[Sound, ...] = ()
    form: str | None = None
    container: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    pictures: np.ndarray | None = None
    cover: bool = False
    first: int = 0  # milliseconds in the file at which the first frame is shown

    def write(self, path: Path) -> Path:
        pictures = scene(*self.size, self.alpha) if self.pictures is None else self.pictures
        with av.open(str(path), "w", self.form, options=self.container) as output:
            if self.cover:
                self._add_cover(output)
            stream = self._stream(output)
            tracks = [output.add_stream(sound.codec, rate=sound.rate, layout=sound.layout) for sound in self.sounds]
            for number, picture in enumerate(pictures):
                frame = self._frame(picture)
                if self.stamps is not None or self.first:
                    stamps = self.stamps or [1000 * index // RATE for index in range(len(pictures))]
                    frame.pts, frame.time_base = stamps[number] + self.first, CLOCK
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
            for sound, track in zip(self.sounds, tracks, strict=True):
                self._write_sound(output, sound, track)
        return path

    def _stream(self, output: Any) -> Any:
        stream = output.add_stream(self.codec, rate=self.rate, options=self.options)
        stream.height, stream.width, stream.pix_fmt = *self.size, self.pixels
        if self.stamps is not None or self.first:
            stream.codec_context.time_base = CLOCK
        if self.aspect:
            stream.codec_context.sample_aspect_ratio = self.aspect
        if self.colours:
            tags = stream.codec_context
            tags.colorspace, tags.color_range, tags.color_primaries, tags.color_trc = self.colours
        stream.metadata.update(self.metadata)
        return stream

    def _frame(self, picture: np.ndarray) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[-1] == 4 else "rgb48le")
        if not self.colours:
            return frame
        return frame.reformat(format=self.pixels, dst_colorspace=self.colours[0], dst_color_range=self.colours[1])

    def _write_sound(self, output: Any, sound: Sound, track: Any) -> None:
        samples = np.zeros(round(sound.seconds * sound.rate), np.float32)
        start = round((self.first / 1000 + FLASH / RATE - sound.start) * sound.rate)
        length = sound.rate // 100
        click = sound.volume * np.sin(np.arange(length) * 2 * np.pi * 1000 / sound.rate)
        if 0 <= start < len(samples):
            samples[start : start + length] = click[: len(samples) - start]
        channels = av.AudioLayout(sound.layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.repeat(samples[None], channels, 0), "fltp", sound.layout)
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = round(sound.start * sound.rate)
        resampler = av.AudioResampler(track.codec_context.format.name, sound.layout, sound.rate)
        for resampled in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(track.encode(resampled))
        output.mux(track.encode())

    @staticmethod
    def _add_cover(output: Any) -> None:
        cover = output.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = 1024  # attached picture
        output.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        output.mux(cover.encode())


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The file with another display matrix (a, b, c, d) in `tkhd`."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16  # type, version, times and ids, layer and volume: then the matrix
    a, b, c, d = (value << 16 for value in matrix)
    for index, value in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        data[at + 4 * index : at + 4 * index + 4] = struct.pack(">i", value)
    path.write_bytes(data)
    return path


def remuxed(source: Path, target: Path, change: Any = lambda number, packet: None, **options: str) -> Path:
    """The video packets of a file in another file, each changed or, where `change` gives False, left out."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            if change(number, packet) is not False:
                packet.stream = stream
                output.mux(packet)
    return target


def overwritten(path: Path, frame: int) -> Path:
    """The file with a packet of its video overwritten."""
    data = bytearray(path.read_bytes())
    with av.open(io.BytesIO(bytes(data))) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][frame]
    data[packet.pos : packet.pos + packet.size] = b"Z" * packet.size
    path.write_bytes(data)
    return path
