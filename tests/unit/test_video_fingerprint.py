"""Fingerprints of driving videos: the tracked video is known in any form, and another one is told from it."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import world

from scail_model.identity import video_fingerprint
from scail_model.identity.identities import Identities
from scail_model.identity.mask_set import pack_frames
from scail_model.media.clips import TensorClip

FRAMES, HEIGHT, WIDTH = 25, 144, 256


def fingerprint(frames, rate=None):
    return video_fingerprint.fingerprint(TensorClip(frames, rate))


def own_fingerprint(identities, frames, rate=None):
    return video_fingerprint.own_fingerprint(identities, TensorClip(frames, rate))


def compare(identities, saved, frames, rate=None, **options):
    return video_fingerprint.compare(identities, saved, TensorClip(frames, rate), "connect that video", **options)


def masks_for(frames):
    """Identities that belong to a video [T, h, w, 3]: one person, who fills every picture."""
    driving = pack_frames(np.ones((len(frames), 1, *frames.shape[1:3]), bool), len(frames), 1, *frames.shape[1:3])
    reference = pack_frames(np.ones((1, 1, 8, 8), bool), 1, 1, 8, 8)
    return Identities("animation", driving, (reference,), (1,), ("blue",), (0,))


def drawn(seed, frames, height, width):
    """A driving video of somebody who moves, uint8 [T, h, w, 3]."""
    scenes = world.make_scenes(world.Random(seed), 1, 1, width / height)
    time = torch.arange(frames) / world.FPS
    figures = world.figure(scenes.motion, scenes.drivers, time)
    background = world.paint_background(scenes.driving_background, height, width)
    video, _, _ = world.draw_people(background, *figures, height, width)
    return video[0].movedim(1, -1).mul(255).round().byte()


@pytest.fixture(scope="module")
def longer():
    return drawn(6, FRAMES + 8, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def clip(longer):
    return longer[:FRAMES]


@pytest.fixture(scope="module")
def identities(clip):
    return masks_for(clip)


@pytest.fixture(scope="module")
def saved(identities, clip):
    return own_fingerprint(identities, clip)


SAME = ("driving video: the one that was tracked (16 frames compared)",)


def recompressed(frames, *, crf=28, size=(HEIGHT, WIDTH)):
    """Through H.264, as an mp4 in memory with the colours of BT.709; `size` is (height, width)."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt, stream.codec_context.colorspace = *size, "yuv420p", 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")
            container.mux(stream.encode(picture.reformat(size[1], size[0], "yuv420p", dst_colorspace=1)))
        container.mux(stream.encode())
    return file


def decoded(file, **options):
    file.seek(0)
    with av.open(file) as container:
        frames = [frame.reformat(format="rgb24", **options).to_ndarray() for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames))


