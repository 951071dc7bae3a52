"""Clips: any stretch of a file is what decoding everything gives, damage is named, and memory is rounded alike."""

import gc
import hashlib
import io
import random
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from video_kinds import remuxed, turned

from scail_model.media.clips import TensorClip
from scail_model.media.frame_reader import FrameReader
from scail_model.media.frames import levels
from scail_model.media.source import Window, open_video
from scail_model.media.video_file import FileClip, open_clip

FRAMES, HEIGHT, WIDTH = 19, 32, 64
B_FRAMES = {"bf": "3", "g": "8", "crf": "20", "x264-params": "b-adapt=0"}
FAST_START = {"movflags": "faststart"}  # the index before the pictures, so that a file that is cut short still opens


def pictures(frames=FRAMES, height=HEIGHT, width=WIDTH):
    """Smooth pictures that all differ, uint8 [n, h, w, 3]."""
    small = np.random.default_rng(0).integers(0, 256, (frames, 3, 6, 8), dtype=np.uint8)
    big = torch.nn.functional.interpolate(torch.from_numpy(small).float(), (height, width), mode="bilinear")
    return big.movedim(1, -1).byte().numpy()


def write(target, frames=None, rate=Fraction(25), codec="libx264", pixels="yuv420p", options=B_FRAMES, form=None,
          container_options=None, aspect=None, tags=None):
    """A video file of the pictures; target: a path or a BytesIO."""
    frames = pictures() if frames is None else frames
    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", form,
                 options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if tags:
            stream.codec_context.color_primaries, stream.codec_context.color_trc = tags
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return target


def decoded(source):
    """All frames through float planes, as ComfyUI has them, with time stamps; from the beginning, in one go."""
    frames, stamps = [], []
    with av.open(source if isinstance(source, io.BytesIO) else str(source)) as container:
        for frame in container.decode(video=0):
            planes = frame.to_ndarray(format="gbrpf32le").astype(np.float64)
            frames.append(np.rint(planes * 255).clip(0, 255).astype(np.uint8))
            stamps.append(frame.pts and float(frame.pts * frame.time_base))
    return torch.from_numpy(np.stack(frames)), stamps


def check_stretches(clip, expected):
    """Stretches in random order, forwards and backwards, single frames, and all of it."""
    assert len(clip) == len(expected)
    assert clip.size == tuple(expected.shape[1:3])
    assert torch.equal(clip.read(0, len(clip)), expected)
    draw = random.Random(1)
    stretches = [tuple(sorted(draw.sample(range(len(expected) + 1), 2))) for _ in range(6)]
    for start, stop in stretches:
        found = clip.read(start, stop)
        assert found.dtype == torch.uint8
        assert torch.equal(found, expected[start:stop]), (start, stop)
    for index in range(len(expected) - 1, -1, -3):
        assert torch.equal(clip.read(index, index + 1)[0], expected[index])
    assert torch.equal(torch.stack(list(clip)), expected)
    assert torch.equal(clip.at([5, 2, 2, 8]), expected[[5, 2, 2, 8]])


# Files

@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(25, 2)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_any_stretch_is_what_decoding_everything_gives(tmp_path, ending, rate):
    path = write(tmp_path / f"a.{ending}", rate=rate)
    clip = FileClip(path)
    assert float(clip.rate) == pytest.approx(float(rate), rel=1e-4)
    assert clip.rate == rate or ending == "mkv"  # Matroska keeps nanoseconds
    check_stretches(clip, decoded(path)[0])


@pytest.mark.parametrize(("ending", "options"), [
    ("ts", B_FRAMES), ("avi", {"bf": "0", "g": "8"}),
    ("h264", B_FRAMES),  # no time stamps at all
    ("mp4", {**B_FRAMES, "x264-params": "open-gop=1:b-adapt=0"})])
def test_stretches_where_seeking_is_hard(tmp_path, ending, options):
    path = write(tmp_path / f"a.{ending}", options=options)
    check_stretches(FileClip(path), decoded(path)[0])


