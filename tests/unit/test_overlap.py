"""Who overlaps whom: the official choices (golden case P5) with the right colours, and the binding "by overlap"."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from scail_model.identity import binding, mask_sources, nearest
from scail_model.identity.identities import report
from scail_model.identity.mask_set import MaskSet, pack_frames
from scail_model.identity.overlap import by_centre, by_overlap, overlaps
from scail_model.masks import PALETTE
from tests.unit.golden import GOLDEN

CASES = {path.stem: path for path in sorted((GOLDEN / "poses").glob("P5_*.npz"))}
NEAREST = [name for name in CASES if "centre" not in name]
CENTRE = [name for name in CASES if "centre" in name]


def case(name):
    data = dict(np.load(CASES[name]))
    return data, json.loads(str(data["info"]))


def mask_set(masks) -> MaskSet:
    """bool [P, T, H, W]."""
    people, frames, height, width = masks.shape
    return pack_frames(masks.swapaxes(0, 1) > 0, frames, people, height, width)


def painted(identities, side) -> np.ndarray:
    colours = identities.driving_colours(0, len(identities.driving)) if side == "driving" else (
        identities.reference_colours(0))
    return colours.movedim(1, -1).numpy()


@pytest.mark.parametrize("name", NEAREST)
def test_the_nearest_is_the_official_one(name):
    data, info = case(name)
    in_order = data["tracks"][data["order"], 0] > 0
    index, iou = nearest(data["ref"] > 0, in_order)
    if not any(info["iou"]):
        assert (index, iou) == (-1, 0)
        return
    assert index == data["winner_position"][0]
    assert iou == pytest.approx(max(info["iou"]), abs=1e-12)
    assert overlaps(data["ref"][None], in_order)[0].tolist() == pytest.approx(info["iou"], abs=1e-12)


@pytest.mark.parametrize("name", NEAREST)
def test_replacement_by_overlap_paints_the_winner_in_the_references_colour(name):
    data, info = case(name)
    driving = mask_sources.Source("driving", mask_set(data["tracks"]))
    reference = mask_sources.Source("reference", mask_set(data["ref"][None, None]))
    if not any(info["iou"]):
        with pytest.raises(ValueError, match=r'person 1 of the reference mask overlaps nobody .*0\.000.*binding, for '):
            binding.bind("replacement", driving, [reference], binding="by overlap")
        return
    bound = binding.bind("replacement", driving, [reference], binding="by overlap")
    assert (painted(bound, "driving") == data["right_replace_mask"]).all()
    assert (painted(bound, "reference")[0] == data["ref_mask_image"]).all()


@pytest.mark.parametrize("name", CENTRE)
def test_animation_by_centre_takes_the_official_people_in_the_references_colours(name):
    data, _ = case(name)
    driving, reference = mask_set(data["tracks"]), mask_set(data["ref"][:, None])
    pairs = by_centre(driving, reference)
    assert [driven for _, driven in pairs] == data["winner_track"].tolist()
    bound = binding.bind("animation", mask_sources.Source("driving", driving),
                         [mask_sources.Source("reference", reference)],
                         binding=", ".join(f"{left + 1}:{right + 1}" for left, right in pairs))
    assert (painted(bound, "driving") == data["right_driving_mask"]).all()


def test_the_mask_is_resized_as_opencv_does():
    opencv = pytest.importorskip("cv2")
    generator = np.random.default_rng(0)
    for height, width, to_height, to_width in generator.integers(1, 400, (200, 4)):
        mask = generator.random((height, width)) > 0.5
        resized = opencv.resize(mask.astype(np.uint8), (int(to_width), int(to_height)), interpolation=0) > 0
        if mask.any() and resized.any():
            assert nearest(mask, resized[None]) == (0, 1.0)


@pytest.mark.parametrize(("tracks", "expected"), [
    ([], (-1, 0.0)),
    ([[0, 0, 0, 0]], (-1, 0.0)),
    ([[0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]], (1, 0.5)),
    ([[1, 1, 1, 1], [1, 1, 1, 1]], (0, 0.5)),
], ids=["nobody", "somebody who is not there", "equals: the first", "everything"])
def test_few_pixels(tracks, expected):
    people = np.array(tracks, bool).reshape(-1, 1, 4)
    assert nearest(np.array([[1, 1, 0, 0]], bool), people) == expected
    assert nearest(torch.tensor([[1, 1, 0, 0]]) > 0, torch.from_numpy(people)) == expected


def test_no_pixels_and_other_shapes():
    for size in ((0, 4), (4, 0)):
        assert nearest(np.ones((2, 4), bool), np.ones((1, *size), bool)) == (-1, 0.0)
        assert nearest(np.ones(size, bool), np.ones((1, 2, 4), bool)) == (-1, 0.0)
    with pytest.raises(ValueError, match=r"reference mask has shape \[1, 2, 4\] and the tracks \[1, 2, 4\], but they"):
        nearest(np.ones((1, 2, 4), bool), np.ones((1, 2, 4), bool))


def boxes(name, *people, frames=2, size=(48, 64), colours=()):
    """People as boxes (left, top, right, bottom) that stand still; None is nobody's mask."""
    masks = np.zeros((len(people), frames, *size), bool)
    for mask, box in zip(masks, people, strict=True):
        if box:
            left, top, right, bottom = box
            mask[:, top:bottom, left:right] = True
    return mask_sources.Source(name, mask_set(masks), colours or None)


