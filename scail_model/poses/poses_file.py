"""Poses in files: the pack's own form, and plain arrays as users of any detector can write them.

The own form is a .safetensors file with `joints`, `cameras` and, with detail, `points` and `scores`; everything else is
JSON in its metadata. A mesh and the driving video are not kept.
Plain files are .npz archives or .json objects (`plain_poses.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..files.atomic import writing
from ..identity.mask_sources import Source
from ..masks import NAMES, PEOPLE_LIMIT
from ..media.clips import Clip
from .detections import ANY, SETTLED, Bodies, Detail, finite, not_finite_note
from .keypoints import read_keypoints
from .plain_poses import read_json, read_plain
from .reading import read_poses
from .value import JOINTS, POINTS, Look, Poses

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
    with writing(Path(path)) as part:
        write_poses(poses, part)


def write_poses(poses: Poses, path: Path) -> None:
    """The same into the file itself."""
    tensors = {name: value.cpu().contiguous() for name in ("joints", "cameras", "points", "scores")
               if (value := getattr(poses, name)) is not None}
    rate = poses.rate if poses.filmed is None else poses.filmed.rate
    text = {name: getattr(poses, name) for name in _TEXTS} | {"look": vars(poses.look), "rate": rate and str(rate)}
    save_file(tensors, path, {"format": _FORMAT, "poses": json.dumps(text)})


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
    plain = read_plain(path, size if filmed is None else filmed.size)
    settled = masks is None and len({len(people) for people in plain.frames}) == 1
    bodies = Bodies(tuple(map(finite, plain.frames)), plain.size, plain.camera, SETTLED if settled else ANY,
                    plain.detail if masks is None else None, notes=not_finite_note(plain.frames))
    poses = read_poses(bodies, detail or (plain.detail if masks else None), masks, filmed, hold=hold, smooth=smooth)
    poses = replace(poses, rate=plain.rate)
    return _named(poses, plain.names) if settled else poses


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
    _check_whole(poses, path)
    if filmed is not None and len(filmed) != poses.frames:
        raise ValueError(f"The poses in {path.name} have {poses.frames} frames, but the driving video has "
                         f"{len(filmed)}: use the video that they were found in.")
    return poses


def _check_whole(poses: Poses, path: Path) -> None:
    """Raise RuntimeError if parts of poses of a file do not fit each other."""
    joints, people = poses.joints, len(poses.labels)
    frames = len(joints) if joints.ndim else 0
    shapes = [("joints", joints, (frames, people, JOINTS, 3)), ("cameras", poses.cameras, (people, 4))]
    if poses.points is not None or poses.scores is not None:
        shapes += [("points", poses.points, (frames, people, POINTS, 2)),
                   ("scores", poses.scores, (frames, people, POINTS))]
    wrong = [name for name, tensor, shape in shapes if tensor is None or tuple(tensor.shape) != shape]
    if sorted(set(poses.labels) & {*range(1, PEOPLE_LIMIT + 1)}) != sorted(poses.labels):
        wrong.append("labels")
    if len(poses.names) != people:
        wrong.append("names")
    if wrong or len(poses.size) != 2:
        raise RuntimeError(f"{path.name} cannot be read as poses, because its {(wrong or ['size'])[0]} do not fit the "
                           "rest: save them again.")


def _named(poses: Poses, names: Sequence[str]) -> Poses:
    given = [*names, *[""] * poses.people]
    usual = (NAMES[label - 1] for label in poses.labels)
    return replace(poses, names=tuple(name or colour for colour, name in zip(usual, given, strict=False)))