def test_frames_with_one_time_stamp_are_told_apart(tmp_path):
    source = write(tmp_path / "a.mkv", options={"bf": "0", "g": "8"})

    def paired(number, packet):
        packet.pts = packet.dts = number // 2 * 40

    path = remuxed(source, tmp_path / "paired.mkv", paired)
    frames, stamps = decoded(path)
    assert len(set(stamps)) < FRAMES
    check_stretches(FileClip(path), frames)


def test_a_cut_without_encoding_may_begin_in_mid_group(tmp_path):
    """An open group of pictures, of which an edit list shows the end: a decoder that enters at the next one leaves out
    the frames before it."""
    source = write(tmp_path / "a.mp4", pictures(40), codec="libx265", options={
        "x265-params": "log-level=error:keyint=12:min-keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0"})
    with av.open(str(source)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
        frame = round(1 / (25 * container.streams.video[0].time_base))

    def earlier(number, packet):
        packet.pts -= keys[1] - 3 * frame
        packet.dts -= keys[1] - 3 * frame

    path = remuxed(source, tmp_path / "cut.mp4", earlier, avoid_negative_ts="disabled")
    frames, stamps = decoded(path)
    assert 28 <= len(frames) < 40
    assert stamps[0] == 0
    clip = FileClip(path)
    for index in range(len(frames)):  # every frame is looked for, from the end of the file
        clip.read(len(clip) - 1, len(clip))
        assert torch.equal(clip.read(index, index + 1)[0], frames[index]), index
    check_stretches(clip, frames)


def test_a_size_that_changes_is_named_with_frame_and_time(tmp_path):
    parts = [write(tmp_path / f"{height}.ts", pictures(6, height)) for height in (32, 48)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(RuntimeError, match=r"both.ts cannot be decoded at frame 6 \(its size changes from 64x32 to "
                                           r"64x48 there, after 0.\d+ seconds\): export it again, or cut it before"):
        FileClip(tmp_path / "both.ts")


def test_a_mask_of_the_stored_size_lies_on_the_grid_of_the_video(tmp_path):
    """Pixels twice as wide as high, which the mask's file does not say."""
    path = write(tmp_path / "mask.mkv")
    write(tmp_path / "wide.mkv", options={**B_FRAMES, "x264-params": "b-adapt=0:sar=2/1"})
    video, mask = FileClip(tmp_path / "wide.mkv"), FileClip(path)
    assert (video.size, mask.size) == ((HEIGHT, 2 * WIDTH), (HEIGHT, WIDTH))
    shaped = mask.shaped_like(video)
    assert shaped.size == video.size
    assert torch.equal(shaped.read(3, 5), video.read(3, 5))
    small = FileClip(write(tmp_path / "small.mkv", pictures(3, 48)))
    assert small.shaped_like(video) is small


def test_a_file_in_memory_may_be_read_by_several_at_once(tmp_path):
    path = write(tmp_path / "a.mp4")
    memory = io.BytesIO(path.read_bytes())
    memory.seek(100)
    first, second = FileClip(memory), FileClip(memory)
    expected = decoded(path)[0]
    for index in range(5):
        assert torch.equal(first.read(index, index + 1), expected[index : index + 1])
        assert torch.equal(second.read(9 - index, 10 - index), expected[9 - index : 10 - index])
    check_stretches(first, expected)
    assert memory.tell() == 100


@pytest.mark.parametrize("window", [Window(0.31, 0.4), Window(0.31), Window(0.0, 0.4), Window(0.48, 0.04)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_window_takes_the_frames_whose_time_is_in_it(tmp_path, ending, window):
    path = write(tmp_path / f"a.{ending}")
    frames, stamps = decoded(path)
    end = window.start + window.duration if window.duration else 99
    inside = [index for index, time in enumerate(stamps) if window.start <= time + 0.001 < end]
    assert 0 < len(inside) < FRAMES
    clip = FileClip(path, window)
    assert clip.first_time == pytest.approx(stamps[inside[0]], abs=1e-3)
    expected = frames[inside]
    assert torch.equal(clip.read(0, len(inside)), expected)
    for index in reversed(range(len(inside))):
        assert torch.equal(clip.read(index, index + 1)[0], expected[index])


@pytest.mark.parametrize("width", [50, 62, 66])
def test_widths_that_swscale_reads_past(tmp_path, width):
    """Every pixel, up to the right edge, has the colour that the standard's formula gives."""
    path = write(tmp_path / "a.mkv", pictures(4, 40, width), pixels="yuv444p", options={"qp": "0"})
    found = FileClip(path).read(0, 4)
    assert found.shape == (4, 40, width, 3)
    with av.open(str(path)) as container:
        for frame, levels in zip(container.decode(video=0), found, strict=True):
            y, u, v = frame.to_ndarray().astype(float)
            y = (y - 16) * 255 / 219
            u, v = (u - 128) * 255 / 112, (v - 128) * 255 / 112  # limited range, BT.601
            red, blue = y + 0.701 * v, y + 0.886 * u
            green = (y - 0.299 * red - 0.114 * blue) / 0.587
            expected = np.stack((red, green, blue), -1).clip(0, 255)
            np.testing.assert_allclose(levels, expected, atol=1.5)


def test_a_flat_colour_is_flat_up_to_the_edge(tmp_path):
    """Without padding, swscale takes the chroma of the last pixels from behind the picture."""
    flat = np.full((4, 34, 66, 3), (200, 60, 40), np.uint8)
    found = FileClip(write(tmp_path / "a.mkv", flat, options={"qp": "0"})).read(0, 4)
    assert torch.equal(found, found[:1, :1, :1].expand_as(found))


@pytest.mark.parametrize("space", [1, 5, 9])
@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "nv12", "yuv420p10le", "yuv422p10le",
                                    "yuv444p12le", "yuv444p16le", "gray16le", "gbrp10le"])
def test_levels_are_those_of_floats(pixels, space, span):
    """Every pixel of noise, which holds colours outside the cube too, in both ranges and three standards."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 128, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    for index, plane in enumerate(frame.planes):
        if "le" not in pixels:
            draw = np.random.default_rng(index).integers(0, 256, plane.buffer_size, dtype=np.uint8)
            plane.update(draw.tobytes())
    frame.colorspace, frame.color_range = space, span
    floats = frame.to_ndarray(format="gbrpf32le").astype(np.float64)
    expected = np.rint(floats * 255).clip(0, 255).astype(np.uint8)
    assert np.array_equal(levels(frame).transpose(1, 2, 0), expected)


def test_ten_bits_are_rounded_once(tmp_path):
    path = write(tmp_path / "a.mkv", codec="libx265", pixels="yuv420p10le",
                 options={"x265-params": "log-level=error:qp=10", "preset": "ultrafast"})
    check_stretches(FileClip(path), decoded(path)[0])


@pytest.mark.parametrize(("codec", "pixels", "ending"), [
    ("mjpeg", "yuvj420p", "avi"), ("png", "rgb24", "mov"), ("png", "rgba", "mov"), ("ffv1", "gray", "mkv")])
def test_kinds_of_pixels(tmp_path, codec, pixels, ending):
    path = write(tmp_path / f"a.{ending}", codec=codec, pixels=pixels, options={})
    clip = FileClip(path)
    assert len(clip) == FRAMES
    assert clip.read(3, 5).shape == (2, HEIGHT, WIDTH, 3)
    if codec == "png":
        assert torch.equal(clip.read(0, FRAMES), torch.from_numpy(pictures()))
    if pixels == "gray":
        assert (clip.read(0, 2).float().std(-1) == 0).all()


def test_a_video_filmed_upright_is_upright(tmp_path):
    data = bytearray(write(tmp_path / "a.mp4").read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16  # type, version, times and ids, layer and volume: then the matrix
    for index, value in enumerate((0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30)):
        data[at + 4 * index : at + 4 * index + 4] = struct.pack(">i", value)
    clip = FileClip(io.BytesIO(data))
    lying = FileClip(tmp_path / "a.mp4").read(4, 6)
    assert clip.size == (WIDTH, HEIGHT)
    assert torch.equal(clip.read(4, 6), lying.flip(1).transpose(1, 2))  # a quarter turn clockwise


# Damage

def overwritten(path, frame, share=1.0):
    """The file, in memory, with the last share of one of its packets overwritten."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][frame]
    count = round(packet.size * share)
    data[packet.pos + packet.size - count : packet.pos + packet.size] = b"Z" * count
    return io.BytesIO(data)


@pytest.mark.parametrize("frame", [1, 9, FRAMES - 2, FRAMES - 1])
def test_damage_is_named_with_the_frame(tmp_path, frame):
    path = write(tmp_path / "a.mp4", options={"bf": "0"})
    with pytest.raises(RuntimeError, match=rf"The mask video in memory cannot be decoded at frame {frame} \(.*\): "
                                           "export it again, or cut it before that frame"):
        FileClip(overwritten(path, frame), name="mask video")


@pytest.mark.parametrize("frame", [0, 5, FRAMES - 1])
def test_a_frame_that_the_decoder_makes_up_is_damage_too(tmp_path, frame):
    """The second half of a noisy picture is lost: it is decoded, and said to be corrupt."""
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = write(tmp_path / "a.mp4", noise, options={"bf": "0"})
    with pytest.raises(RuntimeError, match=rf"cannot be decoded at frame {frame} \(it is damaged, after "
                                           rf"{frame / 25:.2f} seconds\)"):
        FileClip(overwritten(path, frame, 0.5))


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_file_that_is_cut_short_is_not_taken_for_a_shorter_video(tmp_path, share):
    whole = write(tmp_path / "a.mp4", options={"bf": "0", "qp": "10"}, container_options=FAST_START)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    length = int(whole.stat().st_size * share)
    complete = sum(packet.pos + packet.size <= length for packet in packets)
    (tmp_path / "short.mp4").write_bytes(whole.read_bytes()[:length])
    with pytest.raises(RuntimeError, match=rf"driving video .*short.mp4 cannot be decoded at frame {complete} \("):
        FileClip(tmp_path / "short.mp4")
    end = (complete - 2) / 25  # before the damage all is well
    assert len(FileClip(tmp_path / "short.mp4", Window(0.0, end))) == complete - 2


def test_a_file_that_changes_while_it_is_used(tmp_path):
    path = write(tmp_path / "a.mp4")
    clip = FileClip(path)
    write(path, pictures(5))
    with pytest.raises(RuntimeError, match="a.mp4 has been replaced while it was in use: run again"):
        clip.read(0, 9)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("hello")
    with pytest.raises(RuntimeError, match=r"The driving video .*a.mp4 cannot be opened as a video \(Invalid data"):
        FileClip(tmp_path / "a.mp4")
    with pytest.raises(RuntimeError, match=r"none.mp4 cannot be opened as a video \(No such file"):
        FileClip(tmp_path / "none.mp4")
    with pytest.raises(RuntimeError, match=r"The mask in memory cannot be opened as a video"):
        open_video(io.BytesIO(b"x" * 1000), "mask")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 2048), dtype=np.float32), "fltp", "mono")
        block.sample_rate = 44100
        container.mux(sound.encode(block))
        container.mux(sound.encode())
    with pytest.raises(RuntimeError, match="sound.mp4 has no video stream: give a video file"):
        FileClip(tmp_path / "sound.mp4")


