"""The camera under which a body from one picture stands where another body stands in a reference picture.

The first version of SCAIL retargets with a camera (`--use_align`): focal lengths m f and m s f, principal point moved
by (p, q), within bounds, with the smallest squared distance between projected joints and the reference's points. As a
function of (m, n = m s, p, q) the error is convex and every bound is linear, so its minimum is unique and is found by
going through the sets of active bounds, where the original's general solver stops up to 60 pixels away from it.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch

from .detections import Camera
from .value import official_camera

ZOOM = (0.7, 1.4)  # m
STRETCH = (0.8, 1.15)  # s

# Weight of "as little change as possible" against pixels: decides what the points leave open, and nothing else.
_LEAST_CHANGE = 1e-6
_TOLERANCE = 1e-9


def solve_alignment(points3d: Any, points2d: Any, weights: Any, height: int, width: int, camera: Camera | None = None
                    ) -> tuple[float, float, float, float]:
    """(m, s, p, q) with the smallest weighted squared error of the projections, in pixels.

    points3d: [n,3] millimetres in camera space. points2d: [n,2] pixels (x, y), where they should be seen. weights: [n],
    not negative; points of weight zero are ignored, whatever they hold. camera: fx, fy, cx, cy in pixels, the official
    one of this size by default. A joint (x, y, z) is projected to (fx m x / z + cx + p, fy m s y / z + cy + q), with
    m in 0.7..1.4, s in 0.8..1.15, |p| <= width, |q| <= height.

    What the points leave open (there is one only, or all lie on one spot) is changed as little as possible: one point
    gives a shift, m = s = 1. Raises ValueError for other shapes, for nothing to align, and for values without a place.
    Original: `align3d.py` of SCAIL-Pose.
    """
    joints, targets, shares = _checked(points3d, points2d, weights)
    fx, fy, cx, cy = camera or official_camera(height, width)
    seen = joints[:, :2] / joints[:, 2:] * (fx, fy)  # [n, 2], from the principal point
    roots = np.sqrt(shares / shares.sum())[:, None]
    rows_x = roots * np.stack([seen[:, 0], np.full(len(seen), float(width))], 1)  # times (m, p / width)
    rows_y = roots * np.stack([seen[:, 1], np.full(len(seen), float(height))], 1)  # times (n, q / height)
    goal_x, goal_y = roots[:, 0] * (targets[:, 0] - cx), roots[:, 0] * (targets[:, 1] - cy)
    # Unknowns m, n, p / width, q / height. Every point says something of p and q, but one point nothing of m and n.
    ridge = np.sqrt(_LEAST_CHANGE) * np.array([[1.0, 0, 0, 0], [-1, 1, 0, 0]])
    matrix = np.concatenate([_columns(rows_x, (0, 2)), _columns(rows_y, (1, 3)), ridge])  # [2n + 2, 4]
    goal = np.concatenate([goal_x, goal_y, [np.sqrt(_LEAST_CHANGE), 0]])
    m, n, p, q = _smallest(matrix, goal)
    p, q = np.clip((p, q), -1, 1)
    return float(np.clip(m, *ZOOM)), float(np.clip(n / m, *STRETCH)), float(p * width), float(q * height)


def _checked(points3d: Any, points2d: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points that count, as float64."""
    joints, targets, shares = (torch.as_tensor(each, dtype=torch.float64).detach().cpu().numpy()
                               for each in (points3d, points2d, weights))
    if shares.ndim != 1 or joints.shape != (len(shares), 3) or targets.shape != (len(shares), 2):
        raise ValueError(f"The points to align have the shapes {list(joints.shape)} and {list(targets.shape)} and the "
                         f"weights {list(shares.shape)}, not [n, 3], [n, 2] and [n]: give as many of each.")
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError("A weight of the alignment is negative or not a number: use weights of 0 and more.")
    counted = shares > 0
    joints, targets, shares = joints[counted], targets[counted], shares[counted]
    if not len(shares):
        raise ValueError("There are no points to align: give at least one joint a weight above 0.")
    if not (np.isfinite(joints).all() and np.isfinite(targets).all()):
        raise ValueError("A point to align is not a number: give it the weight 0, or leave it out.")
    if (joints[:, 2] <= 0).any():
        raise ValueError(f"A joint to align has z = {joints[:, 2].min():g} mm, which is not before the camera: give it "
                         "the weight 0, or leave it out.")
    return joints, targets, shares


def _columns(rows: np.ndarray, where: tuple[int, int]) -> np.ndarray:
    """[n, 2] -> [n, 4] with the columns at `where`, zero elsewhere."""
    wide = np.zeros((len(rows), 4))
    wide[:, where] = rows
    return wide


def _smallest(matrix: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The m, n, p, q within the bounds for which matrix @ (m, n, p, q) comes closest to the goal.

    Each of m, n, p, q is free or at one of its two bounds, and n's are multiples of m: 81 least squares of at most four
    unknowns. The best one that keeps all bounds is the minimum.
    """
    best, least = np.zeros(4), np.inf
    for zoom, stretch, right, down in product((None, *ZOOM), (None, *STRETCH), (None, -1, 1), (None, -1, 1)):
        # (m, n, p, q) = fixed + basis @ unknowns
        fixed, columns = np.array([zoom or 0.0, 0.0, right or 0.0, down or 0.0]), []
        tied = np.array([1.0, stretch or 0.0, 0.0, 0.0])
        if zoom is None:
            columns.append(tied)
        else:
            fixed = fixed + zoom * tied * (0, 1, 0, 0)
        columns += [np.eye(4)[i] for i, bound in ((1, stretch), (2, right), (3, down)) if bound is None]
        if columns:
            basis = np.stack(columns, 1)
            fixed = fixed + basis @ np.linalg.lstsq(matrix @ basis, goal - matrix @ fixed, rcond=None)[0]
        error = float(np.sum((matrix @ fixed - goal) ** 2))
        if error < least and _within(fixed):
            best, least = fixed, error
    return best


def _within(unknowns: np.ndarray) -> bool:
    m, n, p, q = unknowns
    return (ZOOM[0] - _TOLERANCE <= m <= ZOOM[1] + _TOLERANCE
            and STRETCH[0] * m - _TOLERANCE <= n <= STRETCH[1] * m + _TOLERANCE
            and max(abs(p), abs(q)) <= 1 + _TOLERANCE)
