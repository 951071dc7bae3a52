"""Faces, hands and cheeks over the capsules: the official drawing (golden cases P2 and P3), pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scail_model.poses import draw_overlay, overlay
from tests.unit.golden import pose_case

DRAWN = ("P2_02_min512_one", "P2_04_min600_one", "P2_05_min704_two", "P2_06_min480_close_up_cut",
         "P2_08_min512_two_overlap")


@pytest.mark.parametrize("name", DRAWN)
def test_the_drawing_is_the_official_one(name):
    case, info = pose_case(name)
    got = draw_overlay(torch.from_numpy(case["kp134"]), torch.from_numpy(case["score134"]), info["height"],
                       info["width"]).numpy()
    top, bottom, left, right = case["box"]
    want = np.zeros_like(got)
    want[top:bottom, left:right] = case["rgb"]
    assert (got == want).all()


def test_people_are_drawn_the_same_alone():
    case, info = pose_case("P2_05_min704_two")
    top, bottom, left, right = case["box"]
    for points, scores, want in zip(case["kp134"], case["score134"], case["person_rgb"], strict=True):
        got = draw_overlay(points[None], scores[None], info["height"], info["width"]).numpy()
        assert (got[top:bottom, left:right] == want).all()


def test_a_cut_out_is_drawn_as_the_whole_picture_is(monkeypatch):
    drawn, cases = np.random.default_rng(0), []
    for spread in (3, 30, 300) * 40:
        height, width = drawn.integers(16, 700, 2)
        corner = drawn.uniform(-0.3, 1.3, 2) * (width, height)
        points = (corner + drawn.normal(0, spread, (1, 134, 2))).astype(np.float32)
        cases.append((points, drawn.random((1, 134), np.float32), int(height), int(width)))
    got = [draw_overlay(*case) for case in cases]
    monkeypatch.setattr(overlay, "_MARGIN", 10_000)
    assert all(torch.equal(one, draw_overlay(*case)) for one, case in zip(got, cases, strict=True))
    assert sum(one.any().item() for one in got) > 60


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9, -1e30])
def test_points_at_no_place_are_not_drawn(value):
    case, info = pose_case("P2_02_min512_one")
    points, scores, size = case["kp134"].copy(), case["score134"], (info["height"], info["width"])
    scores = scores.copy()
    points[:, 16:100:7] = value
    got = draw_overlay(points, scores, *size)
    scores[:, 16:100:7] = 0
    assert torch.equal(got, draw_overlay(points, scores, *size))
    assert not draw_overlay(np.full_like(points, value), np.ones_like(scores), *size).any()


def test_nobody_is_drawn():
    assert draw_overlay(torch.zeros(0, 134, 2), torch.zeros(0, 134), 5, 7).shape == (5, 7, 3)
    assert not draw_overlay(torch.full((1, 134, 2), 4.0), torch.zeros(1, 134), 9, 9).any()


def test_arrays_of_any_kind_are_drawn():
    points, scores = torch.rand(2, 134, 2) * 40, torch.ones(2, 134)
    expected = draw_overlay(points, scores, 40, 40)
    backwards = np.ascontiguousarray(points.numpy()[:, ::-1])[:, ::-1]
    assert torch.equal(draw_overlay(backwards, scores.bool().numpy(), 40, 40), expected)
    assert torch.equal(draw_overlay(points.clone().requires_grad_(), scores.tolist(), 40, 40), expected)


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"points have shape \[133, 2\] and scores \[1, 134\], but they must be"):
        draw_overlay(torch.zeros(133, 2), torch.zeros(1, 134), 8, 8)
    with pytest.raises(ValueError, match="8x-1 pixels: give a positive width and height"):
        draw_overlay(torch.zeros(1, 134, 2), torch.zeros(1, 134), -1, 8)