@pytest.mark.parametrize("window", [Window(5.0), Window(0.41, 0.02)])
def test_a_window_without_frames_is_refused(tmp_path, window):
    path = write(tmp_path / "a.mp4")
    with pytest.raises(RuntimeError, match=r"The driving video .*a.mp4 has no frames: export it again, or trim less"):
        FileClip(path, window)


# Cancelling and digests

class CancelledError(Exception):
    pass


def test_every_frame_ticks_and_can_cancel(tmp_path):
    path, ticks = write(tmp_path / "a.mp4"), []
    clip = FileClip(path, tick=lambda: ticks.append(1))
    assert len(ticks) >= FRAMES
    ticks.clear()
    clip.read(3, 10)
    assert len(ticks) == 7

    def cancel():
        raise CancelledError

    clip.tick = cancel
    for work in (lambda: clip.read(0, 2), clip.digest, lambda: FileClip(path, tick=cancel),
                 lambda: TensorClip(torch.zeros(2, 4, 4, 3), tick=cancel).read(0, 1)):
        with pytest.raises(CancelledError):
            work()


def test_digests_of_files(tmp_path):
    path, same, other = (write(tmp_path / f"{name}.mp4", pictures(count)) for name, count in zip("abc", (9, 9, 8),
                                                                                             strict=True))
    found = [FileClip(source, window).digest() for source, window in (
        (path, Window()), (same, Window()), (io.BytesIO(path.read_bytes()), Window()), (other, Window()),
        (path, Window(0.1)), (path, Window(0.0, 0.1)), (path, Window(0.1, 0.1)))]
    assert found[0] == found[1] == found[2]
    assert len(set(found)) == 5


