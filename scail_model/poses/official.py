"""The official pictures of joints and points, as functions of tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .overlay import added, drawings
from .scene import Scene
from .value import POINTS, SMPL_JOINTS, Look, Poses, from_smpl, official_camera

_MOST = 255  # people in a picture


def render_skeleton(joints: Tensor | np.ndarray, height: int, width: int) -> Tensor:
    """Capsules along the limbs of joints [T, P, 24, 3] (SMPL's, millimetres before the official camera, float32), as
    SCAIL-Pose renders them: uint8 [T, H, W, 3].

    One person has the strong colours, several have the pale and the strong ones in turn. An all-zero or not finite
    joint is missing, and an all-zero person is not there. Colours fade with depth, over the range of the whole clip.
    Source: golden cases P1. Raises ValueError for another shape, and for a size that is not positive.
    """
    return _scene(joints, height, width).frames(0, len(joints))[0]


def render_people(joints: Tensor | np.ndarray, height: int, width: int) -> Tensor:
    """Whom each pixel of `render_skeleton` shows: uint8 [T, H, W], 0 nobody, else 1 + the person in front."""
    return _scene(joints, height, width).frames(0, len(joints))[1]


def draw_overlay(points: Tensor | np.ndarray, scores: Tensor | np.ndarray, height: int, width: int) -> Tensor:
    """Cheeks, hands and faces of people on black, as SCAIL-Pose draws them: uint8 [H, W, 3].

    points: [P, 134, 2] pixels (x, y). scores: [P, 134]; points below 0.3 are not drawn. Where two people's drawings
    overlap, their levels are added modulo 256. Source: golden cases P2. Raises ValueError for another shape, and for a
    size that is not positive; RuntimeError without OpenCV.
    """
    places, sure = _floats(points).cpu(), _floats(scores).cpu()
    _check_size(height, width)
    if places.ndim != 3 or places.shape[1:] != (POINTS, 2) or sure.shape != places.shape[:2]:
        raise ValueError(f"points have shape {list(places.shape)} and scores {list(sure.shape)}, but they must be [P, "
                         f"{POINTS}, 2] and [P, {POINTS}]: give all people of one frame.")
    parts = [part for _, part in drawings(places.numpy(), sure.numpy(), height, width, Look())]
    return torch.from_numpy(added(parts, height, width))


def _scene(joints: Tensor | np.ndarray, height: int, width: int) -> Scene:
    given = _floats(joints)
    _check_size(height, width)
    if given.ndim != 4 or given.shape[2:] != (SMPL_JOINTS, 3):
        raise ValueError(f"joints have shape {list(given.shape)}, but it must be [T, P, {SMPL_JOINTS}, 3]: give SMPL's "
                         "joints of all people in each frame.")
    if given.shape[1] > _MOST:
        raise ValueError(f"joints are of {given.shape[1]} people, but at most {_MOST} have a number of 8 bits: leave "
                         "people out.")
    camera = torch.tensor([official_camera(height, width)] * given.shape[1], dtype=torch.float64).reshape(-1, 4)
    people = tuple(range(1, given.shape[1] + 1))
    poses = Poses(from_smpl(given), (height, width), camera, people, tuple(map(str, people)))
    return Scene.of(poses)


def _floats(values: Tensor | np.ndarray) -> Tensor:
    """Arrays of any kind, such as views backwards, which PyTorch does not have."""
    return values.detach().float() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, np.float32))


def _check_size(height: int, width: int) -> None:
    if min(height, width) < 1:
        raise ValueError(f"the picture would have {width}x{height} pixels: give a positive width and height.")