def test_thumbnails_are_means_of_the_parts():
    """Enlarged 16 times, every part of the picture has whole pixels."""
    frames = torch.randint(0, 256, (20, 19, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = fingerprint(frames)
    assert found.frames == (0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19)
    for index, thumbnail in zip(found.frames, found.thumbnails, strict=True):
        mixed = frames[index][..., ::2].double().mean(-1).numpy()
        parts = mixed.repeat(16, 0).repeat(16, 1).reshape(16, 19, 16, 50).mean((1, 3))
        assert np.abs(thumbnail - parts).max() <= 0.501


def test_the_same_video_in_any_form(identities, saved, clip):
    file, opaque = recompressed(clip), torch.full_like(clip[..., :1], 255)
    for frames in (clip, clip.float() / 255, clip.half() / 255, torch.cat((clip, opaque), -1), decoded(file),
                   decoded(file, src_colorspace=5, dst_colorspace=5), decoded(recompressed(clip, crf=34))):
        assert compare(identities, saved, frames) == SAME
    # the wrong matrix was not without effect
    assert (decoded(file).int() - decoded(file, src_colorspace=5, dst_colorspace=5)).abs().float().mean() > 2


@pytest.mark.parametrize("size", [(72, 128), (96, 170), (216, 384)])
def test_the_same_video_in_another_size(identities, saved, clip, size):
    assert compare(identities, saved, decoded(recompressed(clip, crf=20, size=size))) == (
        f"driving video: {size[1]}x{size[0]} pixels, the masks 256x144, the same shape", *SAME)


def test_another_video_and_one_that_begins_later(identities, saved, longer):
    with pytest.raises(ValueError, match=r"one of these tracks \(16 of 16 compared frames show another picture, the "
                                         r"first is frame 0, by up to \d+ of 255 levels\): connect that video"):
        compare(identities, saved, drawn(7, FRAMES, HEIGHT // 2, WIDTH // 2))
    for shift in (2, 4, 8):
        with pytest.raises(ValueError, match=r"\d+ of 16 compared frames show another picture"):
            compare(identities, saved, longer[shift : FRAMES + shift])


def test_one_other_frame_is_named(identities, saved, clip):
    changed = clip.clone()
    changed[saved.frames[7], :36, :64] = 0
    with pytest.raises(ValueError, match="1 of 16 compared frames show another picture, the first is frame 11, by"):
        compare(identities, saved, changed)
    (remark,) = compare(identities, saved, changed, accept=True)
    assert remark.startswith("driving video: not the one of these tracks, accepted (1 of 16 compared frames")


def test_nothing_but_the_frames_of_the_fingerprint_is_looked_at(identities, saved, clip):
    changed = 255 - clip
    changed[list(saved.frames)] = clip[list(saved.frames)]
    assert compare(identities, saved, changed) == SAME


@pytest.mark.parametrize("count", [1, 2, 15, 17])
def test_short_videos(clip, count):
    frames = clip[:count]
    identities = masks_for(frames)
    saved = own_fingerprint(identities, frames)
    assert saved.frames == (tuple(range(count)) if count < 17 else (*range(8), *range(9, 17)))
    assert compare(identities, saved, frames) == (
        f"driving video: the one that was tracked ({min(count, 16)} frames compared)",)
    with pytest.raises(ValueError, match="show another picture"):
        compare(identities, saved, 255 - frames)


def test_another_length_is_always_refused(identities, saved, clip):
    for accept in (False, True):
        with pytest.raises(ValueError, match="driving video has 24 frames, but its mask has 25: use a mask made from"):
            compare(identities, saved, clip[:24], accept=accept)
    with pytest.raises(ValueError, match="driving video has 24 frames, but its mask has 25"):
        own_fingerprint(identities, clip[:24])


def test_another_shape(identities, saved, clip):
    squeezed = clip[:, :, :128]
    found = r"it has 128x144 pixels, the masks 256x144, another shape"
    with pytest.raises(ValueError, match=rf"not the one of these tracks \({found}; \d+ of 16 compared frames show"):
        compare(identities, saved, squeezed)
    with pytest.raises(ValueError, match=rf"not the one of these tracks \({found}\): connect"):
        compare(identities, None, squeezed)
    shape, pictures = compare(identities, saved, squeezed, accept=True)
    assert shape == f"driving video: not the one of these tracks, accepted ({found})"
    assert "compared frames show another picture" in pictures
    with pytest.raises(ValueError, match="different shapes: make the mask from the picture that it belongs to"):
        own_fingerprint(identities, squeezed)
    assert compare(identities, saved, clip[:, :, 1:-1])[1:] == SAME  # 0.8 % narrower, as crops to whole cells are


def test_unknown_pictures_and_another_rate(identities, clip):
    assert compare(identities, None, clip) == (
        "driving video: its pictures were not compared, because the tracks were saved without it",)
    saved = own_fingerprint(identities, clip, Fraction(30000, 1001))
    assert compare(identities, saved, clip, Fraction(30000, 1001)) == compare(identities, saved, clip) == SAME
    assert compare(identities, saved, clip, Fraction(25)) == (
        *SAME, "driving video: 25 frames per second, 29.97 when it was saved")