@pytest.mark.parametrize("tags", [(2, 2), (1, 1), (6, 6)])
def test_the_digest_of_a_plain_file_is_that_of_its_window_and_bytes(tmp_path, tags):
    """As it always was, or finished segments of jobs would be lost."""
    path = write(tmp_path / "a.mp4", tags=tags)
    expected = hashlib.blake2b(b"Window(start=0.0, duration=0.0)" + path.read_bytes(), digest_size=16)
    assert FileClip(path).digest() == expected.hexdigest()
    hdr = write(tmp_path / "b.mp4", tags=(9, 18))
    assert FileClip(hdr).digest() != hashlib.blake2b(
        b"Window(start=0.0, duration=0.0)" + hdr.read_bytes(), digest_size=16).hexdigest()


def test_digests_of_tensors():
    images, sound = torch.rand(3, 4, 5, 3), torch.rand(1, 2, 900)
    changed = images.clone()
    changed[1, 2, 3, 1] = (changed[1, 2, 3, 1] + 0.5) % 1  # a sum over 1 would be clamped
    audio = {"waveform": sound, "sample_rate": 44100}
    clips = [TensorClip(images), TensorClip(changed), TensorClip(images[:2]), TensorClip(images.reshape(3, 5, 4, 3)),
             TensorClip(images, Fraction(25)), TensorClip(images, Fraction(30)), TensorClip(images, audio=audio),
             TensorClip(images, audio={**audio, "sample_rate": 48000}),
             TensorClip(images, audio={**audio, "waveform": sound + 0.1}),
             TensorClip(images, audio={**audio, "waveform": sound.reshape(1, 1, 1800)})]
    assert len({clip.digest() for clip in clips}) == len(clips)
    rounded = TensorClip(TensorClip(images).read(0, 3), audio=dict(audio))
    assert rounded.digest() == clips[6].digest()


