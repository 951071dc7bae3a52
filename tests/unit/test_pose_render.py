"""Capsules along limbs: the official pictures (golden cases P1), and pictures of scenes that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scail_model.poses import capsules, official, render_people, render_skeleton
from scail_model.poses.footprint import SPAN, Spans
from tests.unit.golden import pose_case

DRAWN = ("P1_04_end_on", "P1_05_behind", "P1_07_far_10m", "P1_10_two_front", "P1_12_zero_joints", "P1_15_zero_sum")
SILHOUETTE = {"P1_04_end_on": 13}  # pixels that may differ, of official rays that run out of steps; 3 in other cases


def errors(got, want, where) -> np.ndarray:
    return np.abs(got.astype(int) - want)[where]


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture_is_the_official_one(name):
    case, info = pose_case(name)
    got = render_skeleton(torch.from_numpy(case["joints"]), info["height"], info["width"]).numpy()
    people = render_people(torch.from_numpy(case["joints"]), info["height"], info["width"]).numpy()
    assert ((people > 0) != (case["person"] > 0)).sum() <= SILHOUETTE.get(name, 3)
    both = (people > 0) & (case["person"] > 0) & (case["tie"] == 0)
    assert (people[both] == case["person"][both]).all()
    double = errors(got, case["rgb_double"], both)
    assert double.mean() < 0.1  # rounding instead of truncation would give 0.4
    assert np.percentile(double.max(-1), 99) <= 1
    assert double.max() <= 3
    assert errors(got, case["rgb"], both).max() <= 8
    assert (got[people == 0] == 0).all()


def test_a_clip_with_nobody_is_black():
    case, info = pose_case("P1_16_empty")
    got = render_skeleton(torch.from_numpy(case["joints"]), info["height"], info["width"])
    assert got.shape == (2, 256, 192, 3)
    assert not got.any()


@pytest.mark.parametrize(("frames", "people"), [(0, 1), (2, 0)])
def test_no_frames_and_no_people(frames, people):
    joints = torch.zeros(frames, people, 24, 3)
    assert render_skeleton(joints, 8, 6).shape == (frames, 8, 6, 3)
    assert not render_people(joints, 8, 6).any()


def test_frames_rendered_one_by_one_have_the_same_bits():
    case, info = pose_case("P1_10_two_front")
    scene = official._scene(torch.from_numpy(case["joints"]), info["height"], info["width"])
    whole = scene.frames(0, 4)
    for start, stop in ((0, 1), (1, 3), (3, 4), (2, 2)):
        for part, all_frames in zip(scene.frames(start, stop), whole, strict=True):
            assert torch.equal(part, all_frames[start:stop])


def test_the_depth_range_is_that_of_the_clip():
    joints = torch.from_numpy(pose_case("P1_10_two_front")[0]["joints"])
    farther = joints.clone()
    farther[1:, ..., 2] += 4000
    assert not torch.equal(render_skeleton(farther, 192, 256)[0], render_skeleton(joints, 192, 256)[0])


def every_pixel(limbs, height, width) -> Spans:
    """What `footprint.spans` narrows down."""
    limb, row, first = torch.meshgrid(torch.arange(len(limbs)), torch.arange(height), torch.arange(0, width, SPAN),
                                      indexing="ij")
    last = (first + SPAN - 1).clamp(max=width - 1)
    return Spans(limb.flatten(), row.flatten(), first.flatten(), last.flatten())


@pytest.mark.parametrize("scale", [10.0, 60.0, 400.0, 3000.0, 30_000.0])  # mm
@pytest.mark.parametrize("ahead", [0.0, 1.0])  # times the scale
def test_only_pixels_that_a_capsule_cannot_reach_are_left_out(monkeypatch, scale, ahead):
    drawn = torch.Generator().manual_seed(int(scale + ahead))
    joints = torch.randn(12, 2, 24, 3, generator=drawn) * scale
    joints[..., 2] += ahead * scale
    got = render_skeleton(joints, 33, 50), render_people(joints, 33, 50)
    monkeypatch.setattr(capsules, "spans", every_pixel)
    assert torch.equal(got[0], render_skeleton(joints, 33, 50))
    assert torch.equal(got[1], render_people(joints, 33, 50))
    assert got[1].any()


def neck_and_head(neck, head) -> torch.Tensor:
    """One limb: neck and head of one person in one frame."""
    joints = torch.zeros(1, 1, 24, 3)
    joints[0, 0, 12], joints[0, 0, 15] = torch.tensor(neck), torch.tensor(head)
    return joints


def test_a_limb_of_one_point_is_a_disc():
    people = render_people(neck_and_head((0.0, 0.0, 1000.0), (0.0, 0.0, 1000.0)), 101, 101)[0]
    focal = 101 / (2 * math.tan(math.radians(27.5)))
    radius = focal * 21.5 / math.sqrt(1000**2 - 21.5**2)
    y, x = np.mgrid[:101, :101] - 50.5
    assert (people.numpy() == (np.hypot(x, y) <= radius)).all()


def test_the_nearer_of_two_people_is_in_front_whatever_their_order():
    near = neck_and_head((0.0, -80.0, 900.0), (0.0, 80.0, 900.0))
    far = neck_and_head((-80.0, 1.0, 1500.0), (80.0, 1.0, 1500.0))
    for order in ((near, far), (far, near)):
        people = render_people(torch.cat(order, 1), 64, 64)[0]
        assert people[32, 32] == (1 if order[0] is near else 2)


def random_joints(count: int, people: int, seed: int) -> torch.Tensor:
    """Of any size and place, some unknown, coincident or not finite."""
    drawn = torch.Generator().manual_seed(seed)
    power = torch.empty(count, 1, 1, 1).uniform_(-3, 38, generator=drawn)
    power = torch.where(torch.rand(count, 1, 1, 1, generator=drawn) < 0.5, 2.5, power)
    joints = torch.randn(count, people, 24, 3, generator=drawn) * 10**power
    joints[..., 2] += torch.randn(count, 1, 1, generator=drawn) * 3000
    kind = torch.rand(count, people, 24, 1, generator=drawn)
    for least, value in ((0.98, torch.nan), (0.97, torch.inf), (0.96, -torch.inf), (0.9, 0.0)):
        joints = torch.where((kind > least) & (kind < least + 0.02), value, joints)
    same = torch.rand(count, 1, 1, 1, generator=drawn) < 0.05
    return torch.where(same, joints[:, :, :1].expand_as(joints), joints)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_joints_give_a_picture(count):
    joints = random_joints(count, 2, seed=count)
    people = render_people(joints, 48, 64)
    assert people.shape == (count, 48, 64)
    assert 0.05 < people.any(-1).any(-1).float().mean() < 0.95


def test_who_has_faded_to_black_is_in_no_mask():
    joints = torch.from_numpy(pose_case("P1_12_zero_joints")[0]["joints"])[:1]
    far = torch.cat([joints * depth / joints[..., 2].max() for depth in (2_000, 24_000)])
    pixels, people = render_skeleton(far, 1024, 768), render_people(far, 1024, 768)
    assert torch.equal(pixels.any(-1), people > 0)
    assert (people[1] > 0).sum() < (render_people(far[1:], 1024, 768) > 0).sum()  # alone, nothing has faded


def test_arrays_of_any_kind_are_read():
    joints = pose_case("P1_12_zero_joints")[0]["joints"]
    expected = render_skeleton(joints, 64, 48)
    backwards = np.ascontiguousarray(joints[:, :, ::-1])[:, :, ::-1]
    for same in (backwards, np.asfortranarray(joints), joints.astype(">f4"), joints.astype(np.float64), joints.tolist(),
                 torch.from_numpy(joints.copy()).requires_grad_()):
        assert torch.equal(render_skeleton(same, 64, 48), expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_joint_that_is_not_finite_is_missing(value):
    joints = torch.from_numpy(pose_case("P1_12_zero_joints")[0]["joints"]).clone()
    joints[:, :, 18] = 0  # left elbow
    without = render_skeleton(joints, 256, 192)
    joints[:, :, 18, 1] = value
    assert torch.equal(render_skeleton(joints, 256, 192), without)


@pytest.mark.parametrize(("joints", "size", "message"), [
    (torch.zeros(1, 24, 3), (8, 8), r"joints have shape \[1, 24, 3\], but it must be \[T, P, 24, 3\]"),
    (torch.zeros(1, 1, 18, 3), (8, 8), r"joints have shape \[1, 1, 18, 3\]"),
    (torch.zeros(1, 256, 24, 3), (8, 8), "joints are of 256 people, but at most 255 have"),
    (torch.zeros(1, 1, 24, 3), (0, 8), "the picture would have 8x0 pixels: give a positive"),
])
def test_what_cannot_be_rendered(joints, size, message):
    with pytest.raises(ValueError, match=message):
        render_skeleton(joints, *size)
