"""What the check says of the plate: what stays, what has to be invented, and masks and sizes that would be seen."""

import numpy as np
import pytest
import torch
from preflight_jobs import WHOLE, bound, clip, job, texts

from scail_model.identity import mask_sources
from scail_model.inputs.uncovered import left_free, rim
from scail_model.plate.choice import Choice
from scail_model.preflight.checks import check

FRAMES = 9
PERSON = (36, 24, 60, 104)  # of 96x128


def ellipse(box, height=128, width=96):
    """A person without straight sides, bool [H, W]; None is nobody."""
    if box is None:
        return np.zeros((height, width), bool)
    left, top, right, bottom = box
    y, x = np.ogrid[:height, :width]
    return ((x + 0.5 - (left + right) / 2) / (right - left)) ** 2 + (
        (y + 0.5 - (top + bottom) / 2) / (bottom - top)) ** 2 < 0.25


def set_of(*people):
    """Masks by a box for each frame of each person."""
    drawn = [torch.from_numpy(np.stack([ellipse(box) for box in boxes])).float() for boxes in people]
    return mask_sources.from_masks(drawn, "driving").mask_set


def filmed(*people, reference=None, **options):
    """A replacement of round people."""
    identities = bound(*people, mode="replacement", **options)
    pictures = reference or [boxes[0] or WHOLE for boxes in people]
    round_ones = set_of(*([box] for box in pictures))
    return type(identities)(identities.mode, set_of(*people), (round_ones,), identities.labels, identities.names,
                            identities.front, identities.notes)


def found(identities, *levels, plate=None, **changes):
    wanted = levels or ("error", "warning")
    checked = check(job(identities, plate=plate or Choice("composite"), **{"lossless": True, **changes}))
    return {finding.code: finding.text for finding in checked if finding.level in wanted}


def test_what_stays_and_what_is_made():
    """A person of 24x80 grown by 8 and feathered over 8 pixels, at the size of the plate."""
    identities = filmed([PERSON] * FRAMES)
    fact = found(identities, "fact")["plate"]
    y, x = np.ogrid[:128, :96]
    far = np.min([np.hypot(y - row, x - column) for row, column in np.argwhere(ellipse(PERSON))], axis=0) >= 16.5
    assert f"about {far.mean():.0%} of it stay as filmed" in fact
    assert fact.startswith("plate: composite, 96x128;")
    nothing_grown = found(identities, "fact", plate=Choice("lock", 0, 0))["plate"]
    assert f"about {1 - ellipse(PERSON).mean():.0%} of it" in nothing_grown
    assert found(identities) == {}


def test_the_frame_in_which_least_stays_is_named():
    boxes = [PERSON] * 40
    boxes[17] = (10, 10, 86, 120)
    assert "in frame 17 " in found(filmed(boxes), "fact")["plate"]


@pytest.mark.parametrize(("kind", "masks", "doubtful"), [
    ("wider people", ellipse((26, 20, 70, 108)), False), ("black and white exchanged", ~ellipse(PERSON), True),
    ("all white", np.ones((128, 96), bool), True), ("exchanged, small", ~ellipse(PERSON)[::2, ::2], True),
])
def test_given_masks_that_show_the_place_are_told(kind, masks, doubtful):
    given = mask_sources.from_masks([torch.from_numpy(np.stack([masks] * FRAMES)).float()], "plate").mask_set
    told = found(filmed([PERSON] * FRAMES), plate=Choice("composite", given=given)).get("plate_masks", "")
    assert told.startswith("plate_masks cover ") == doubtful, kind


@pytest.mark.parametrize(("kind", "reference", "share"), [
    ("as large", PERSON, None), ("half as wide", (42, 24, 54, 104), "about 6.1% of the picture (50% of blue)"),
    ("wider", (20, 24, 76, 104), None),
    ("half as wide, in a small part of the reference", (44, 40, 52, 92), "% of blue)"),
])
def test_what_smaller_people_leave_free_is_estimated_from_areas(kind, reference, share):
    text = found(filmed([PERSON] * FRAMES, reference=[reference]), "fact").get("uncovered")
    assert (share in text) if share else text is None, kind


def test_masks_of_the_made_people_say_it_exactly():
    made = (36, 24, 60, 64)
    given = set_of([made] * FRAMES)
    share = (ellipse(PERSON) & ~ellipse(made)).mean()
    text = found(filmed([PERSON] * FRAMES), "fact", plate=Choice("composite", given=given))["uncovered"]
    assert text == f"what the driven people leave free has to be invented: {share:.1%} of the picture, by plate_masks"


