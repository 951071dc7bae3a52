"""Videos as the world makes them: each kind gives the right frames, or one sentence.

The scene is that of `video_kinds.py`. A row says what the file is, how it is made, and what is right where it differs
from the plain case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.bitstream import BitStreamFilterContext
from PIL import Image
from video_kinds import (
    BLUE,
    FLASH,
    FRAMES,
    HEIGHT,
    ORANGE,
    RATE,
    WIDTH,
    Made,
    Sound,
    hdr,
    overwritten,
    remuxed,
    scene,
    tone_mapped,
    turned,
)

from scail_model.media.source import Window
from scail_model.media.video_file import FileClip, open_clip

SECONDS = FRAMES / RATE
X265 = {"x265-params": "log-level=error:qp=4", "preset": "ultrafast"}
HALF = tuple(value * 128 / 255 for value in ORANGE)


@dataclass
class Row:
    """name: of the file. made: writes it. warning: part of the sentence that is due, None for none. click: seconds at
    which it is heard, None for a video without sound."""

    name: str
    made: Made | Callable[[Path], object]
    frames: int = FRAMES
    rate: Fraction = Fraction(RATE)
    size: tuple[int, int] = (HEIGHT, WIDTH)
    colour: tuple[float, float, float] = ORANGE
    corner: tuple[float, float, float] = BLUE
    flash: float | None = FLASH / RATE
    click: float | None = None
    warning: str | None = None
    tolerance: float = 5.0
    near: float = field(default=1e-3)  # how near the rate has to be


def made(**how) -> Made:
    return Made(**how)


def animation(path: Path, alpha: int = 255, hole: bool = False, last: int = 1000 // RATE, **how) -> None:
    """An animated picture. hole: whether the lower half is transparent; last: milliseconds of the last frame."""
    pictures = []
    for number, picture in enumerate(scene(alpha=alpha)):
        picture[0, number, :3] = 9  # equal pictures would be stored as one
        if hole:
            picture[HEIGHT // 2 :, :, 3] = 0
        pictures.append(Image.fromarray(picture, "RGBA"))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], disposal=2 if hole else 0,
                     duration=[1000 // RATE] * (FRAMES - 1) + [last], **how)


def two_videos(path: Path) -> None:
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("ffv1", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "bgr0"
        for picture in scene():
            for stream, shown in zip(streams, (picture, 255 - picture), strict=True):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown[..., :3]), "rgb24")))
        for stream in streams:
            output.mux(stream.encode())


def raw_stream(path: Path) -> None:
    made(form="h264").write(path)


def starts_early(path: Path) -> None:
    """Cut without encoding: an edit list hides what lies before the first frame that is shown."""
    source = made(options={"bf": "2", "crf": "6", "g": "5"}).write(path.with_name("whole.mp4"))

    def earlier(number, packet):
        packet.pts -= 5 * 512
        packet.dts -= 5 * 512

    remuxed(source, path, earlier, avoid_negative_ts="disabled")


def before_zero(path: Path) -> None:
    """A recording whose time stamps begin at -0.2 seconds; Matroska has none below 0, and no place to enter then."""
    source = made(options={"bf": "0", "crf": "6"}, pictures=scene(frames=90)).write(path.with_name("whole.mkv"))

    def earlier(number, packet):
        packet.pts -= 200
        packet.dts -= 200

    remuxed(source, path, earlier, avoid_negative_ts="disabled")


def duplicated_stamps(path: Path) -> None:
    source = made(options={"bf": "0", "crf": "6"}).write(path.with_name("whole.mkv"))

    def paired(number, packet):
        packet.pts = packet.dts = number // 2 * 80

    remuxed(source, path, paired)


def recorded_twice(path: Path) -> None:
    """Two recordings one after the other, as recorders do that start anew: time stamps begin again."""
    part = made(options={"crf": "6", "g": "5"}).write(path.with_name("part.ts")).read_bytes()
    path.write_bytes(part + part)


def animated_avif(path: Path) -> None:
    """A picture, and the animation as a video of its own."""
    made(codec="libsvtav1", options={"crf": "5", "preset": "10"}, form="avif").write(path)


def broken_download(path: Path) -> None:
    """What has come of a file whose head says how long it is: 12 frames, and no error where it ends."""
    whole = made(codec="ffv1", pixels="bgr0", options={}).write(path.with_name("whole.mkv"))
    with av.open(str(whole)) as container:
        end = [packet.pos for packet in container.demux(video=0) if packet.size][12]
    path.write_bytes(whole.read_bytes()[:end])


def undecodable_first_track(path: Path) -> None:
    """As an iPhone's spatial sound, which FFmpeg cannot decode, before the stereo track."""
    made(sounds=(Sound(), Sound())).write(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mp4a", b"apac", 1).replace(b"esds", b"free", 1))


def wide(primaries: int) -> Made:
    """Colours of BT.709 in the wider gamut's levels."""
    to_wide = {9: [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]],
               12: [[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]]}[primaries]
    linear = (scene()[..., :3] / 255.0) ** 2.4 @ np.array(to_wide).T
    pictures = np.rint(linear.clip(0, 1) ** (1 / 2.4) * 65535).astype(np.uint16)
    return made(codec="libx265", pixels="yuv420p10le", options=X265, pictures=pictures,
                colours=(9 if primaries == 9 else 1, 1, primaries, 14 if primaries == 9 else 1))