# Memory

def test_floats_are_rounded_as_numpy_rounds_and_clamped():
    levels = torch.arange(256.0)
    images = torch.stack((levels / 255, (levels + 0.4) / 255, (levels - 0.4) / 255), -1).reshape(1, 16, 16, 3)
    found = TensorClip(images).read(0, 1)
    assert torch.equal(found, levels.byte().reshape(1, 16, 16, 1).expand(1, 16, 16, 3))
    halves = torch.tensor([0.5, 1.5, 2.5, 127.5]) / 255
    wanted = np.rint((halves * 255).numpy()).astype(np.uint8)
    found = TensorClip(halves.reshape(1, 2, 2, 1).expand(1, 2, 2, 3)).read(0, 1)
    assert found[..., 0].flatten().tolist() == wanted.tolist()
    beyond = torch.tensor([-0.2, 1.7, 1.0]).expand(1, 1, 1, 3)
    assert TensorClip(beyond).read(0, 1).flatten().tolist() == [0, 255, 255]


def test_alpha_is_over_black_and_types_do_not_matter():
    levels = torch.randint(0, 256, (5, 6, 7, 4), dtype=torch.uint8)
    levels[..., 3] = torch.tensor([0, 51, 102, 204, 255, 255, 255], dtype=torch.uint8)
    shown = (levels[..., :3].double() * levels[..., 3:] / 255).round().byte()
    for images in (levels, levels.float() / 255, levels.double() / 255, (levels.float() / 255).half()):
        clip = TensorClip(images, Fraction(16))
        assert (len(clip), clip.size, clip.rate) == (5, (6, 7), 16)
        assert (clip.read(1, 4).int() - shown[1:4].int()).abs().max() <= (images.dtype == torch.half)
        assert torch.equal(clip.at([4, 0]), clip.read(0, 5)[[4, 0]])


