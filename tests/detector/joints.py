"""What the detector sees -> the joints that SCAIL-2's poses are made of.

BlazePose knows metres from the middle of the hips, and pixels. The place before the camera is the translation that puts
the one onto the other, in the camera of the official code (55 degrees over the longer side).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .landmarks import Array, Body, people

FIELD_OF_VIEW = math.radians(55)
# of each SMPL joint, the landmarks whose mean it is
HIPS, SHOULDERS = (23, 24), (11, 12)
TRUNK = (*HIPS, *SHOULDERS)
SMPL = (HIPS, (23,), (24,), TRUNK, (25,), (26,), TRUNK, (27,), (28,), TRUNK, (31,), (32,), SHOULDERS, (11,), (12,),
        (7, 8), (11,), (12,), (13,), (14,), (15,), (16,), (19,), (20,))
# OpenPose-18: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
BODY = (0, (11, 12), 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
FEET = (31, 31, 29, 32, 32, 30)
# the 68 points of a face among the 468 of the mesh: jaw, brows, nose, eyes, mouth
FACE_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
SEEN = 0.5


def smpl(body: Body, height: int, width: int) -> Array | None:
    """[24, 3] in millimetres before the camera, or None where the hips are not in the picture."""
    hips = body.pixels[[23, 24]]
    if body.visible[[23, 24]].min() < SEEN or (hips < 0).any() or (hips >= (width, height)).any():
        return None
    world = body.world + translation(body, height, width)
    return 1000 * np.stack([world[list(landmarks)].mean(0) for landmarks in SMPL])


def translation(body: Body, height: int, width: int) -> Array:
    """[3] in metres: f (x + t) = (u - c) (z + t) for all landmarks, by least squares, as far as each is seen."""
    focal = max(height, width) / (2 * math.tan(FIELD_OF_VIEW / 2))
    centred = body.pixels - (width / 2, height / 2)
    ones, none = np.full(33, focal), np.zeros(33)
    rows = np.concatenate([np.stack([ones, none, -centred[:, 0]], 1), np.stack([none, ones, -centred[:, 1]], 1)])
    right = (centred * body.world[:, 2:] - focal * body.world[:, :2]).T.reshape(-1)
    weight = np.tile(body.visible, 2)
    return np.linalg.lstsq(rows * weight[:, None], right * weight, rcond=None)[0]


def keypoints(body: Body) -> tuple[Array, Array]:
    """[134, 2] pixels and [134] scores: 18 body, 6 feet, 68 face; the 42 of the hands are unknown."""
    points, scores = np.zeros((134, 2)), np.zeros(134)
    for row, landmark in enumerate((*BODY, *FEET)):
        chosen = list(np.atleast_1d(landmark))
        points[row], scores[row] = body.pixels[chosen].mean(0), body.visible[chosen].min()
    if body.face is not None:
        points[24:92], scores[24:92] = body.face[list(FACE_68)], 0.9
    return points, scores


@dataclass(frozen=True)
class Seen:
    """One person of a clip: joints float32 [T, 1, 24, 3] in mm, points float32 [T, 1, 134, 2] in pixels, their scores
    float32 [T, 1, 134], and outlines bool [T, H, W]. All zero where nobody was seen, and joints where no hips were."""

    joints: NDArray[np.float32]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    outlines: NDArray[np.bool_]


def look(frames: NDArray[np.uint8]) -> Seen:
    """Look for one person in every frame of [T, H, W, 3]."""
    count, height, width = frames.shape[:3]
    seen = Seen(np.zeros((count, 1, 24, 3), np.float32), np.zeros((count, 1, 134, 2), np.float32),
                np.zeros((count, 1, 134), np.float32), np.zeros((count, height, width), bool))
    for t, frame in enumerate(frames):
        for body in people(frame)[:1]:
            seen.points[t, 0], seen.scores[t, 0] = keypoints(body)
            seen.outlines[t] = body.outline
            joints = smpl(body, height, width)
            if joints is not None:
                seen.joints[t, 0] = joints
    return seen
