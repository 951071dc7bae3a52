"""Compressed masks: bit for bit what numpy packs, readable in any order, small, and known by what they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scail_model.identity import binding, mask_sources
from scail_model.identity.mask_set import overlaps, pack_frames
from scail_model.identity.packed_mask import EMPTY, MaskTrack, pack, pack_track, packed
from scail_model.identity.tracks_file import load, save
from scail_model.masks import PALETTE

FRAMES, HEIGHT, WIDTH = 7, 40, 61


def walkers(frames=FRAMES, height=HEIGHT, width=WIDTH):
    """Two people who walk about and meet, bool [T, 2, H, W]; the second leaves for two frames."""
    rows, columns = np.mgrid[:height, :width]
    masks = np.zeros((frames, 2, height, width), bool)
    for frame, person in np.ndindex(frames, 2):
        left = width * (0.3 + 0.4 * person + 0.2 * np.sin(frame / 5 + 3 * person))
        masks[frame, person] = ((columns - left) / (0.12 * width)) ** 2 + ((rows / height - 0.5) / 0.4) ** 2 < 1
    masks[3:5, 1] = False
    return masks


def track_of(masks):
    """Of bool [T, H, W]."""
    return pack_track(packed(masks), *masks.shape[1:])


@pytest.fixture(scope="module")
def masks():
    return walkers()


# Frames

@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 101])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.4, 1.0])
def test_frames_are_what_numpy_packs(width, share):
    masks = np.random.default_rng(width).random((5, 23, width)) < share
    expected = np.packbits(masks, axis=-1, bitorder="little")
    made = track_of(masks)
    assert made.shape == expected.shape
    assert (np.stack(list(made)) == expected).all()
    assert made.extent.area.tolist() == masks.sum((1, 2)).tolist()


def test_every_single_pixel_comes_back():
    """In each place of a frame whose width is not a multiple of 8."""
    masks = np.eye(3 * 13, dtype=bool).reshape(-1, 3, 13)
    made = track_of(masks)
    assert (np.stack(list(made)) == packed(masks)).all()
    assert made.extent.box.tolist() == [[column, row, column + 1, row + 1] for row in range(3) for column in range(13)]


def test_frames_in_any_order_and_stretches(masks):
    expected = packed(masks[:, 0])
    made = track_of(masks[:, 0])
    for index in (4, 0, 6, -1, 4):
        assert (made[index] == expected[index]).all()
    for stretch in (slice(2, 5), slice(None, 3), slice(5, 99), slice(None, None, 2)):
        part = made[stretch]
        assert isinstance(part, MaskTrack)
        assert (np.stack(list(part)) == expected[stretch]).all()
        assert (part.extent.area == made.extent.area[stretch]).all()
    with pytest.raises(IndexError):
        made[FRAMES]


def test_a_frame_may_be_written_to_and_the_track_stays(masks):
    made = track_of(masks[:, 0])
    made[0][:] = 0
    assert (made[0] == packed(masks[0, 0])).all()


# Memory

def kept(track):
    """Bytes of all masks, each counted once."""
    return sum({id(mask): len(mask.deflated) for mask in track.masks}.values())


def test_a_frame_that_does_not_change_is_kept_once(masks):
    still = masks[[0, 0, 0, 1, 1, 0], 0]
    made = track_of(still)
    assert len({id(mask) for mask in made.masks}) == 3
    assert (np.stack(list(made)) == packed(still)).all()
    assert all(mask is EMPTY for mask in track_of(np.zeros((4, 8, 8), bool)).masks)


@pytest.mark.parametrize("source", ["colours", "masks", "track"])
def test_a_long_video_is_small(source):
    """A bit for each pixel of these 60 frames is 60 x 14,400 bytes a person."""
    masks = walkers(60, 240, 480)
    if source == "colours":
        clip = np.zeros((60, 240, 480, 3), np.uint8)
        for person in (1, 0):
            clip[masks[:, person]] = PALETTE[person]
        found = mask_sources.from_colours(map(torch.from_numpy, clip), 60, "driving")
    elif source == "masks":
        found = mask_sources.from_masks([torch.from_numpy(masks[:, person]).float() for person in (0, 1)], "driving")
    else:
        found = mask_sources.from_tracks(
            {"packed_masks": torch.from_numpy(packed(masks)), "orig_size": (240, 480)}, "driving")
    assert found.mask_set.people == 2
    for made in found.mask_set.tracks:
        assert 60 * 100 < kept(made) < 60 * 14_400 / 20


# Digests

def identities(masks, **changes):
    mask_set = pack_frames(masks, *masks.shape)
    source = mask_sources.Source("driving", mask_set)
    bound = binding.bind("animation", source, mask_sources.pictures(replace(source, name="reference"))[:2])
    return replace(bound, **changes)


def test_equal_masks_have_one_digest_however_they_were_made(masks, tmp_path):
    """From bools, as a track, as colours where nobody overlaps, out of a file, edited, and cut out of a longer clip."""
    apart = masks & ~masks[:, ::-1]
    expected = pack_frames(apart, *apart.shape).digest()
    colours = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for person in (0, 1):
        colours[apart[:, person]] = PALETTE[person]
    track = {"packed_masks": torch.from_numpy(packed(np.pad(apart, ((0, 0), (0, 0), (0, 0), (0, 3))))),
             "orig_size": (HEIGHT, WIDTH + 3)}
    padded = pack_frames(np.pad(apart, ((0, 0), (0, 0), (0, 0), (0, 3))), FRAMES, 2, HEIGHT, WIDTH + 3)
    longer = pack_frames(np.concatenate((apart, apart)), 2 * FRAMES, 2, HEIGHT, WIDTH)
    cut = replace(longer, frames=FRAMES, tracks=tuple(track[FRAMES:] for track in longer.tracks))
    assert mask_sources.from_colours(map(torch.from_numpy, colours), FRAMES, "driving").mask_set.digest() == expected
    assert mask_sources.from_tracks(track, "driving").mask_set.digest() == padded.digest() != expected
    assert cut.digest() == expected
    assert cut.edited(lambda mask: mask.copy()).digest() == expected
    bound = identities(masks)
    assert load(save(bound, tmp_path, "scene"))[0].digest() == bound.digest()


def test_one_pixel_anywhere_makes_another_digest(masks):
    """Of the driving masks and of the references, inside the people and outside."""
    found = {identities(masks).digest()}
    random = np.random.default_rng(1)
    for _ in range(40):
        changed = masks.copy()
        place = tuple(random.integers(0, masks.shape))
        changed[place] ^= True
        found.add(identities(changed).digest())
    bound = identities(masks)
    for index in range(2):
        changed = bound.references[index].frame(0)
        changed[0, 0, 0] ^= True
        pictures = list(bound.references)
        pictures[index] = pack_frames([changed], 1, 2, HEIGHT, WIDTH)
        found.add(replace(bound, references=tuple(pictures)).digest())
    assert len(found) == 43


def test_what_else_decides_the_digest(masks):
    bound = identities(masks)
    same = identities(masks, names=("Anna", "Ben"), notes=("a note",))
    assert same.digest() == bound.digest()
    shorter = replace(bound.driving, frames=FRAMES - 1, tracks=tuple(track[:-1] for track in bound.driving.tracks))
    others = [identities(masks, **change) for change in (
        {"mode": "replacement"}, {"labels": (2, 1)}, {"front": (1, 0)}, {"references": bound.references[:1]},
        {"references": bound.references[::-1]}, {"driving": bound.driving.select((1, 0))}, {"driving": shorter})]
    others += [identities(np.pad(masks, ((0, 0), (0, 0), *margin))) for margin in (
        ((0, 1), (0, 0)), ((0, 0), (0, 1)), ((1, 0), (0, 0)), ((0, 0), (1, 0)))]
    assert len({bound.digest(), *(other.digest() for other in others)}) == 12


# What is read off without unpacking

def test_overlaps_are_those_of_the_pixels(masks):
    both = masks.all(1).sum((1, 2)) / masks.sum((2, 3)).min(1).clip(min=1)
    assert both.max() > 0.1
    mask_set = pack_frames(masks, *masks.shape)
    assert list(overlaps(mask_set, 0.1)) == [(0, 1, int(both.argmax()))]
    assert not list(overlaps(mask_set, both.max()))


def test_boxes_that_only_touch_are_not_near():
    boxes = np.zeros((1, 3, 6, 12), bool)
    boxes[0, 0, 1:4, 2:5] = boxes[0, 1, 1:4, 5:9] = boxes[0, 2, 3:6, 4:6] = True
    mask_set = pack_frames(boxes, *boxes.shape)
    assert [mask_set.near(*pair, 0) for pair in ((0, 1), (0, 2), (1, 2), (0, 0))] == [False, True, True, True]


def test_nobody_is_the_same_as_no_bits():
    assert pack(np.zeros((4, 2), np.uint8)) is EMPTY
    assert (MaskTrack((EMPTY, EMPTY), 4, 10)[1] == np.zeros((4, 2), np.uint8)).all()
