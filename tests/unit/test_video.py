"""Reading and writing videos and pictures: colours, orientation, sound, damage."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from scail_model.headless.video import VideoWriter, frame_rate, read_frames, read_image

from tests.demo import drawing

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (10, 10, 10), (250, 250, 250))


@pytest.fixture
def clip(tmp_path):
    """48 frames of 64x48 with sound."""
    return drawing.write_job(tmp_path / "clip", (64, 48), 48, tone=True)["pose"]


def write(target, source, frames, fps=Fraction(16)):
    with VideoWriter(target, frames.shape[2], frames.shape[1], fps, len(frames), source) as video:
        for part in frames.split(5):
            video.write(part)


def test_colours_come_back(clip, tmp_path):
    stripes = torch.zeros(3, 64, 32 * len(COLOURS), 3, dtype=torch.uint8)
    for index, colour in enumerate(COLOURS):
        stripes[:, :, 32 * index : 32 * index + 32] = torch.tensor(colour, dtype=torch.uint8)
    write(tmp_path / "out.mp4", clip, stripes)
    frames = list(read_frames(tmp_path / "out.mp4", "video"))
    assert len(frames) == 3
    centres = frames[1][32, 16::32].int()
    assert (centres - torch.tensor(COLOURS)).abs().max() <= 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)  # BT.709, limited: written in the file


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(60)])
def test_rate_and_length_are_exact(clip, tmp_path, fps):
    write(tmp_path / "out.mp4", clip, torch.zeros(11, 32, 32, 3, dtype=torch.uint8), fps)
    assert frame_rate(tmp_path / "out.mp4", "video") == fps
    assert len(list(read_frames(tmp_path / "out.mp4", "video"))) == 11


def test_sound_keeps_its_place_in_time_and_ends_with_the_picture(tmp_path):
    """Silence, then a tone from 0.5 s to 1.5 s, in one block that starts 0.25 s after the picture; 1 s is written."""
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=16)
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for _ in range(32):
            container.mux(video.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32)))))
        container.mux(video.encode())
        samples = np.zeros((1, 60000), dtype=np.int16)
        samples[:, 12000:] = (8000 * np.sin(np.arange(48000) * 2 * np.pi * 440 / 48000)).astype(np.int16)
        block = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        block.sample_rate, block.pts = 48000, 12000
        container.mux(sound.encode(block))
        container.mux(sound.encode())
    write(tmp_path / "out.mp4", tmp_path / "clip.mkv", torch.zeros(16, 32, 32, 3, dtype=torch.uint8))
    with av.open(str(tmp_path / "out.mp4")) as container:
        found = np.concatenate([block.to_ndarray() for block in container.decode(audio=0)], axis=1)[0]
    onset = np.argmax(np.abs(found) > 0.1) / 48000
    assert onset == pytest.approx(0.5, abs=0.01)
    assert 0 <= len(found) - 48000 < 1024  # AAC fills its last block


def test_an_error_or_ctrl_c_leaves_no_file(clip, tmp_path):
    (tmp_path / "out").mkdir()
    for error in (KeyboardInterrupt, RuntimeError):
        for count in (0, 3):
            with pytest.raises(error):
                _break_off(tmp_path / "out" / "a.mp4", clip, count, error)
            assert not list((tmp_path / "out").iterdir())


def _break_off(target, source, frames, error):
    with VideoWriter(target, 32, 32, Fraction(16), 9, source) as video:
        video.write(torch.zeros(frames, 32, 32, 3, dtype=torch.uint8))
        raise error


def test_a_video_filmed_upright_is_read_upright(clip, tmp_path):
    """A phone stores the picture lying and a matrix in `tkhd` that turns it: here a quarter turn clockwise."""
    data = bytearray(clip.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16  # type, version, times and ids, layer and volume: then the matrix
    assert struct.unpack(">2i", data[at : at + 8]) == (1 << 16, 0)
    for index, value in enumerate((0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)):
        data[at + 4 * index : at + 4 * index + 4] = struct.pack(">i", value)
    (tmp_path / "upright.mp4").write_bytes(data)
    lying, upright = (next(read_frames(path, "video")) for path in (clip, tmp_path / "upright.mp4"))
    assert upright.shape == (64, 48, 3)
    assert torch.equal(upright, lying.flip(0).transpose(0, 1))  # the lower left corner goes to the upper left


def test_camera_orientation_of_pictures_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg", "reference").shape == (40, 20, 3)


def test_damage_is_named_with_the_frame(clip, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    drawing.write_video(tmp_path / "noise.mp4", [Image.fromarray(picture) for picture in noise])
    data = bytearray((tmp_path / "noise.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = b"Z" * 400
    (tmp_path / "damaged.mp4").write_bytes(data)
    with pytest.raises(RuntimeError, match=r"The driving video .*damaged.mp4 cannot be decoded at frame \d+ \("):
        list(read_frames(tmp_path / "damaged.mp4", "driving video"))


def test_files_without_a_picture_are_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 2048), dtype=np.float32), "fltp", "mono")
        block.sample_rate = 44100
        container.mux(sound.encode(block))
        container.mux(sound.encode())
    with pytest.raises(RuntimeError, match="has no video stream"):
        list(read_frames(tmp_path / "sound.mp4", "driving video"))
    with pytest.raises(RuntimeError, match="The reference .* cannot be read as a picture"):
        read_image(tmp_path / "sound.mp4", "reference")
