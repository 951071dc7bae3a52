"""Poses in files: the pack's own form, and plain arrays as users of any detector can write them.

The own form is a .safetensors file with `joints`, `cameras` and, with detail, `points` and `scores`; everything else is
JSON in its metadata. A mesh and the driving video are not kept.

Plain files are .npz archives or .json objects with these entries:

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
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files.atomic import writing
from ..identity.mask_sources import Source
from ..masks import NAMES
from ..media.clips import Clip
from .detections import ANY, SETTLED, Bodies, Camera, Detail, check_unit, finite, no_points, nobody, not_finite_note
from .keypoints import read_keypoints
from .reading import read_poses
from .value import JOINTS, POINTS, SMPL_JOINTS, Look, Poses, from_smpl, official_camera

_FORMAT = "scail2-poses-1"
_TEXTS = ("size", "labels", "names", "notes")


def is_poses_file(path: Path) -> bool:
    """Whether a file's name says that it has poses."""
    return is_own_form(path) or path.suffix.lower() in (".npz", ".json")


def is_own_form(path: Path) -> bool:
    """Whether a file of poses has, by its name, the pack's own form, which knows who is who."""
    return path.suffix.lower() == ".safetensors"


def save_poses(poses: Poses, path: str | os.PathLike) -> None:
    """Write the own form; the file appears only when it is complete. Raises OSError if it cannot be written."""
    tensors = {name: value.cpu().contiguous() for name in ("joints", "cameras", "points", "scores")
               if (value := getattr(poses, name)) is not None}
    rate = poses.rate if poses.filmed is None else poses.filmed.rate
    text = {name: getattr(poses, name) for name in _TEXTS} | {"look": vars(poses.look), "rate": rate and str(rate)}
    with writing(Path(path)) as part:
        save_file(tensors, part, {"format": _FORMAT, "poses": json.dumps(text)})


def load_poses(path: str | os.PathLike, size: tuple[int, int] | None = None, masks: Source | None = None,
               filmed: Clip | None = None, *, detail: Detail | None = None, hold: int = 0, smooth: float = 0.0
               ) -> Poses:
    """Read poses in any of the forms. size: (height, width) of the pictures, if a plain file does not say it. The rest
    as in `read_poses`: the people of plain files are matched to the masks, and keep their order without; the own form
    is taken as it is.

    Raises RuntimeError for another file, ValueError where the poses do not fit the rest.
    """
    path = Path(path)
    if is_own_form(path):
        return _load(path, filmed)
    values = _plain(path)
    if values.get("joints") is None:
        raise RuntimeError(f"{path.name} has no joints: write an entry joints, [frames, people, {SMPL_JOINTS}, 3], in "
                           "millimetres before the camera.")
    height, width = _size(values, size if filmed is None else filmed.size, path)
    frames = [_joints(people, path) for people in _frames(values, "joints", path)]
    check_unit(frames, path.name)
    own = _detail(values, (height, width), path)
    settled = masks is None and len({len(people) for people in frames}) == 1
    bodies = Bodies(tuple(finite(people) for people in frames), (height, width), _camera(values, height, width, path),
                    SETTLED if settled else ANY, own if masks is None else None, notes=not_finite_note(frames))
    poses = read_poses(bodies, detail or (own if masks else None), masks, filmed, hold=hold, smooth=smooth)
    poses = replace(poses, rate=_rate(values, path))
    return _named(poses, values.get("names")) if settled else poses


def load_detail(path: str | os.PathLike, size: tuple[int, int]) -> Detail:
    """Read OpenPose's JSON: a folder with a file for each frame, in the order of their names, or one file with a list
    of frames. size: (height, width) of the pictures, where the files do not say it.

    Raises RuntimeError for another file, and for a folder without any.
    """
    path = Path(path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise RuntimeError(f"{path.name} has no .json files: write one for each frame, as OpenPose does.")
    read = [read_json(file) for file in files]
    return read_keypoints(read if path.is_dir() else read[0], size)


def _load(path: Path, filmed: Clip | None) -> Poses:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RuntimeError(f"{path.name} cannot be read as poses ({error}): save them again.") from error
    if metadata.get("format") != _FORMAT:
        raise RuntimeError(f"{path.name} holds no poses that this version of the pack can read: choose a file of "
                           "poses, or update the pack.")
    try:
        text: dict[str, Any] = json.loads(metadata["poses"])
        lists: dict[str, Any] = {name: tuple(text[name]) for name in _TEXTS}
        poses = Poses(tensors["joints"], cameras=tensors["cameras"], points=tensors.get("points"),
                      scores=tensors.get("scores"), look=Look(**text["look"]), filmed=filmed,
                      rate=Fraction(text["rate"]) if text["rate"] else None, **lists)
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeError(f"{path.name} cannot be read as poses ({error!r}): save them again.") from error
    if filmed is not None and len(filmed) != poses.frames:
        raise ValueError(f"The poses in {path.name} have {poses.frames} frames, but the driving video has "
                         f"{len(filmed)}: use the video that they were found in.")
    return poses


def _plain(path: Path) -> Mapping[str, Any]:
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
    return Detail(tuple(frames), size)


def _array(values: Any, path: Path, name: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RuntimeError(f"{path.name} has {name} that are not a regular list of numbers ({error}): write the same "
                           "number for everybody in a frame.") from error


def _named(poses: Poses, names: Sequence[str] | None) -> Poses:
    if names is None:
        return poses
    given = [*map(str, np.asarray(names).ravel()), *[""] * poses.people]
    usual = (NAMES[label - 1] for label in poses.labels)
    return replace(poses, names=tuple(name or colour for colour, name in zip(usual, given, strict=False)))
