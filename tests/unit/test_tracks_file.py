"""Tracks files: bit for bit what was saved, as small as in memory, and nothing else is read."""

import contextlib
import json
import resource
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scail_model.identity import binding, mask_sources, video_fingerprint
from scail_model.identity.identities import Identities, report
from scail_model.identity.mask_set import pack_frames
from scail_model.identity.packed_mask import pack_track
from scail_model.identity.tracks_file import load, save
from scail_model.media.clips import TensorClip


def fingerprint(frames, rate=None):
    return video_fingerprint.fingerprint(TensorClip(frames, rate))


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


def walk(frames, height=120, width=200):
    """Identities with one person, a disc that walks through the picture, stands still for half of the frames, and has
    left it in the last one."""
    rows, columns = np.mgrid[:height, :width]
    left = np.minimum(np.arange(frames), frames // 2) * width / frames

    def frame(index):
        inside = (columns - left[index]) ** 2 + (rows - height / 2) ** 2 < (height / 4) ** 2
        return np.packbits(inside & (index < frames - 1), axis=-1, bitorder="little")

    reference = pack_frames(np.ones((1, 1, 8, 8), bool), 1, 1, 8, 8)
    driving = replace(reference, tracks=(pack_track(map(frame, range(frames)), height, width),), frames=frames,
                      height=height, width=width)
    return Identities("animation", driving, (reference,), (1,), ("blue",), (0,))


def test_a_file_is_as_small_as_the_masks_in_memory(tmp_path):
    """A frame that equals the one before it is not written again, and one that shows nobody takes no bytes."""
    identities = walk(1000)
    path = save(identities, tmp_path, "long", video=fingerprint(torch.zeros(1000, 60, 100, 3, dtype=torch.uint8)))
    masks = identities.driving.tracks[0].masks
    kept = sum({id(mask): len(mask.deflated) for mask in masks}.values())
    arrays = load_file(path)
    assert arrays["driving.0"].numel() == kept < 1000 * 120 * 25 / 20
    assert arrays["driving.0.frames"].shape == (1000, 7)
    assert 0 < path.stat().st_size - kept - (1000 + 1) * 7 * 8 - 16 * 16 * 16 < 1000
    loaded = load(path)[0].driving.tracks[0]
    assert loaded == identities.driving.tracks[0]
    assert len({id(mask) for mask in loaded.masks}) == len({id(mask) for mask in masks})


def test_a_file_in_the_first_format_is_read_as_it_was():
    """Written by the pack when it still stored every bit of every frame."""
    expected, masks = noisy(references=((7, 13), (5, 5)), mode="replacement")
    loaded, video = load(Path(__file__).with_name("tracks_format_1.safetensors"))
    for mask_set, mask in zip((loaded.driving, *loaded.references), masks, strict=True):
        assert all((mask_set.frame(index) == frame).all() for index, frame in enumerate(mask))
    assert loaded == expected
    frames = torch.arange(5 * 9 * 21 * 3).reshape(5, 9, 21, 3).remainder(251).byte()
    assert video_fingerprint.compare(loaded, video, TensorClip(frames, Fraction(25, 2)), "") == (
        "driving video: the one that was tracked (5 frames compared)",)


def test_length_costs_little_memory(tmp_path):
    """Beside the masks, which are in memory before a file is written and after it is read: less than a megabyte, where
    the bits of all frames are nine."""
    identities = walk(3000)
    assert identities.driving.extents[0].area.any()  # the track keeps these numbers
    tracemalloc.start()
    path = save(identities, tmp_path, "long")
    _, writing = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loaded, _ = load(path)
    kept, reading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loaded.driving.tracks[0] == identities.driving.tracks[0]
    assert max(writing, reading - kept) < 1e6, (writing, reading, kept)


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
        with pytest.raises(RuntimeError, match=r"is not a tracks file, or was cut short \(.*save the"):
            load(other)
    for metadata in (None, {"format": "scail2-prompt-1"}, {"format": "scail2-tracks-3"}):
        save_file({"driving.0": torch.zeros(2, 2, 1, dtype=torch.uint8)}, other, metadata)
        with pytest.raises(RuntimeError, match="not a tracks file that this version of the pack can read: choose"):
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
    video = fingerprint(torch.zeros(5, 9, 21, 3), Fraction(25, 2))
    with safe_open(save(noisy()[0], tmp_path, "scene", video=video), "np") as file:
        values = json.loads(file.metadata()["identities"])
    assert values == {"mode": "animation", "labels": [6, 5], "names": ["Zoë 0", "Zoë 1"], "front": [1, 0],
                      "notes": ["a note", "another"], "driving": [5, 9, 21], "references": [[7, 13]],
                      "video": {"frames": [0, 1, 2, 3, 4], "rate": "25/2"}}


def test_the_fingerprint_survives_the_file(tmp_path):
    saved = fingerprint(torch.rand(20, 9, 21, 3), Fraction(30000, 1001))
    _, found = load(save(noisy(20)[0], tmp_path, "scene", video=saved))
    assert (found.thumbnails == saved.thumbnails).all()
    assert (found.frames, found.rate) == (saved.frames, saved.rate)
    unrated = save(noisy(20)[0], tmp_path, "other", video=replace(saved, rate=None))
    assert load(unrated)[1].rate is None


def test_people_who_are_not_bound_come_back_too(tmp_path):
    """A file without any is what it was; other versions read files with some, and leave them out."""
    identities, _ = noisy()
    others = pack_frames(noise(5, 3, 9, 21, seed=7), 5, 3, 9, 21)
    plain, full = (save(each, tmp_path, name) for name, each in (
        ("plain", identities), ("full", replace(identities, bystanders=others))))
    assert load(plain)[0].bystanders is None
    found, _ = load(full)
    assert found.bystanders is not None
    assert found.bystanders.digest() == others.digest()
    assert found.digest() == identities.digest()
    assert found.picked([3, 1]).bystanders.digest() == others.picked([3, 1]).digest()
    with safe_open(plain, "np") as file:
        assert not any("bystanders" in name for name in (*file.keys(), file.metadata()["identities"]))
