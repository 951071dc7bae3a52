"""Where the heads of poses are, in pixels: from the points of the face, else from the joints."""

from __future__ import annotations

import numpy as np
import torch

from .value import FACE, Poses

_SURE = 0.3  # score
_ON_HEAD = (0, 14, 15, 16, 17)  # nose, eyes, ears
_FOREHEAD = 0.6  # how far a head goes above the points of a face, as a share of their height
_SIDES = 0.15  # and beside them
_BY_SHOULDERS = 0.75  # height of a head, by the distance of the shoulders
_SHOULDERS = 2, 5


def head_edges(poses: Poses, person: int) -> tuple[np.ndarray, np.ndarray]:
    """Left, top, right and bottom of a head in each frame, float64 [T, 4] in pixels of the poses' pictures, and in
    which frames it is known, bool [T]."""
    edges, seen = np.zeros((poses.frames, 4)), np.zeros(poses.frames, bool)
    for frame in range(poses.frames):
        found = _of_face(poses, person, frame)
        found = _of_joints(poses, person, frame) if found is None else found
        if found is not None and np.isfinite(found).all():
            edges[frame], seen[frame] = found, True
    return edges, seen


def head_places(poses: Poses, person: int) -> tuple[np.ndarray, np.ndarray]:
    """The middles of a person's head, float64 [T, 2] as shares of the picture, and where they are known."""
    edges, seen = head_edges(poses, person)
    return (edges[:, :2] + edges[:, 2:]) / 2 / np.array(poses.size[::-1]), seen


def _of_face(poses: Poses, person: int, frame: int) -> tuple[float, float, float, float] | None:
    if poses.points is None or poses.scores is None:
        return None
    points, scores = poses.points[frame, person], poses.scores[frame, person]
    found = points[FACE][scores[FACE] > _SURE]
    if len(found) < 5:
        return None
    (left, top), (right, bottom) = found.amin(0).tolist(), found.amax(0).tolist()
    height, width = bottom - top, right - left
    return left - _SIDES * width, top - _FOREHEAD * height, right + _SIDES * width, bottom + _SIDES * height


def _of_joints(poses: Poses, person: int, frame: int) -> tuple[float, float, float, float] | None:
    joints = poses.joints[frame, person].double()
    known = joints.ne(0).any(-1) & joints.isfinite().all(-1) & (joints[:, 2] > 0)
    on_head = [joint for joint in _ON_HEAD if known[joint]]
    if not on_head or not all(known[joint] for joint in _SHOULDERS):
        return None
    fx, fy, cx, cy = poses.cameras[person].tolist()
    middle = joints[on_head].mean(0)
    across = float(torch.linalg.vector_norm(joints[_SHOULDERS[0]] - joints[_SHOULDERS[1]]))
    x, y, depth = middle.tolist()
    half = _BY_SHOULDERS * across * fy / depth / 2
    left, top = cx + fx * x / depth, cy + fy * y / depth - 0.2 * half
    return left - 0.85 * half, top - half, left + 0.85 * half, top + half