def test_what_is_read_is_a_copy_of_its_own():
    levels = torch.zeros(3, 4, 5, 3, dtype=torch.uint8)
    clip = TensorClip(levels)
    clip.read(0, 3).fill_(9)
    assert not levels.any()
    assert set(vars(clip)) == {"images", "rate", "audio", "tick", "height", "width",
                               "warnings"}  # nothing is remembered


# As a player shows it

@pytest.mark.parametrize("matrix", [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
                         + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)])
def test_turns_and_mirrors_are_shown(tmp_path, matrix):
    """The matrix maps a stored pixel (x, y) to (a x + c y, b x + d y), up to where the picture begins."""
    path = write(tmp_path / "a.mp4")
    stored = FileClip(path).read(0, 2)
    shown = open_clip(turned(path, matrix)).read(0, 2)
    height, width = stored.shape[1:3]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    a, b, c, d = matrix
    columns, rows = a * x + c * y, b * x + d * y
    expected = torch.empty_like(shown)
    expected[:, rows - rows.min(), columns - columns.min()] = stored
    assert torch.equal(shown, expected)


def test_pixels_that_are_not_square_are_made_square_and_that_is_said(tmp_path):
    path = write(tmp_path / "a.mp4", aspect=Fraction(2))
    clip = open_clip(path)
    height, width = FileClip(write(tmp_path / "b.mp4")).size
    assert clip.size == (height, 2 * width)
    assert "pixels of 2:1" in clip.warnings[0]


def test_a_rate_picks_frames_by_time(tmp_path):
    path = write(tmp_path / "a.mp4")
    every = open_clip(path)
    half, double = (open_clip(path, rate=every.rate * factor) for factor in (Fraction(1, 2), 2))
    assert (len(half), half.rate) == (10, every.rate / 2)  # 19 frames of 40 ms are 9.5 of 80 ms
    assert torch.equal(half.read(0, len(half)), every.read(0, len(every))[::2][: len(half)])
    assert torch.equal(double.read(3, 8), every.read(0, len(every))[[1, 2, 2, 3, 3]])
    assert every.digest() != half.digest()
    with pytest.raises(ValueError, match="rate is 0, but it must be positive"):
        open_clip(path, rate=0)


def test_frames_that_were_read_leave_memory_at_once(tmp_path):
    """Without waiting for Python's search for circles, in which a frame is with its side data once these are asked
    for."""
    clip = FileClip(write(tmp_path / "a.mp4"))
    gc.collect()
    gc.disable()
    try:
        for _ in clip:
            pass
        frames = [value for value in gc.get_objects() if type(value) is av.VideoFrame]
    finally:
        gc.enable()
    assert len(frames) < 5  # the reader has one or two


@pytest.mark.parametrize(("name", "codec", "pixels", "most"), [("long.mp4", "libx264", "yuv420p", 200),
                                                               ("long.gif", "gif", "rgb8", 1600)])
def test_frames_far_apart_are_found_without_decoding_all_between(tmp_path, monkeypatch, name, codec, pixels, most):
    path, far, decoded = tmp_path / name, [0, 700, 1400, 1499], 0
    options = {"g": "50", "preset": "ultrafast"} if codec == "libx264" else {}
    write(path, pictures(1500, 16, 16), codec=codec, pixels=pixels, options=options)
    clip, read = FileClip(path), FrameReader._read

    def counted(reader):
        nonlocal decoded
        decoded += 1
        return read(reader)

    expected = clip.read(0, 1500)[far]
    clip.close()
    monkeypatch.setattr(FrameReader, "_read", counted)
    assert torch.equal(clip.at(far), expected)
    assert decoded <= most
    clip.close()