@pytest.mark.parametrize(("kind", "boxes"), [
    ("nobody in a frame", [None, *[PERSON] * 8]), ("somebody who comes late", [None] * 6 + [PERSON] * 3),
    ("at the edge of the picture", [(70, 24, 94, 104)] * 9), ("half outside", [(84, 24, 108, 104)] * 9),
    ("one frame", [PERSON]), ("cut off by the lower edge", [(36, 60, 60, 140)] * 9)])
def test_other_people_are_measured_too(kind, boxes):
    one, two = filmed(boxes, reference=[PERSON]), filmed([PERSON] * len(boxes), boxes, reference=[PERSON, PERSON])
    for identities in (one, two):
        facts = found(identities, "fact")
        assert "stay as filmed" in facts["plate"], kind
        assert all(0 <= share <= 1 for share in left_free(identities)), kind
        assert "plate_straight" not in found(identities), kind


@pytest.mark.parametrize(("kind", "box", "sides"), [
    ("a box", (36, 24, 60, 104), "left, top, right, bottom"), ("a box at the left edge", (0, 24, 30, 104),
                                                                "top, right, bottom")])
def test_masks_that_end_in_a_straight_line(kind, box, sides):
    identities = bound([box] * FRAMES, mode="replacement")
    assert found(identities)["plate_straight"] == (
        f"The mask of blue ends in a straight line ({sides}), and what of the person lies outside stays as filmed: "
        "check whether the driving mask is cut off or a box."), kind
    assert "plate_straight" not in texts(job(identities))


def test_whom_the_size_cuts_off_stays_in_the_plate():
    """96x128 to 128x64 leaves rows 40 to 87; a single frame would be seen too."""
    inside, low = (36, 44, 60, 84), (36, 44, 60, 96)
    identities = filmed([inside] * 8 + [low], reference=[inside])
    text = found(identities, width=128, height=64)["driving_crop"]
    assert "in 1 of 9 frames (most in frame 8: feet), and the filmed person stays there in the plate:" in text
    assert "driving_crop" not in texts(job(identities, 128, 64))


def test_people_who_are_made_much_smaller_than_they_were_filmed():
    identities = filmed([PERSON] * FRAMES)
    assert "driving video's" not in found(identities, width=32, height=32)["plate_size"]
    assert "made at 32x32, so they are enlarged 3.0 times" in found(identities, width=32, height=32)["plate_size"]


@pytest.mark.parametrize(("kind", "change", "code", "words"), [
    ("nothing stays", {"plate": Choice("composite", 200, 0)}, "plate_little", "plate keeps only 0.0% of the picture"),
    ("the model does not see the place", {"black_background": True}, "plate_background", "set driving_background to"),
    ("grown without a plate", {"plate": Choice(grow=3)}, "plate_grow", "plate_grow is 3, but plate is off"),
    ("feathered without one", {"plate": Choice(feather=0)}, "plate_feather", "plate_feather is 0, but plate is off"),
    ("an outline without one", {"plate": Choice(outline="driven")}, "plate_person", "plate_person is driven, but"),
    ("masks without one", {"plate": Choice(given=set_of([PERSON] * FRAMES))}, "plate_masks", "There are plate_masks"),
])
def test_what_does_not_go_together(kind, change, code, words):
    assert words in found(filmed([PERSON] * FRAMES), "warning", **change)[code], kind


def test_without_a_plate_the_check_says_that_there_is_one():
    told = texts(job(bound([WHOLE] * FRAMES, mode="replacement")), "fact")["plate"]
    assert told == ("plate: off, so the place around the people is made anew although it was filmed; composite keeps "
                    "it, lock also while sampling")
    assert "plate" not in texts(job(), "fact")
    shorter = job(filmed([PERSON] * FRAMES), driving=clip(4, 128, 96), plate=Choice("composite"))
    assert "plate" not in texts(shorter, "fact")  # the masks are an error already


def test_a_rim_is_the_outermost_part():
    mask = ellipse(PERSON)
    for share in (0.2, 0.5):
        free = rim(mask, share)
        assert free[mask].mean() == pytest.approx(share, abs=0.06)
        assert not free[64, 48]
        assert not free[~mask].any()
    assert not rim(mask, 0).any()
    assert not rim(np.zeros((4, 4), bool), 0.5).any()
