"""What the check says of driving videos that do not show filmed people."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from drawn_bodies import body
from preflight_jobs import WHOLE, bound, encoded, job, texts

from scail_model.identity import binding, mask_sources
from scail_model.media.clips import TensorClip
from scail_model.media.retiming import PickedClip
from scail_model.poses.pose_clip import PoseClip
from scail_model.poses.pose_masks import driving_source
from scail_model.poses.value import Poses, from_smpl
from scail_model.preflight.checks import check

TWO = [(8, 16, 40, 112)] * 17, [(56, 16, 88, 112)] * 17


@pytest.mark.parametrize("name", ["dog", "Dog", "the old dog", "my cat 2", "guard-dog"])
def test_somebody_who_is_called_an_animal_is_told_what_to_expect(name):
    found = texts(job(bound([WHOLE] * 17, names=name)), "fact")["animal"]
    assert found.startswith(f"{name} (blue) has the name of an animal")
    assert "zero-shot" in found


@pytest.mark.parametrize("name", ["", "Anna", "Catherine", "Dogan", "hotdogs", "狗"])
def test_others_are_people(name):
    assert "animal" not in texts(job(bound([WHOLE] * 17, names=name)), "fact")


def test_only_the_animal_among_several_is_meant():
    (found,) = said(job(bound(*TWO, names="Anna, horse")), "animal")
    assert found.startswith("horse (red)")


def said(job, code):
    return [finding.text for finding in check(job) if finding.code == code]


HIGH, WIDE = 160, 96  # of `drawn_bodies`


def poses(**changes):
    """Two people who stand, for 17 frames."""
    joints = torch.stack([torch.stack([body(24.0), body(72.0)])] * 17)
    return replace(Poses.of(from_smpl(joints), (HIGH, WIDE), names=("Anna", "red")), **changes)


def posed(driving=None, masks=None, mode="animation", width=704, height=1280, rows=(40, 120)):
    """A job that is driven by rendered poses, with their own masks unless told otherwise. rows: of the references."""
    driving = driving or PoseClip(poses(rate=Fraction(16)))
    boxes = [torch.zeros(1, HIGH, WIDE) for _ in range(2)]
    boxes[0][:, slice(*rows), 12:36], boxes[1][:, slice(*rows), 60:84] = 1, 1
    reference = mask_sources.from_masks(boxes, "reference")
    identities = binding.bind(mode, masks or driving_source(poses()), [reference])
    return job(identities, width, height, driving=driving, reference_masks=encoded(identities, height, width))


def test_poses_with_their_own_masks_are_a_fact_with_who_is_in_them():
    noted = PoseClip(poses(rate=Fraction(16), notes=("3 missing poses were held, in gaps of at most 3 frames",)))
    found = [(finding.level, finding.text) for finding in check(posed(noted)) if finding.code.startswith("poses")]
    assert found == [("fact", "the driving video is rendered from poses of Anna (blue), red"),
                     ("fact", "3 missing poses were held, in gaps of at most 3 frames")]


def test_a_skeleton_is_not_compared_with_an_outline():
    """A skeleton is smaller than the outline of its own person, so a reference of the right size would be too large."""
    driven = posed(rows=(5, 155))
    assert not said(driven, "scale")


def test_skeletons_in_a_video_are_not_compared_with_an_outline_either():
    """As Render SCAIL-2 Poses and `scail2 prepare` give them. Outlines of people are compared."""
    frames = PoseClip(poses()).read(0, 17)
    masks = replace(driving_source(poses()), rendered=False)
    video = posed(TensorClip(frames, Fraction(16)), masks, rows=(5, 155))
    assert not said(video, "scale")
    assert any("as thin as those of rendered poses" in text for text in said(video, "poses"))
    outlines = [torch.zeros(17, HIGH, WIDE) for _ in range(2)]
    outlines[0][:, 40:110, 8:40], outlines[1][:, 40:110, 56:88] = 1, 1
    people = posed(TensorClip(torch.zeros_like(frames), Fraction(16)), mask_sources.from_masks(outlines, "driving"),
                   rows=(5, 155))
    assert said(people, "scale")
    assert not said(people, "poses")


def test_poses_that_are_read_at_another_rate_are_poses():
    half = PickedClip(PoseClip(poses(rate=Fraction(16))), range(0, 17, 2), Fraction(8))
    masks = driving_source(poses().picked(range(0, 17, 2)))
    assert said(posed(half, masks), "poses")


def test_a_small_result_of_poses_hears_the_authors_advice():
    (found,) = said(posed(width=512, height=896), "poses_size")
    assert found == "the result is 512x896; the authors advise 704p for rendered poses"


def test_replacement_has_no_place_to_keep():
    (found,) = [finding for finding in check(posed(mode="replacement")) if finding.code == "poses_mode"]
    assert found.level == "error"
    assert found.text.startswith("The driving video is rendered from poses and shows no place")


def test_outlines_of_people_are_no_masks_of_their_skeletons():
    outlines = [torch.zeros(17, HIGH, WIDE) for _ in range(2)]
    outlines[0][:, 20:150, 4:44], outlines[1][:, 20:150, 52:92] = 1, 1
    (found,) = said(posed(masks=mask_sources.from_masks(outlines, "driving")), "poses_masks")
    assert found.startswith("The driving masks cover")
    assert "connect the poses to driving_masks" in found


def test_a_filmed_video_with_the_masks_of_skeletons():
    driven = posed()
    filmed = TensorClip(torch.full((17, HIGH, WIDE, 3), 90, dtype=torch.uint8))
    (found,) = said(replace(driven, driving=filmed), "poses_masks")
    assert found.startswith("The driving masks are those of rendered poses, but the driving video shows more than")
    pictures = driven.driving.read(0, 17)
    assert not said(replace(driven, driving=TensorClip(pictures, Fraction(16))), "poses_masks")


def test_masks_of_other_poses():
    """As where poses are retargeted for the one input and not for the other."""
    moved = poses()
    moved = replace(moved, cameras=moved.cameras + torch.tensor([0.0, 0, 8, 0]))
    (found,) = said(posed(masks=driving_source(moved)), "poses_masks")
    assert found.startswith("The driving masks are of other poses than those that are rendered")
    assert not said(posed(), "poses_masks")


def test_a_filmed_video_is_not_poses():
    assert not [code for code in texts(job(), "fact") if code.startswith("poses")]
