"""The driving video's sound as an AAC stream that starts with the first picture.

It is always encoded anew: only then can it be cut at any sample, and be of any codec. Sound from a file is read a
block at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from .source import enter

_RATE = 48000  # for sources whose own rate AAC does not have
_BITS = 192_000
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_BLOCK = 1 << 16  # samples
_GAP = 0.05  # seconds; less is what containers round time stamps by
_SEEK_EARLY = 1.0  # seconds; the packet before the first picture may reach past it


class Form(NamedTuple):
    """Of a track: samples a second, and the layout of its channels."""

    rate: int
    layout: str


@dataclass
class Track:
    """Blocks float32 [channels, n]: the sound from the first picture on, at most as long as was asked for."""

    rate: int
    layout: str
    blocks: Iterator[np.ndarray]


def track_of_file(container: InputContainer, first_picture: float, seconds: Fraction, form: Form | None = None
                  ) -> Track | None:
    """The first audio stream of an open file that can be decoded; None if there is none. first_picture: its time in
    the file, seconds. form: of the track, None for the stream's own.

    Reading its blocks raises RuntimeError, with the time, where the sound is damaged.
    """
    stream = _heard(container)
    if stream is None:
        return None
    if first_picture > _SEEK_EARLY:
        enter(container, stream, int((first_picture - _SEEK_EARLY) / (stream.time_base or 1)))
    rate, layout = form or _form(stream.rate, stream.channels)
    blocks = _aligned(_decoded(container, stream), av.AudioResampler("fltp", layout, rate), first_picture)
    return Track(rate, layout, _cut(blocks, round(seconds * rate)))


def doubts_about_sound(container: InputContainer, name: str) -> list[str]:
    """What has to be said of an open file's sound, in sentences. name: what messages call the file."""
    tracks, heard = container.streams.audio, _heard(container)
    if not tracks or heard is tracks[0]:
        return []
    instead = "is without sound" if heard is None else f"has sound track {tracks.index(heard) + 1}"
    return [f"The sound of the {name} is in a format that cannot be decoded here, and the result {instead}: export the "
            "video with AAC sound."]


def track_of_waveform(audio: dict[str, Any], seconds: Fraction, form: Form | None = None) -> Track:
    """ComfyUI's AUDIO, which starts with the first picture. form: as for `track_of_file`."""
    samples, given = audio["waveform"][0].float().cpu().numpy(), int(audio["sample_rate"])
    if len(samples) not in _LAYOUTS:
        samples = samples.mean(0, keepdims=True)
    rate, layout = form or _form(given, len(samples))
    frames = _frames_of(samples[:, : round(seconds * given) + given], given)
    return Track(rate, layout, _cut(_aligned(frames, av.AudioResampler("fltp", layout, rate), 0.0),
                                    round(seconds * rate)))


def feed(found: hashlib.blake2b, audio: dict[str, Any]) -> None:
    """Add ComfyUI's AUDIO to a digest."""
    waveform = audio["waveform"].cpu().numpy()
    found.update(repr((int(audio["sample_rate"]), waveform.shape)).encode())
    found.update(np.ascontiguousarray(waveform))


class SoundStream:
    """An AAC stream of an open output file, written piece by piece so that the file stays interleaved."""

    def __init__(self, output: OutputContainer, track: Track) -> None:
        self.output, self.track = output, track
        self.stream = output.add_stream("aac", rate=track.rate, layout=track.layout)
        self.stream.bit_rate = _BITS
        self.position = 0  # samples written

    def advance(self, seconds: Fraction) -> None:
        """Write what sounds before `seconds`."""
        while self.position < seconds * self.track.rate:
            block = next(self.track.blocks, None)
            if block is None:
                return
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", self.track.layout)
            frame.sample_rate, frame.pts, frame.time_base = self.track.rate, self.position, Fraction(1, self.track.rate)
            self.output.mux(self.stream.encode(frame))
            self.position += block.shape[1]

    def finish(self) -> None:
        self.output.mux(self.stream.encode())


def write_sound(path: str | os.PathLike, track: Track, seconds: Fraction, tick) -> None:
    """A sound file (AAC in MP4). tick: called for every second of sound."""
    with av.open(os.fspath(path), "w", format="mp4") as output:
        stream = SoundStream(output, track)
        output.start_encoding()  # a file even of a track without any sound
        for second in range(int(seconds) + 1):
            tick()
            stream.advance(min(Fraction(second + 1), seconds))
        stream.finish()


def joined_tracks(tracks: Iterable[tuple[Track | None, Fraction]], form: Form) -> Track:
    """Tracks of one form, or silence, each as many seconds long, one after the other."""
    return Track(*form, _one_after_the_other(tracks, form))


def _one_after_the_other(tracks: Iterable[tuple[Track | None, Fraction]], form: Form) -> Iterator[np.ndarray]:
    position, end = 0, Fraction(0)
    channels = av.AudioLayout(form.layout).nb_channels
    for track, seconds in tracks:
        end += seconds
        for block in _cut(track.blocks, round(end * form.rate) - position) if track else ():
            position += block.shape[1]
            yield block
        while (silent := min(_BLOCK, round(end * form.rate) - position)) > 0:
            position += silent
            yield np.zeros((channels, silent), np.float32)


def _form(rate: int, channels: int) -> Form:
    """Of the AAC stream. Two channels at most: surround comes in layouts that AAC, or players,
    may not know."""
    known = rate in (av.Codec("aac", "w").audio_rates or ())
    return Form(rate if known else _RATE, "mono" if channels == 1 else "stereo")


def _heard(container: InputContainer) -> av.AudioStream | None:
    """The first audio stream that FFmpeg can decode."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _decoded(container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    time = 0.0
    try:
        for frame in container.decode(stream):
            yield frame
            time = frame.time
    except FFmpegError as error:
        raise RuntimeError(f"The sound of {container.name} cannot be decoded after {time:.2f} seconds "
                           f"({error.strerror}): export the video again, or without sound.") from error


def _frames_of(samples: np.ndarray, rate: int) -> Iterator[av.AudioFrame]:
    for start in range(0, samples.shape[1], _BLOCK):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + _BLOCK]), "fltp",
                                           _LAYOUTS[len(samples)])
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def _aligned(frames: Iterator[av.AudioFrame], resampler: av.AudioResampler, first_picture: float
             ) -> Iterator[np.ndarray]:
    """Blocks that start at the first picture: silence before a later sound and where sound is missing, and a part of an
    earlier one left out."""
    missing: int | None = None  # samples of silence to insert; negative: sound to drop
    end = 0.0
    for frame in frames:
        start = end if frame.time is None else frame.time
        if missing is None:
            missing = round((start - first_picture) * resampler.rate)
        elif start - end > _GAP:
            missing += round((start - end) * resampler.rate)
        end = start + frame.samples / frame.sample_rate
        for resampled in resampler.resample(frame):
            block = resampled.to_ndarray()
            if missing > 0:
                block = np.pad(block, ((0, 0), (missing, 0)))
                missing = 0
            dropped = min(-missing, block.shape[1])
            missing += dropped
            yield block[:, dropped:]
    for resampled in resampler.resample(None):
        yield resampled.to_ndarray()


def _cut(blocks: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """At most `samples`, without empty blocks."""
    for block in blocks:
        block = block[:, :samples]
        samples -= block.shape[1]
        if block.shape[1]:
            yield block
        if not samples:
            return
