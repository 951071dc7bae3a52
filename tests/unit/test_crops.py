"""What the model sees of the driving video: boxes as the official script draws them, in steady and moving form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scail_model.files.content_keys import digest
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import from_masks
from scail_model.inputs.crops import BOXES, PEOPLE, STEADY_BOX, Crop, merged
from scail_model.video.options import VideoOptions

HEIGHT, WIDTH = 90, 160


def people(*tracks, size=(HEIGHT, WIDTH)):
    """Identities of people, each a list of boxes (left, top, right, bottom) by frame, or None."""
    masks = []
    for track in tracks:
        mask = torch.zeros(len(track), *size)
        for frame, box in zip(mask, track, strict=True):
            if box:
                left, top, right, bottom = box
                frame[top:bottom, left:right] = 1
                frame[top, left] = 0  # a silhouette is less than its box
        masks.append(mask)
    whole = [torch.ones(1, 8, 8 * len(tracks)) for _ in tracks]
    for place, mask in enumerate(whole):
        mask[:, :, : 8 * place] = mask[:, :, 8 * place + 8 :] = 0
    return bind("animation", from_masks(masks, "driving"), [from_masks(whole, "reference")])


def kept(identities, kind, margin=0.05):
    return np.stack(list(Crop(kind, margin).kept(identities, 0, len(identities.driving))))


def boxed(*boxes, size=(HEIGHT, WIDTH)):
    found = np.zeros(size, bool)
    for left, top, right, bottom in boxes:
        found[top:bottom, left:right] = True
    return found


ALONE = (40, 20, 60, 80)


@pytest.mark.parametrize(("tracks", "margin", "expected"), [
    ([[ALONE]], 0.0, [ALONE]),
    ([[ALONE]], 0.05, [(39, 17, 61, 83)]),
    ([[ALONE]], 1.0, [(20, 0, 80, 90)]),
    ([[(0, 0, 30, 30)]], 0.1, [(0, 0, 33, 33)]),
    ([[ALONE], [(70, 20, 90, 80)]], 0.05, [(39, 17, 61, 83), (69, 17, 91, 83)]),
    ([[ALONE], [(50, 30, 90, 85)]], 0.0, [(40, 20, 90, 85)]),
    ([[ALONE], [(60, 20, 80, 80)]], 0.0, [ALONE, (60, 20, 80, 80)]),
    ([[ALONE], [(60, 20, 80, 80)]], 0.05, [(39, 17, 81, 83)]),
    ([[(10, 10, 30, 30)], [(60, 10, 80, 30)], [(20, 10, 70, 20)]], 0.0, [(10, 10, 80, 30)]),
    ([[None], [ALONE]], 0.0, [ALONE]),
    ([[(40, 20, 41, 21), ALONE][1:]], 0.03, [(39, 18, 61, 82)]),
], ids=["bare", "a margin", "cut off by the picture", "in a corner", "apart", "overlapping", "touching",
        "overlapping by their margins", "joined by a third", "one of two is not there", "rounded"])
def test_boxes_of_a_frame(tracks, margin, expected):
    # everybody has to be seen once
    tracks = [[*track, ALONE] for track in tracks]
    assert (kept(people(*tracks), BOXES, margin)[0] == boxed(*expected)).all()


def test_a_frame_without_anybody_is_black():
    found = kept(people([ALONE, None, ALONE]), BOXES)
    assert not found[1].any()
    assert (found[0] == found[2]).all()


def test_the_steady_box_is_around_everybody_in_every_frame_and_never_moves():
    identities = people([(40, 20, 60, 80), (50, 20, 70, 70), None], [None, (100, 40, 120, 60), (110, 40, 130, 60)])
    found = kept(identities, STEADY_BOX, 0.1)
    assert (found == boxed((31, 14, 139, 86))).all()
    later = identities.picked([2])
    assert (kept(later, STEADY_BOX, 0.0) == boxed((110, 40, 130, 60))).all()


@pytest.mark.parametrize("kind", [PEOPLE, BOXES, STEADY_BOX])
def test_segments_one_by_one_are_the_whole(kind):
    identities = people([(index, 10, index + 40, 70) for index in range(9)], [(100, 10, 140, 70 - index)
                                                                           for index in range(9)])
    frames = torch.randint(1, 256, (9, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    whole = Crop(kind).applied(frames, identities, 0)
    assert torch.equal(whole, torch.cat([Crop(kind).applied(frames[start : start + 4], identities, start)
                                         for start in (0, 4, 8)]))
    outside = ~torch.from_numpy(kept(identities, kind))
    assert not whole[outside].any()
    assert torch.equal(whole[~outside], frames[~outside])
    assert torch.equal(Crop(kind).applied(frames[:1], identities, 8), Crop(kind).applied(frames[:1], identities, 20))


def test_frames_of_another_size_than_the_masks():
    identities = people([ALONE])
    frames = torch.full((1, 2 * HEIGHT, 2 * WIDTH, 3), 9, dtype=torch.uint8)
    shown = Crop(BOXES, 0.0).applied(frames, identities, 0)[0, ..., 0].numpy() > 0
    assert (shown == boxed([2 * side for side in ALONE], size=(2 * HEIGHT, 2 * WIDTH))).all()


def test_merged_boxes_do_not_depend_on_their_order():
    draw = np.random.default_rng(0)
    for _ in range(200):
        corners, sides = draw.integers(0, 60, (6, 2)), draw.integers(1, 30, (6, 2))
        boxes = [tuple(map(int, (*corner, *(corner + side)))) for corner, side in zip(corners, sides, strict=True)]
        found = merged(boxes)
        assert set(found) == set(merged(boxes[::-1]))
        assert not [pair for pair in zip(found, merged(found), strict=True) if pair[0] != pair[1]]
        assert (boxed(*found) >= boxed(*boxes)).all()


def test_keys_of_work_from_before_are_the_same():
    """A margin counts with a box only, and black and keep are as they were."""
    keys = {name: VideoOptions(driving_background=name).settings(3).key_values
            for name in ("keep", "black", "bbox", "steady bbox")}
    for name, black in (("keep", False), ("black", True)):
        assert keys[name]["black_background"] is black
        assert not {"boxes", "margin"} & keys[name].keys()
        assert VideoOptions(driving_background=name, driving_margin=0.5).settings(3).key_values == keys[name]
    wider = VideoOptions(driving_background="bbox", driving_margin=0.5).settings(3).key_values
    bare = VideoOptions(driving_background="bbox", driving_margin=0.0).settings(3)
    assert len({digest(values) for values in (*keys.values(), wider, bare.key_values)}) == 6
    assert bare.crop == Crop("bbox", 0.0)
    assert replace(bare, black_background=False).crop is None
