"""Retargeting's camera: the official one where its solver converges, and the true minimum everywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scail_model.poses.alignment import STRETCH, ZOOM, solve_alignment
from scail_model.poses.value import official_camera

CASES = sorted((Path(__file__).parents[1] / "golden" / "poses").glob("P4_*.npz"))
HEIGHT, WIDTH = 896, 512


def projected(points, answer, height=HEIGHT, width=WIDTH):
    m, s, p, q = answer
    fx, fy, cx, cy = official_camera(height, width)
    return np.stack([fx * m * points[:, 0] / points[:, 2] + cx + p,
                     fy * m * s * points[:, 1] / points[:, 2] + cy + q], 1)


def error(points, targets, weights, answer):
    return float((weights[:, None] * (projected(points, answer) - targets) ** 2).sum())


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_meets_the_true_minimum_of_the_golden_cases(case):
    golden = np.load(case)
    info = json.loads(str(golden["info"]))
    size = info["height"], info["width"]
    answer = solve_alignment(golden["points3d"], golden["points2d"], golden["weights"], *size)
    assert answer == pytest.approx(golden["exact"][:4], abs=1e-5)
    gap = projected(golden["points3d"], answer, *size) - projected(golden["points3d"], golden["exact"][:4], *size)
    assert np.abs(gap).max() < 1e-3


def searched(points, targets, weights):
    """The smallest error by search: over m and s in ever finer grids, p and q in closed form (one-dimensional)."""
    fx, fy, cx, cy = official_camera(HEIGHT, WIDTH)
    across, down = fx * points[:, 0] / points[:, 2], fy * points[:, 1] / points[:, 2]

    def along(scales, seen, goal, limit):
        rest = goal - scales[:, None] * seen  # [k, n]
        shift = np.clip((rest * weights).sum(1) / weights.sum(), -limit, limit)
        return ((rest - shift[:, None]) ** 2 * weights).sum(1)

    low, high = np.array([ZOOM[0], STRETCH[0]]), np.array([ZOOM[1], STRETCH[1]])
    least = np.inf
    for _ in range(14):
        ms, ss = np.linspace(low[0], high[0], 81), np.linspace(low[1], high[1], 81)
        m, s = (grid.ravel() for grid in np.meshgrid(ms, ss, indexing="ij"))
        errors = along(m, across, targets[:, 0] - cx, WIDTH) + along(m * s, down, targets[:, 1] - cy, HEIGHT)
        least = min(least, errors.min())
        best = np.array([m[errors.argmin()], s[errors.argmin()]])
        reach = (high - low) / 5
        low = np.maximum([ZOOM[0], STRETCH[0]], best - reach)
        high = np.minimum([ZOOM[1], STRETCH[1]], best + reach)
    return least


@pytest.mark.parametrize("spread", [20, 120, 600, 2500], ids=lambda px: f"{px}px")
@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_search_finds_a_smaller_error(spread, count):
    """Wide targets press against every bound; narrow ones against none."""
    random = np.random.default_rng(count * spread)
    for _ in range(4):
        points = random.normal([0, 0, 3000], [400, 700, 200], (count, 3))
        targets = random.normal([WIDTH / 2, HEIGHT / 2], spread, (count, 2))
        weights = random.choice([1.0, 4.0, 8.0], count)
        answer = solve_alignment(points, targets, weights, HEIGHT, WIDTH)
        m, s, p, q = answer
        assert ZOOM[0] <= m <= ZOOM[1]
        assert STRETCH[0] <= s <= STRETCH[1]
        assert abs(p) <= WIDTH
        assert abs(q) <= HEIGHT
        assert error(points, targets, weights, answer) <= searched(points, targets, weights) * (1 + 1e-6) + 1e-4


def test_what_the_points_leave_open_is_not_changed():
    one = solve_alignment([[100.0, -300, 3000]], [[300.0, 200]], [1.0], HEIGHT, WIDTH)
    assert one[:2] == pytest.approx((1, 1), abs=1e-6)
    points = np.array([[100.0, -300, 3000]])
    assert projected(points, one) == pytest.approx(np.array([[300, 200]]), abs=1e-3)
    spot = solve_alignment([[100.0, -300, 3000]] * 3, [[300.0, 200], [310, 200], [320, 200]], [1, 1, 1], HEIGHT, WIDTH)
    assert projected(points, spot) == pytest.approx(np.array([[310, 200]]), abs=1e-3)
    upright = solve_alignment([[0.0, -500, 3000], [0, 500, 3000]], [[256.0, 300], [256, 600]], [1, 1], HEIGHT, WIDTH)
    assert upright[0] * upright[1] == pytest.approx(300 / (official_camera(HEIGHT, WIDTH)[1] / 3), abs=1e-4)


GOOD = ([[100.0, -300, 3000], [0, 500, 3000]], [[300.0, 200], [256, 600]], [1.0, 1.0])
BAD = {
    "none": (([], [], []), "have the shapes"),
    "nothing counts": ((GOOD[0], GOOD[1], [0, 0]), "no points to align: .* a weight above 0"),
    "at the camera": (([[1, 1, 0], [0, 500, 3000]], GOOD[1], GOOD[2]), "z = 0 mm, .* give it the weight 0"),
    "after the camera": (([[1, 1, -20], [0, 500, 3000]], GOOD[1], GOOD[2]), "z = -20 mm"),
    "NaN joint": (([[np.nan, 1, 9], [0, 500, 3000]], GOOD[1], GOOD[2]), "not a number: give it the weight 0"),
    "NaN point": ((GOOD[0], [[np.nan, 1], [0, 5]], GOOD[2]), "not a number"),
    "negative weight": ((GOOD[0], GOOD[1], [1, -1]), "negative or not a number: use weights of 0 and more"),
    "too few weights": ((GOOD[0], GOOD[1], [1]), r"give as many of each"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refuses_what_has_no_answer(kind):
    arguments, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        solve_alignment(*arguments, HEIGHT, WIDTH)


def test_arrays_and_tensors_of_any_kind_are_read():
    asked = solve_alignment(*GOOD, HEIGHT, WIDTH)
    tensors = [torch.tensor(each, requires_grad=True) for each in GOOD]
    for given in (tensors, [np.array(each, np.float32) for each in GOOD], [np.array(each) for each in GOOD]):
        assert solve_alignment(*given, HEIGHT, WIDTH) == pytest.approx(asked, abs=1e-5)


def test_ignored_points_may_hold_anything():
    points, targets, weights = GOOD
    with_junk = solve_alignment([*points, [np.nan, 0, -1]], [*targets, [np.inf, 0]], [*weights, 0], HEIGHT, WIDTH)
    assert with_junk == pytest.approx(solve_alignment(*GOOD, HEIGHT, WIDTH))
