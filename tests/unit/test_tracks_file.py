"""Tracks files: bit for bit what was saved, nothing else is read, and another video is told from the tracked one."""

import contextlib
import io
import json
import resource
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import world
from safetensors.torch import load_file, save_file

from scail_model.identity import binding, mask_sources, tracks_file
from scail_model.identity.identities import Identities, report
from scail_model.identity.mask_set import pack_frames
from scail_model.identity.tracks_file import load, save
from scail_model.media.clips import TensorClip

FRAMES, HEIGHT, WIDTH = 25, 144, 256


def fingerprint(frames, rate=None):
    return tracks_file.fingerprint(TensorClip(frames, rate))


def own_fingerprint(identities, frames, rate=None):
    return tracks_file.own_fingerprint(identities, TensorClip(frames, rate))


def compare(identities, saved, frames, rate=None, **options):
    return tracks_file.compare(identities, saved, TensorClip(frames, rate), **options)


def noise(frames, people, height, width, seed=0):
    """Masks that no rule could guess, bool [T, people, H, W]."""
    return np.random.default_rng(seed).random((frames, people, height, width)) < 0.4


def noisy(frames=5, people=2, size=(9, 21), references=((7, 13),), mode="animation"):
    """Identities whose every mask is noise, and the masks."""
    masks = [noise(frames, people, *size)]
    masks += [noise(1, people, *sides, seed) for seed, sides in enumerate(references, 1)]
    mask_sets = [pack_frames(side, *side.shape) for side in masks]
    order = tuple(range(people))
    return Identities(mode, mask_sets[0], tuple(mask_sets[1:]), tuple(6 - place for place in order),
                      tuple(f"Zoë {place}" for place in order), order[::-1], ("a note", "another")), masks


def masks_for(frames):
    """Identities that belong to a video [T, h, w, 3]."""
    return noisy(len(frames), 1, tuple(frames.shape[1:3]))[0]


# Files

@pytest.mark.parametrize(("people", "size", "references"), [
    (1, (2, 3), ((3, 2),)), (3, (9, 21), ((7, 13), (30, 8), (5, 5))), (6, (16, 24), ((8, 8),))])