LEFT, MIDDLE, RIGHT = (2, 4, 18, 44), (24, 4, 40, 44), (44, 4, 60, 44)


def bound(driving, *people, mode="replacement", **options):
    return binding.bind(mode, driving, [boxes("reference", *people, frames=1, **options)], binding=" By Overlap ")


@pytest.mark.parametrize("order", [*permutations((LEFT, MIDDLE, RIGHT))])
def test_several_people_are_bound_at_once(order):
    moved = [(left + 3, top, right + 3, bottom) for left, top, right, bottom in (RIGHT, LEFT)]
    identities = bound(boxes("driving", *order), *moved)
    assert [tuple(extent.box[0]) for extent in identities.driving.extents] == [RIGHT, LEFT]
    assert identities.labels == (1, 2)
    assert f"driving mask: person {order.index(MIDDLE) + 1} left out" in report(identities)


def test_the_sum_decides_not_who_comes_first():
    """The first would take the one that overlaps it most, and leave nothing for the second."""
    driving = boxes("driving", (0, 0, 40, 40), (36, 0, 60, 40))
    reference = boxes("reference", (10, 0, 50, 40), (0, 0, 38, 40), frames=1)
    table = overlaps(reference.mask_set.frame(0), driving.mask_set.frame(0))
    assert table[0].argmax() == 0 == table[1].argmax()
    assert [(match.reference, match.driving) for match in by_overlap(driving.mask_set, reference.mask_set)] == [
        (0, 1), (1, 0)]


@pytest.mark.parametrize(("theirs", "ours", "labels"), [
    ((2, 5), (), (1,)), ((), (), (1,)), ((2, 5), (4,), (4,)), ((), (6,), (6,)),
], ids=["driving colours", "no colours", "both", "reference colours"])
def test_the_label_follows_the_reference(theirs, ours, labels):
    identities = bound(boxes("driving", LEFT, RIGHT, colours=theirs), RIGHT, colours=ours)
    assert identities.labels == labels
    assert tuple(identities.driving.extents[0].box[0]) == RIGHT
    assert PALETTE[labels[0] - 1] in {tuple(pixel) for pixel in painted(identities, "driving")[0].reshape(-1, 3)}


def test_who_only_touches_is_refused_by_number_and_value():
    driving = boxes("driving", LEFT, MIDDLE)
    with pytest.raises(ValueError, match=r"person 2 of the reference mask overlaps nobody in the first frame of the "
                                         r'driving mask \(intersection over union 0.000 with person 2, .*"1:1, 2:2"'):
        bound(driving, LEFT, RIGHT)


def test_an_empty_first_frame_is_refused():
    late = boxes("driving", LEFT, frames=3)
    empty = boxes("driving", None, frames=3).mask_set.tracks[0].masks[0]
    track = replace(late.mask_set.tracks[0], masks=(empty, *late.mask_set.tracks[0].masks[1:]))
    with pytest.raises(ValueError, match="overlaps nobody in the first frame"):
        bound(replace(late, mask_set=replace(late.mask_set, tracks=(track,))), LEFT)


def test_more_people_in_the_reference_leaves_the_smallest_overlap_out():
    identities = bound(boxes("driving", RIGHT), LEFT, (46, 4, 62, 44))
    assert identities.labels == (2,)
    assert "reference mask: person 1 left out" in report(identities)


def test_sides_of_other_sizes():
    """The reference is a portrait, the driving video a landscape: places are shares of width and height."""
    identities = bound(boxes("driving", (4, 8, 60, 90), (100, 8, 156, 90), size=(96, 160)), (60, 8, 96, 120),
                       size=(128, 100))
    assert tuple(identities.driving.extents[0].box[0]) == (100, 8, 156, 90)