def stamps(*gaps: int) -> list[int]:
    return [0, *np.cumsum(gaps).tolist()]


ROWS = [
    # codecs and pixel formats
    Row("phone.mp4", made(), ),
    Row("studio 4:4:4.mp4", made(pixels="yuv444p")),
    Row("camera 4:2:2 10 bit.mp4", made(pixels="yuv422p10le")),
    Row("HEVC 10 bit.mp4", made(codec="libx265", pixels="yuv420p10le", options=X265)),
    Row("HEVC 4:4:4 12 bit.mp4", made(codec="libx265", pixels="yuv444p12le", options=X265)),
    Row("AV1 10 bit.mp4", made(codec="libsvtav1", pixels="yuv420p10le", options={"crf": "5"})),
    Row("VP8.webm", made(codec="libvpx", options={"crf": "4", "b": "4M"})),
    Row("VP9.webm", made(codec="libvpx-vp9", options={"crf": "4", "b": "0"})),
    Row("ProRes 422.mov", made(codec="prores_ks", pixels="yuv422p10le", options={})),
    Row("DNxHR.mov", made(codec="dnxhd", pixels="yuv422p", options={"profile": "dnxhr_hq"}, size=(240, 320),
                            colours=(1, 1, 1, 1)),
        size=(240, 320)),
    Row("motion JPEG.avi", made(codec="mjpeg", pixels="yuvj422p", options={"q": "2"})),
    Row("DivX.avi", made(codec="mpeg4", options={"q": "2"})),
    Row("WMV.wmv", made(codec="wmv2", options={"q": "2"}), tolerance=8),
    Row("capture card, UYVY.avi", made(codec="rawvideo", pixels="uyvy422", options={})),
    Row("DV's 4:1:1.avi", made(codec="rawvideo", pixels="yuv411p", options={})),
    Row("lossless RGB.mkv", made(codec="ffv1", pixels="bgr0", options={}), tolerance=1),
    Row("12 bit RGB.mkv", made(codec="ffv1", pixels="gbrp12le", options={}), tolerance=1),
    Row("grey.mkv", made(codec="ffv1", pixels="gray", options={}), colour=(99.6,) * 3, corner=(81.7,) * 3),
    Row("odd size.webm", made(codec="libvpx-vp9", options={"crf": "4", "b": "0"}, size=(33, 51)), size=(33, 51)),
    # containers
    Row("transport stream.ts", made()),
    Row("fragmented.mp4", made(container={"movflags": "frag_keyframe+empty_moov"})),
    Row("flash.flv", made()),
    Row("DVD, without a list of places to enter.vob",
        made(codec="mpeg2video", options={"q": "2"}, pictures=scene(frames=90), sounds=(Sound(0.0, 3.6, "ac3"),)),
        frames=90, click=0.4, tolerance=8),
    Row("a stream without a container.h264", raw_stream),
    Row("name with spaces, ü and 日本.mp4", made()),
    # animations
    Row("animation.gif", animation, tolerance=12),
    Row("animation.webp", lambda path: animation(path, lossless=True), tolerance=0),
    Row("animation.png", animation, tolerance=0),
    Row("animation.avif", animated_avif),
    # transparency, over black
    Row("ProRes 4444.mov", made(codec="prores_ks", pixels="yuva444p10le", options={}, alpha=128), colour=HALF,
        corner=tuple(value / 2 for value in BLUE), flash=None, warning="transparency, which is shown over black"),
    Row("ProRes 4444, all opaque.mov", made(codec="prores_ks", pixels="yuva444p10le", options={})),
    Row("VP9 with alpha.webm", made(codec="libvpx-vp9", pixels="yuva420p", options={"crf": "4", "b": "0"}, alpha=128),
        colour=HALF, corner=tuple(value / 2 for value in BLUE), flash=None, warning="over black"),
    Row("QuickTime Animation.mov", made(codec="qtrle", pixels="argb", options={}, alpha=128), colour=HALF,
        corner=tuple(value / 2 for value in BLUE), flash=None, warning="over black", tolerance=1),
    Row("see-through animation.webp", lambda path: animation(path, alpha=128, lossless=True), colour=HALF,
        corner=tuple(value / 2 for value in BLUE), flash=None, warning="over black", tolerance=1),
    Row("see-through.gif", lambda path: animation(path, hole=True), colour=(0, 0, 0), flash=None, warning="over black",
        tolerance=12),
    # colours
    Row("full range.mp4", made(colours=(1, 2, 1, 1))),
    Row("BT.601.mp4", made(colours=(6, 1, 6, 6))),
    Row("BT.709.mp4", made(colours=(1, 1, 1, 1))),
    Row("BT.2020 without HDR.mp4", wide(9), warning="colours of BT.2020, which are converted to BT.709"),
    Row("Display P3.mp4", wide(12), warning="colours of Display P3"),
    # HDR: dark colours keep theirs, bright ones make room for what is brighter
    Row("HLG.mp4", made(codec="libx265", pixels="yuv420p10le", options=X265, pictures=hdr(18), colours=(9, 1, 9, 18)),
        colour=tone_mapped(ORANGE), corner=tone_mapped(BLUE), warning="HDR (HLG) and is tone-mapped to SDR (BT.709)"),
    Row("PQ.mp4", made(codec="libx265", pixels="yuv420p10le", options=X265, pictures=hdr(16), colours=(9, 1, 9, 16)),
        colour=tone_mapped(ORANGE), corner=tone_mapped(BLUE), warning="HDR (PQ) and is tone-mapped to SDR (BT.709)"),
    # geometry
    Row("upright phone.mp4", lambda path: turned(made().write(path), (0, 1, -1, 0)), size=(WIDTH, HEIGHT),
        corner=ORANGE),
    Row("upside down.mp4", lambda path: turned(made().write(path), (-1, 0, 0, -1)), colour=BLUE, corner=ORANGE),
    Row("selfie, mirrored.mp4", lambda path: turned(made().write(path), (-1, 0, 0, 1)), corner=ORANGE),
    Row("wide pixels.mp4", made(aspect=Fraction(2)), size=(HEIGHT, 2 * WIDTH), warning="has pixels of 2:1"),
    Row("an aspect ratio that cannot be.mkv", made(aspect=Fraction(5000))),
    Row("interlaced.mpg", made(codec="mpeg2video", options={"flags": "+ildct+ilme", "q": "2"}),
        warning="is interlaced, and one field of each frame is used"),
    # streams
    Row("two videos.mkv", two_videos, tolerance=1, warning="has 2 video streams, of which the first is read"),
    # time
    Row("browser, no rate, jitter.webm",
        made(codec="libvpx", options={"crf": "4", "b": "4M"}, stamps=stamps(*[40, 46, 34, 41] * 4, 39, 40, 40))),
    Row("a frame dropped.mkv", made(codec="ffv1", pixels="bgr0", options={}, stamps=stamps(*[40] * 5, 80, *[40] * 13)),
        frames=21, flash=0.44, warning="its 20 frames become 21 (0.84 seconds)"),
    Row("a pause of two seconds.mkv",
        made(codec="ffv1", pixels="bgr0", options={}, stamps=stamps(*[40] * 5, 2040, *[40] * 13)), frames=70, flash=2.4,
        warning="at its most usual rate, 25 per second, its 20 frames become 70 (2.80 seconds)"),
    Row("the last frame is held.gif", lambda path: animation(path, last=1040), frames=45, tolerance=12,
        warning="its 20 frames become 45 (1.80 seconds)"),
    Row("two frames to a time stamp.mkv", duplicated_stamps),
    Row("begins before zero.mkv", before_zero, frames=85, flash=0.2, warning="its 90 frames become 85 (3.40 seconds)"),
    Row("two recordings in one file.ts", recorded_twice, frames=2 * FRAMES),
    Row("cut without encoding.mp4", starts_early, frames=15, flash=0.2),
    Row("a broken download.mkv", broken_download, frames=12, tolerance=1,
        warning="is 0.32 seconds shorter than its file says: copy or export it again if its end is missing"),
    # sound: the click is heard with the flash
    Row("sound.mp4", made(sounds=(Sound(),)), click=0.4),
    Row("sound that starts later.mp4", made(sounds=(Sound(0.2, 0.6),)), click=0.4),
    Row("sound that starts earlier.mkv", made(first=400, sounds=(Sound(0.0, 1.2),)), click=0.4),
    Row("sound that is longer.mp4", made(sounds=(Sound(0.0, 3.0),)), click=0.4),
    Row("sound that is shorter.mp4", made(sounds=(Sound(0.0, 0.5),)), click=0.4),
    Row("starts at 1.4 seconds, as recorders do.ts", made(first=0, sounds=(Sound(),)), click=0.4),
    Row("5.1 sound.mp4", made(sounds=(Sound(layout="5.1"),)), click=0.4),
    Row("telephone sound.avi", made(codec="mpeg4", options={"q": "2"}, sounds=(Sound(codec="pcm_s16le", rate=8000),)),
        click=0.4),
    Row("Opus.webm", made(codec="libvpx", options={"crf": "4", "b": "4M"}, sounds=(Sound(codec="libopus"),)),
        click=0.4),
    Row("two languages.mp4", made(sounds=(Sound(), Sound(volume=0.0))), click=0.4),
    Row("spatial sound first.mp4", undecodable_first_track, click=0.4, warning="the result has sound track 2"),
    Row("variable rate with sound.mkv",
        made(stamps=stamps(*[40] * 10, *[120] * 9), sounds=(Sound(0.0, 1.6),)), frames=38, click=0.4,
        warning="its 20 frames become 38"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_kind_gives_the_right_frames(tmp_path, row):
    path = tmp_path / row.name
    row.made.write(path) if isinstance(row.made, Made) else row.made(path)
    clip = open_clip(path)
    assert (len(clip), clip.size) == (row.frames, row.size)
    assert float(clip.rate) == pytest.approx(float(row.rate), rel=row.near)
    frames = clip.read(0, len(clip)).double()
    check_colour(frames[0, row.size[0] * 5 // 8 : -4, row.size[1] * 5 // 8 : -4], row.colour, row.tolerance)
    check_colour(frames[0, 4 : row.size[0] * 3 // 8, 4 : row.size[1] * 3 // 8], row.corner, row.tolerance)
    for start in (len(clip) - 3, 2, len(clip) // 2):  # in any order
        assert torch.equal(clip.read(start, start + 2).double(), frames[start : start + 2])
    if row.flash is not None:
        white = (frames.flatten(1).quantile(0.05, dim=1) > 200).nonzero()[:, 0] / float(clip.rate)
        assert white[0] == pytest.approx(row.flash, abs=1 / RATE)
    check_sound(clip, row.click)
    assert len(clip.warnings) == (row.warning is not None), clip.warnings
    assert row.warning is None or row.warning in clip.warnings[0]


@pytest.mark.parametrize(("name", "how"), [
    ("recording with one place to enter.ts", {"options": {"crf": "6", "bf": "0"}}),
    ("DVD.vob", {"codec": "mpeg2video", "options": {"q": "2"}, "sounds": (Sound(0.0, 2.4, "ac3"),)}),
])
def test_a_part_of_a_file_that_is_hard_to_enter(tmp_path, name, how):
    """What Video Slice gives of it: from one second on; every frame is as bright as its number says."""
    pictures = scene(frames=60)
    pictures[..., :3] = 40 + 3 * np.arange(60)[:, None, None, None]
    path = made(pictures=pictures, **how).write(tmp_path / name)
    begin = FileClip(path).first_time
    clip = FileClip(path, Window(begin + 1.0, 1.2))
    numbers = (clip.read(0, 30)[:, 32, 48, 0].double() - 40) / 3
    assert len(clip) == 30
    assert numbers.tolist() == pytest.approx(list(range(25, 55)), abs=0.8)
    for number in (29, 3, 20):  # by itself
        assert torch.equal(clip.read(number, number + 1), clip.read(0, 30)[number : number + 1])


def test_frames_of_a_dvd_in_any_order(tmp_path):
    """Where FFmpeg enters its stream, time stamps can be those of the next frame."""
    pictures = scene(frames=90)
    pictures[..., :3] = 40 + 2 * np.arange(90)[:, None, None, None]
    clip = FileClip(made(codec="mpeg2video", options={"q": "2"}, pictures=pictures).write(tmp_path / "DVD.vob"))
    frames = clip.read(0, 90)
    assert all(torch.equal(clip.read(number, number + 1), frames[number : number + 1]) for number in range(49, 39, -1))


def check_colour(pixels: torch.Tensor, expected: tuple[float, ...], tolerance: float) -> None:
    assert pixels.mean(dim=(0, 1)).tolist() == pytest.approx(expected, abs=tolerance + 0.01)


def check_sound(clip, click: float | None) -> None:
    seconds = len(clip) / clip.rate
    with clip.sound(seconds) as track:
        assert (track is None) == (click is None)
        if track is not None:
            samples = np.abs(np.concatenate(list(track.blocks), axis=1)).max(0)
            assert samples.shape[0] <= round(seconds * track.rate)
            assert np.argmax(samples > 0.2) / track.rate == pytest.approx(click, abs=0.02)


# Files that cannot be read, in one sentence

def damaged(path: Path) -> None:
    overwritten(made(options={"bf": "0"}).write(path), 7)


def no_frame_decodes(path: Path) -> None:
    overwritten(made(options={"bf": "0"}).write(path), 0)


def half_of_it(path: Path) -> None:
    whole = made(options={"bf": "0", "qp": "1"}, container={"movflags": "faststart"}).write(path.with_name("whole.mp4"))
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])


def damaged_stamps(path: Path) -> None:
    source = made(options={"bf": "0"}).write(path.with_name("whole.mkv"))

    def later(number, packet):
        if number > 9:
            packet.pts += 10**12
            packet.dts += 10**12

    remuxed(source, path, later)


def strange_colours(path: Path) -> None:
    """The matrix in the bitstream becomes one that FFmpeg does not convert: chromaticity-derived constant luminance."""
    source = made(options={"crf": "6"}).write(path.with_name("whole.mp4"))
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        change = BitStreamFilterContext("h264_metadata=matrix_coefficients=13", given.streams.video[0], stream)
        for packet in given.demux(video=0):
            for changed in change.filter(packet if packet.size else None):
                changed.stream = stream
                output.mux(changed)


def being_written(path: Path) -> None:
    data = made().write(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])


def grows(path: Path) -> None:
    parts = [made(size=size, form="mpegts").write(path.with_name(f"{size[0]}.ts")) for size in ((64, 96), (96, 64))]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as output:
        made()._write_sound(output, Sound(), output.add_stream("aac", rate=48000, layout="mono"))


def record_sleeve(path: Path) -> None:
    """A song with a cover picture."""
    with av.open(str(path), "w", "mp4") as output:
        track = output.add_stream("aac", rate=48000, layout="mono")
        made()._add_cover(output)
        made()._write_sound(output, Sound(), track)


def unknown_codec(path: Path) -> None:
    data = made().write(path).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz1").replace(b"avcC", b"free"))


SENTENCES = [
    ("empty.mp4", lambda path: path.touch(), r"cannot be opened as a video \(it is empty\): export it again as .mp4"),
    ("text.mp4", lambda path: path.write_text("hello"), r"cannot be opened as a video \(Invalid data"),
    ("missing.mp4", lambda path: None, r"cannot be opened as a video \(No such file"),
    ("folder.mp4", lambda path: path.mkdir(), r"cannot be opened as a video \(Is a directory\)"),
    ("still being written.mp4", being_written, r"cannot be opened as a video \(Invalid data.*\): export it again as "
                                               r".mp4, or wait until it is written"),
    ("only sound.m4a", sound_only, "has no video stream: give a video file"),
    ("a song with a cover.m4a", record_sleeve, "has a cover picture and no video: give a video file"),
    ("an unknown codec.mp4", unknown_codec, "is in a format that cannot be decoded here: export it again as .mp4"),
    ("a damaged frame.mp4", damaged, r"cannot be decoded at frame 7 \(.*, after 0.28 seconds\): export it "
                                         "again, or cut it before that frame"),
    ("damaged at once.mp4", no_frame_decodes, r"cannot be decoded at frame 0 \(.*, after 0.00 seconds\)"),
    ("damaged time stamps.mkv", damaged_stamps, "would be 277,777.8 hours long by its time stamps, with 20 frames: "
                                                "export it again, because they are damaged"),
    ("strange colours.mp4", strange_colours, r"has colours that cannot be converted \(.*\): export it in BT.709"),
    ("a broken download.mp4", half_of_it, r"cannot be decoded at frame \d+ \(.*, after 0.\d\d seconds\)"),
    ("turned while filming.ts", grows, r"cannot be decoded at frame 20 \(its size changes from 96x64 to "
                                       r"64x96 there, after 0.80 seconds\)"),
]


@pytest.mark.parametrize(("name", "make", "sentence"), SENTENCES, ids=[row[0] for row in SENTENCES])
def test_a_kind_that_cannot_be_read_gives_one_sentence(tmp_path, name, make, sentence):
    make(tmp_path / name)
    with pytest.raises(RuntimeError, match=rf"^The video .*{name} {sentence}"):
        open_clip(tmp_path / name)


def test_a_very_long_name(tmp_path):
    with pytest.raises(RuntimeError, match=r"cannot be opened as a video \(File name too long\)"):
        open_clip(tmp_path / ("x" * 300 + ".mp4"))


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(scene()[0], "RGBA").convert("RGB").save(tmp_path / "a.png")
    clip = open_clip(tmp_path / "a.png")
    assert len(clip) == 1
    assert torch.equal(clip.read(0, 1)[0], torch.from_numpy(scene()[0, ..., :3].copy()))
