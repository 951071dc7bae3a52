"""Bodies from core's SAM3D Body: MHR_POSE_DATA -> joints, and the points of both hands.

A person has 70 key points in metres, y down, z away from the camera; `pred_cam_t` moves them before a camera that looks
at the centre of the picture with `focal_length` pixels. Only SMPL's head has no counterpart among them; core's own
SCAIL style makes one of nose, neck and spine. With SAM3 tracks, each frame lists the tracked people in one order, and a
body is invented in the whole frame for somebody whose mask is empty there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .detections import ANY, STEADY, Bodies, Camera, Detail, finite, not_finite_note, numbers, project
from .value import JOINTS, LEFT_HAND, POINTS, RIGHT_HAND

# MHR's key point of each of the first 14 joints; the head is made of the nose.
_BODY = (0, 69, 6, 8, 41, 5, 7, 62, 10, 12, 14, 9, 11, 13)
_HEAD, _NECK, _RIGHT_HIP, _LEFT_HIP = 0, 1, 8, 11
# Wrist, then each finger from its root to its tip, thumb first.
_RIGHT = (41, 24, 23, 22, 21, 28, 27, 26, 25, 32, 31, 30, 29, 36, 35, 34, 33, 40, 39, 38, 37)
_LEFT = (62, 45, 44, 43, 42, 49, 48, 47, 46, 53, 52, 51, 50, 57, 56, 55, 54, 61, 60, 59, 58)
_KEY_POINTS = 70
_UPWARDS, _TOWARDS_NOSE = 0.6, 0.4  # shares of spine and nose in the direction of the head
_MILLIMETRES = 1000
_PARTS = ("pred_keypoints_3d", "pred_cam_t", "focal_length")


def read_mhr(data: Mapping[str, Any]) -> Bodies:
    """Read MHR_POSE_DATA. All bodies come before one camera, of the focal length that most of them have; the depth of
    the others is scaled, so that every joint projects to the pixel where it did.

    Raises ValueError without frames, and for people without the parts that SAM3DBody_Predict gives.
    """
    size = data.get("image_size")
    frames = [() if frame is None else frame for frame in data.get("frames") or ()]
    if not frames or size is None or len(size) != 2 or not all(0 < side < float("inf") for side in size):
        raise ValueError("The pose data has no frames of SAM3D Body, or no size of their pictures: connect the output "
                         "of SAM3DBody_Predict.")
    data = {**data, "frames": frames}
    height, width = map(int, size)
    people = [[_person(person, frame) for person in listed] for frame, listed in enumerate(frames)]
    focal = _usual_focal(frames)
    camera = focal, focal, width / 2, height / 2
    read = [_joints_and_points(listed, camera, (height, width)) for listed in people]
    notes = not_finite_note(points[list(_BODY)] for listed in people for points, _, _ in listed)
    return Bodies(tuple(joints for joints, _, _ in read), (height, width), camera, _order(frames),
                  Detail(tuple((points, scores) for _, points, scores in read), (height, width)), data, notes)


def _usual_focal(frames: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    """The focal length, in pixels, that most people of all frames have; 1 if there is nobody."""
    focals = [focal_of(person) for people in frames for person in people]
    values, counts = np.unique([focal for focal in focals if np.isfinite(focal)], return_counts=True)
    return float(values[counts.argmax()]) if len(values) else 1.0


def focal_of(person: Mapping[str, Any]) -> float:
    """Focal length in pixels of the camera that one person was found with; NaN for one that no camera has."""
    focal = numbers(person["focal_length"]).ravel()
    return float(focal[0]) if len(focal) and focal[0] > 0 else float("nan")


def _person(person: Mapping[str, Any], frame: int) -> tuple[Tensor, float, bool]:
    """Key points [70, 3] in millimetres before the person's own camera, its focal length, and whether SAM3 saw the
    person in this frame."""
    missing = [part for part in _PARTS if not isinstance(person, Mapping) or person.get(part) is None]
    if missing:
        raise ValueError(f"A person in frame {frame} of the pose data has no {missing[0]}: connect the output of "
                         "SAM3DBody_Predict.")
    points, place = numbers(person["pred_keypoints_3d"]), numbers(person["pred_cam_t"])
    if place.size != 3:
        raise ValueError(f"A person in frame {frame} of the pose data has a pred_cam_t of shape {list(place.shape)}, "
                         "but SAM3D Body gives [3]: connect the output of SAM3DBody_Predict.")
    if points.ndim != 2 or len(points) < _KEY_POINTS or points.shape[1] != 3:
        raise ValueError(f"A person in frame {frame} of the pose data has key points of shape {list(points.shape)}, "
                         f"but SAM3D Body gives [{_KEY_POINTS}, 3]: connect the output of SAM3DBody_Predict.")
    moved = points[:_KEY_POINTS] + place.reshape(3)
    mask = person.get("mask")
    return torch.from_numpy(moved * _MILLIMETRES), focal_of(person), mask is None or bool(numbers(mask).any())


def _joints_and_points(people: Sequence[tuple[Tensor, float, bool]], camera: Camera, size: tuple[int, int]
                       ) -> tuple[Tensor, Tensor, Tensor]:
    """A frame's people -> joints [n, 18, 3], points [n, 134, 2] and their scores [n, 134]; those who were invented
    are unknown throughout."""
    joints = torch.zeros(len(people), JOINTS, 3)
    points, scores = torch.zeros(len(people), POINTS, 2), torch.zeros(len(people), POINTS)
    for index, (key_points, focal, seen) in enumerate(people):
        if not seen:
            continue
        depths = torch.tensor([1.0, 1.0, camera[0] / focal], dtype=torch.float64)
        key_points = key_points * depths
        joints[index, : len(_BODY)] = finite(_body(key_points))
        pixels = project(key_points, camera)
        # without nose, eyes and ears: their points are drawn as cheeks, and it is not known which of them are hidden
        for places, chosen in ((slice(1, len(_BODY)), _BODY[1:]), (LEFT_HAND, _LEFT), (RIGHT_HAND, _RIGHT)):
            part = pixels[list(chosen)].float()
            inside = ((part >= 0) & (part < torch.tensor(size[::-1]))).all(-1)
            points[index, places] = torch.where(inside[:, None], part, torch.zeros(()))
            scores[index, places] = inside.float()
    return joints, points, scores


def _body(key_points: Tensor) -> Tensor:
    """Key points [70, 3] -> joints [14, 3], the first of them SMPL's head as core makes it: half as far from the neck
    as the nose, in a direction between spine and nose."""
    body = key_points[list(_BODY)]
    neck = body[_NECK]
    nose, spine = body[_HEAD] - neck, neck - (body[_RIGHT_HIP] + body[_LEFT_HIP]) / 2
    if nose.norm() > 0 and spine.norm() > 0:
        direction = _UPWARDS * spine / spine.norm() + _TOWARDS_NOSE * nose / nose.norm()
        body[_HEAD] = neck + direction / direction.norm() * nose.norm() / 2
    return body


def _order(frames: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """People with masks come from tracks, and so in one order."""
    masked = all(person.get("mask") is not None for people in frames for person in people)
    return STEADY if masked and any(frames) and len({len(people) for people in frames if people}) == 1 else ANY
