"""Poses in plain files, as users of any detector can write them: .npz archives or .json objects with these entries.

    joints   [frames, people, 24 or 18, 3], or without people for one person: SMPL's joints, or the 18 of `Poses`, in
             millimetres before the camera; a person who is not in a frame is all zero. In .json, frames may list
             different numbers of people
    size     [height, width] of the pictures; may be left out if the caller knows it
    focal    pixels; the official camera's if left out
    rate     frames per second; may be left out
    points   [frames, people, 134, 2], pixels, and scores [frames, people, 134]; may be left out
    names    of the people; may be left out
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .detections import LEAST_SCORE, Camera, Detail, check_unit, no_points, nobody
from .value import JOINTS, POINTS, SMPL_JOINTS, from_smpl, official_camera

_SHARES = 2.0  # pixels: nobody is seen in so few


class Plain(NamedTuple):
    """What a plain file has. frames: people [n, 18, 3] in each. size: (height, width) in pixels. names: as many as the
    file gives, "" for unknown ones."""

    frames: list[Tensor]
    size: tuple[int, int]
    camera: Camera
    detail: Detail | None
    rate: Fraction | None
    names: list[str]


def read_plain(path: Path, size: tuple[int, int] | None) -> Plain:
    """Read a plain file. size: (height, width) of the pictures, if it does not say it.

    Raises RuntimeError for another file, ValueError for joints in another unit.
    """
    values = _entries(path)
    if values.get("joints") is None:
        raise RuntimeError(f"{path.name} has no joints: write an entry joints, [frames, people, {SMPL_JOINTS}, 3], in "
                           "millimetres before the camera.")
    height, width = _size(values, size, path)
    frames = [_joints(people, path) for people in _frames(values, "joints", path)]
    check_unit(frames, path.name)
    names = [] if values.get("names") is None else np.asarray(values["names"]).ravel().tolist()
    return Plain(frames, (height, width), _camera(values, height, width, path), _detail(values, (height, width), path),
                 _rate(values, path), ["" if name is None else str(name) for name in names])


def _entries(path: Path) -> Mapping[str, Any]:
    """The entries of a plain file."""
    if path.suffix.lower() == ".json":
        values = read_json(path)
        if not isinstance(values, Mapping) or "people" in values:
            raise RuntimeError(f"{path.name} has key points of pictures, but poses need joints in space: give it as "
                               "detail, beside a file with joints.")
        return values
    if path.suffix.lower() != ".npz":
        raise RuntimeError(f"{path.name} is not a file of poses: use .safetensors, .npz or .json.")
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RuntimeError(f"{path.name} cannot be read as an .npz archive of numbers ({error}): write it again with "
                           "numpy.savez.") from error


def read_json(path: Path) -> Any:
    """Raises RuntimeError for a file that is not JSON."""
    try:
        return json.loads(path.read_bytes())  # in UTF-8 or UTF-16, with a byte order mark or without
    except (OSError, ValueError, RecursionError) as error:
        raise RuntimeError(f"{path.name} cannot be read as JSON ({error}): write it again.") from error


def _size(values: Mapping[str, Any], given: tuple[int, int] | None, path: Path) -> tuple[int, int]:
    size = _array(values.get("size", given if given else []), path, "size").ravel()
    if len(size) != 2 or not (np.isfinite(size) & (size >= 1)).all():
        raise RuntimeError(f"{path.name} has no size: write an entry size, [height, width] of the pictures.")
    return int(size[0]), int(size[1])


def _camera(values: Mapping[str, Any], height: int, width: int, path: Path) -> Camera:
    if values.get("focal") is None:
        return official_camera(height, width)
    pixels = _number(values, "focal", "focal length", "one number of pixels, or leave it out", path)
    return pixels, pixels, width / 2, height / 2


def _rate(values: Mapping[str, Any], path: Path) -> Fraction | None:
    if values.get("rate") is None:
        return None
    return Fraction(_number(values, "rate", "rate", "frames per second", path)).limit_denominator(1001)


def _number(values: Mapping[str, Any], name: str, title: str, meaning: str, path: Path) -> float:
    """An entry of one number above 0, or of equal ones."""
    given = np.unique(_array(values[name], path, name))
    if len(given) != 1 or not 0 < given[0] < np.inf:
        found = " and ".join(f"{value:g}" for value in given[:2]) or "nothing"
        raise RuntimeError(f"{path.name} has a {title} of {found}: write {meaning}.")
    return float(given[0])


def _frames(values: Mapping[str, Any], name: str, path: Path) -> Sequence[Any]:
    """The frames of an entry."""
    found = values[name]
    if not isinstance(found, list) and not (isinstance(found, np.ndarray) and found.ndim):
        raise RuntimeError(f"{path.name} has {name} that are not a list of frames: write one entry for each frame.")
    if not len(found):
        raise RuntimeError(f"{path.name} has {name} of no frame: write one entry for each frame.")
    return list(found)


def _joints(people: Any, path: Path) -> Tensor:
    """One frame of a plain file -> [n, 18, 3]."""
    joints = _array(people, path, "joints")
    if not joints.size:
        return nobody()
    joints = joints[None] if joints.ndim == 2 else joints
    if joints.ndim != 3 or joints.shape[1:] not in ((SMPL_JOINTS, 3), (JOINTS, 3)):
        raise RuntimeError(f"{path.name} has a frame of joints of shape {list(joints.shape)}: write [people, "
                           f"{SMPL_JOINTS}, 3], SMPL's joints, or [people, {JOINTS}, 3], OpenPose's.")
    tensor = torch.from_numpy(joints).float()
    return tensor if joints.shape[1] == JOINTS else from_smpl(tensor)


def _detail(values: Mapping[str, Any], size: tuple[int, int], path: Path) -> Detail | None:
    if values.get("points") is None:
        return None
    listed, frames = _frames(values, "points", path), []
    scores = None if values.get("scores") is None else _frames(values, "scores", path)
    if scores is not None and len(scores) != len(listed):
        raise RuntimeError(f"{path.name} has points of {len(listed)} frames, but scores of {len(scores)}: write as "
                           "many of both.")
    for frame, people in enumerate(listed):
        points = _array(people, path, "points")
        if not points.size:
            frames.append(no_points())
            continue
        points = points[None] if points.ndim == 2 else points
        seen = np.ones(points.shape[:2]) if scores is None else np.atleast_2d(_array(scores[frame], path, "scores"))
        if points.shape[1:] != (POINTS, 2) or seen.shape != points.shape[:2]:
            raise RuntimeError(f"{path.name} has a frame of points of shape {list(points.shape)} and scores of "
                               f"{list(seen.shape)}: write [people, {POINTS}, 2] and [people, {POINTS}].")
        there = np.isfinite(points).all(-1) & np.isfinite(seen)
        frames.append((torch.from_numpy(np.where(there[..., None], points, 0)).float(),
                       torch.from_numpy(np.where(there, seen, 0)).float().clamp(0, 1)))
    _check_pixels(frames, path)
    return Detail(tuple(frames), size)


def _check_pixels(frames: Sequence[tuple[Tensor, Tensor]], path: Path) -> None:
    """Raise RuntimeError for points that are shares of the picture."""
    seen = [points[scores >= LEAST_SCORE] for points, scores in frames]
    largest = max((float(points.max()) for points in seen if len(points)), default=np.inf)
    if largest <= _SHARES:
        raise RuntimeError(f"{path.name} has points up to {largest:.2g}, so they seem to be shares of the picture: "
                           "multiply x by its width and y by its height.")


def _array(values: Any, path: Path, name: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RuntimeError(f"{path.name} has {name} that are not a regular list of numbers ({error}): write the same "
                           "number for everybody in a frame.") from error