@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_what_is_loaded_is_what_was_saved(tmp_path, people, size, references, mode):
    saved, masks = noisy(5, people, size, references, mode)
    loaded, video = load(save(saved, tmp_path, "scene"))
    assert video is None
    for mask_set, mask in zip((loaded.driving, *loaded.references), masks, strict=True):
        assert (mask_set.people, len(mask_set), mask_set.size) == (people, len(mask), mask.shape[2:])
        assert all((mask_set.frame(index) == frame).all() for index, frame in enumerate(mask))
    for field in ("mode", "labels", "names", "front", "notes"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert torch.equal(loaded.driving_colours(0, 5), saved.driving_colours(0, 5))
    assert report(loaded) == report(saved)


def test_sam3_tracks_and_one_memory_on_both_sides(tmp_path):
    """A track's people lie in one tensor, and a picture can be a track of itself."""
    masks = noise(3, 2, 8, 16)
    bits = torch.from_numpy(np.packbits(masks, axis=-1, bitorder="little"))
    source = mask_sources.from_tracks({"packed_masks": bits, "orig_size": (8, 16)}, "driving")
    pictures = mask_sources.pictures(replace(source, name="reference"))
    loaded, _ = load(save(binding.bind("animation", source, pictures), tmp_path, "scene"))
    for index in range(3):
        assert (loaded.driving.frame(index) == masks[index]).all()
        assert (loaded.references[index].frame(0) == masks[index]).all()


def test_loaded_masks_do_not_hold_the_file(tmp_path):
    path = save(noisy()[0], tmp_path, "scene")
    loaded, _ = load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert (loaded.driving.frame(1) == noisy()[1][0][1]).all()


def test_a_thousand_frames_take_a_bit_for_each_pixel(tmp_path):
    identities, _ = noisy(1000, 2, (60, 101), ((30, 20),))
    path = save(identities, tmp_path, "long", video=fingerprint(torch.zeros(1000, 60, 101, 3, dtype=torch.uint8)))
    pixels = 2 * 1000 * 60 * 13 + 2 * 30 * 3 + 16 * 16 * 16
    assert 0 < path.stat().st_size - pixels < 2000
    assert {name: tensor.numel() for name, tensor in load_file(path).items()} == {
        "driving.0": 780_000, "driving.1": 780_000, "reference.0.0": 90, "reference.0.1": 90, "thumbnails": 4096}


def test_names_and_overwriting(tmp_path):
    first, second = (noisy(mode=mode)[0] for mode in ("animation", "replacement"))
    path = save(first, tmp_path / "tracks", "films/one")
    assert path == tmp_path / "tracks/films/one.safetensors"
    with pytest.raises(ValueError, match="tracks file films/one exists already: choose another name or turn overwrite"):
        save(second, tmp_path / "tracks", "films/one")
    assert load(path)[0].mode == "animation"
    save(second, tmp_path / "tracks", "films/one", overwrite=True)
    assert load(path)[0].mode == "replacement"
    for name in ("../outside", f"{tmp_path}/outside", "a/../../outside", "", "  "):
        with pytest.raises(ValueError, match='is not a file inside tracks: use letters, digits and "/"'):
            save(first, tmp_path / "tracks", name)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@contextlib.contextmanager
def full_disk():
    """No file of this process may grow beyond 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    large = noisy(40)[0]
    with pytest.raises(RuntimeError, match="cannot be written to .*(too large|os error 27).*: free space"), full_disk():
        save(large, tmp_path, "scene")
    assert not list(tmp_path.iterdir())
    (tmp_path / "scene.safetensors").write_bytes(b"older")
    with pytest.raises(RuntimeError, match="cannot be written"), full_disk():
        save(large, tmp_path, "scene", overwrite=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_a_folder_in_the_files_place_is_kept(tmp_path):
    (tmp_path / "scene.safetensors").mkdir()
    with pytest.raises(RuntimeError, match="cannot be written to .*choose another name"):
        save(noisy()[0], tmp_path, "scene", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.safetensors"]


def test_other_files_are_refused(tmp_path):
    whole = save(noisy()[0], tmp_path, "scene").read_bytes()
    other = tmp_path / "other.safetensors"
    for content in (b"", b"<html>not found</html>", whole[:100], whole[:-1], whole + b"\0", whole[8:]):
        other.write_bytes(content)
        with pytest.raises(RuntimeError, match=r"other.safetensors is no tracks file or was cut short \(.*save the"):
            load(other)
    for metadata in (None, {"format": "scail2-prompt-1"}, {"format": "scail2-tracks-2"}):
        save_file({"driving.0": torch.zeros(2, 2, 1, dtype=torch.uint8)}, other, metadata)
        with pytest.raises(RuntimeError, match="no tracks file that this version of the pack can read: choose a file"):
            load(other)


def test_every_changed_byte_is_noticed(tmp_path):
    """In the header, in the JSON, in masks and thumbnails: a file that is not as it was written is not read."""
    identities = noisy(2, 2, (3, 5), ((2, 2),))[0]
    path = save(identities, tmp_path, "scene", video=fingerprint(torch.zeros(2, 3, 5, 3), Fraction(25)))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RuntimeError, match="tracks"):
            load(path)
    path.write_bytes(whole)
    assert load(path)[0].labels == identities.labels


def test_metadata_can_be_read_by_eye(tmp_path):
    """Other programs find sizes and people without this pack."""
    from safetensors import safe_open

    video = fingerprint(torch.zeros(5, 9, 21, 3), Fraction(25, 2))
    with safe_open(save(noisy()[0], tmp_path, "scene", video=video), "np") as file:
        values = json.loads(file.metadata()["identities"])
    assert values == {"mode": "animation", "labels": [6, 5], "names": ["Zoë 0", "Zoë 1"], "front": [1, 0],
                      "notes": ["a note", "another"], "driving": [5, 9, 21], "references": [[7, 13]],
                      "video": {"frames": [0, 1, 2, 3, 4], "rate": "25/2"}}


# Fingerprints

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
    file = recompressed(clip)
    for frames in (clip, clip.float() / 255, clip.half() / 255, torch.cat((clip, clip[..., :1]), -1), decoded(file),
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
                                         r"first is frame 0, by up to \d+ of 255 levels\): connect the video"):
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


def test_unknown_pictures_and_another_rate(tmp_path, identities, clip):
    assert compare(identities, None, clip) == (
        "driving video: its pictures were not compared, because the tracks were saved without it",)
    video = own_fingerprint(identities, clip, Fraction(30000, 1001))
    _, saved = load(save(identities, tmp_path, "scene", video=video))
    assert (saved.frames, saved.rate) == (video.frames, video.rate)
    assert compare(identities, saved, clip, Fraction(30000, 1001)) == compare(identities, saved, clip) == SAME
    assert compare(identities, saved, clip, Fraction(25)) == (
        *SAME, "driving video: 25 frames per second, 29.97 when it was saved")


def test_the_fingerprint_survives_the_file(tmp_path, identities, saved, longer):
    loaded, video = load(save(identities, tmp_path, "scene", video=saved))
    assert (video.thumbnails == saved.thumbnails).all()
    assert video.rate is None
    assert compare(loaded, video, longer[:FRAMES]) == SAME
    with pytest.raises(ValueError, match="another picture"):
        compare(loaded, video, longer[4 : FRAMES + 4])
