"""What detectors have found -> poses: who is who, gaps held, jitter smoothed, and sentences about all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..geometry import same_shape
from ..identity.mask_sources import Source
from ..masks import NAMES, PEOPLE_LIMIT
from ..media.clips import Clip
from .detections import ANY, LEAST_SCORE, SETTLED, STEADY, Bodies, Detail, gathered, known, project
from .linking import linked, numbered
from .matching import in_masks, on_bodies, points_in_masks
from .mesh import mhr_mesh
from .smoothing import at, held, smoothed
from .value import Poses, official_camera

_LEAST_DEPTH = 100.0  # millimetres: nobody is filmed from so near, but joints around the hips have it

HOLD = 3  # frames: detectors overlook people for so long now and then


def read_poses(bodies: Bodies, detail: Detail | None = None, masks: Source | None = None, filmed: Clip | None = None, *,
               hold: int = 0, smooth: float = 0.0) -> Poses:
    """Make poses of what was found.

    detail: faces and hands; those that came with the bodies if None. masks: who is who, with labels and names; without
    them people are linked over time. filmed: the driving video, whose size the poses get. hold: gaps of at most so many
    frames keep the last pose. smooth: standard deviation in frames, 0 for none.

    Raises ValueError if these are of different lengths or shapes, for more people than there are colours, and if nobody
    is left.
    """
    size = bodies.size if filmed is None else filmed.size
    _check(bodies, detail, masks, filmed)
    _refuse_place(bodies)
    focal, bodies = bodies.camera[0], bodies.resized(size)
    chosen = _who(bodies, masks)
    joints = gathered(bodies.frames, chosen)
    _refuse_nobody(joints, bodies, masks)
    visible = torch.ones(chosen.shape, dtype=torch.bool) if masks is None else _visible(masks)
    shown = held(known(joints).any(-1), hold, visible)
    count = int((shown != torch.arange(len(shown))[:, None]).sum())
    poses = Poses.of(at(joints, shown), size, labels=_labels(masks), names=_names(masks), camera=bodies.camera)
    poses = _with_detail(poses, bodies, detail, chosen, masks, visible, hold)
    if smooth > 0:
        poses = smoothed(poses, smooth)
    notes = (*bodies.notes, *_people_notes(bodies, chosen, masks), *_time_notes(count, hold, smooth))
    mesh = None if bodies.given is None else mhr_mesh(bodies.given, at(chosen, shown), focal, shown)
    poses = replace(poses, filmed=filmed, mesh=mesh, notes=notes)
    return poses.select(np.argsort(poses.labels, kind="stable").tolist())


def read_again(poses: Poses, detail: Detail | None = None, masks: Source | None = None, filmed: Clip | None = None, *,
               hold: int = 0, smooth: float = 0.0) -> Poses:
    """Poses that were read before, with other detail, masks or settings: as `read_poses`, but without masks everybody
    stays who they are, and a mesh is kept.

    Raises ValueError also for poses of several cameras, as retargeting makes them.
    """
    if poses.people and bool((poses.cameras != poses.cameras[0]).any()):
        raise ValueError("The poses have been retargeted, so that each person has a camera of its own: read them "
                         "before they are retargeted.")
    own = None
    if poses.points is not None and poses.scores is not None:
        own = Detail(tuple(zip(poses.points, poses.scores, strict=True)), poses.size)
    fx, fy, cx, cy = poses.cameras[0].tolist() if poses.people else official_camera(*poses.size)
    bodies = Bodies(tuple(poses.joints), poses.size, (fx, fy, cx, cy), SETTLED if masks is None else ANY,
                    own if masks is None else None, notes=poses.notes)
    made = read_poses(bodies, detail or (None if masks is None else own), masks, filmed or poses.filmed, hold=hold,
                      smooth=smooth)
    made = replace(made, look=poses.look, rate=poses.rate)
    return made if masks is not None else replace(made, labels=poses.labels, names=poses.names, mesh=poses.mesh)


def _check(bodies: Bodies, detail: Detail | None, masks: Source | None, filmed: Clip | None) -> None:
    others: list[tuple[str, int, tuple[int, int]]] = []
    if masks is not None:
        others.append(("masks", len(masks.mask_set), masks.mask_set.size))
        if masks.mask_set.people > PEOPLE_LIMIT:
            raise ValueError(f"There are {masks.mask_set.people} people in the masks, but only {PEOPLE_LIMIT} have "
                             "colours: track fewer.")
    if filmed is not None:
        others.append(("driving video", len(filmed), filmed.size))
    if (detail := detail or bodies.detail) is not None:
        others.append(("detail", len(detail.frames), detail.size))
    for name, frames, (height, width) in others:
        if frames != len(bodies.frames):
            raise ValueError(f"The poses have {len(bodies.frames)} frames, but the {name} {_have(name)} {frames}: make "
                             "both from the same frames.")
        if not same_shape((height, width), bodies.size):
            raise ValueError(f"The poses were found in pictures of {bodies.size[1]}x{bodies.size[0]} pixels, but the "
                             f"{name} {_have(name)} {width}x{height}, another shape: make both from the same frames.")


def _have(name: str) -> str:
    return "have" if name == "masks" else "has"


def _who(bodies: Bodies, masks: Source | None) -> Tensor:
    """Who of each frame's list is which person, int64 [T, P]."""
    if masks is not None and bodies.order != SETTLED:
        pixels = [project(joints, bodies.camera) for joints in bodies.frames]
        return in_masks(pixels, masks.mask_set, bodies.size)
    if bodies.order == ANY:
        return linked(bodies.frames)
    if bodies.order == SETTLED:
        return torch.arange(len(bodies.frames[0])).repeat(len(bodies.frames), 1)
    there = torch.stack([known(joints).any(-1) for joints in _equally_many(bodies.frames)])  # [T, P]
    return numbered([{int(frame): person for frame in there[:, person].nonzero()} for person in range(there.shape[1])
                     if there[:, person].any()], bodies.frames)


def _equally_many(frames: Sequence[Tensor]) -> list[Tensor]:
    """Frames of people in one order; those of nobody get as many unknown people as the others have."""
    most = max(frames, key=len)
    return [joints if len(joints) else torch.zeros_like(most) for joints in frames]


def _refuse_nobody(joints: Tensor, bodies: Bodies, masks: Source | None) -> None:
    if known(joints).any():
        return
    if masks is not None and any(known(found).any() for found in bodies.frames):
        raise ValueError("None of the bodies in the poses lies in the masks: make both from the same video.")
    raise ValueError("The poses show no body in any frame: use a video that shows people from head to hip, or use the "
                     "video itself as the driving video.")


def _refuse_place(bodies: Bodies) -> None:
    """Raise ValueError if most joints are not before the camera, or if everybody is outside of the picture."""
    joints = torch.cat([joints[known(joints)] for joints in bodies.frames])
    if not len(joints):
        return
    depth = float(joints[:, 2].median())
    if depth < _LEAST_DEPTH:
        raise ValueError(f"Half of the joints in the poses have a depth (z) below {depth:.0f} mm, so they are not "
                         "before the camera: add each body's place in front of it, z pointing away from the camera.")
    pixels, (height, width) = project(joints, bodies.camera), bodies.size
    pixels = pixels[joints[:, 2] > 0]
    if bool((pixels.amax(0) < 0).any() | (pixels.amin(0) > torch.tensor([width, height])).any()):
        raise ValueError(f"Everybody in the poses is outside of the picture of {width}x{height} pixels: give its size "
                         "as the detector has seen it, and its focal length.")


def _visible(masks: Source) -> Tensor:
    """Where each person has a mask, bool [T, P]."""
    return torch.from_numpy(np.stack([extent.seen for extent in masks.mask_set.extents], -1))


def _labels(masks: Source | None) -> tuple[int, ...]:
    return () if masks is None or masks.labels is None else masks.labels


def _names(masks: Source | None) -> tuple[str, ...]:
    if masks is None or not masks.names:
        return ()
    labels = masks.labels or range(1, len(masks.names) + 1)
    return tuple(name or NAMES[label - 1] for name, label in zip(masks.names, labels, strict=True))


def _with_detail(poses: Poses, bodies: Bodies, detail: Detail | None, bodies_chosen: Tensor, masks: Source | None,
                 visible: Tensor, hold: int) -> Poses:
    """The poses with points of the same people."""
    if detail is None:
        detail, chosen = bodies.detail, bodies_chosen
        if detail is None:
            return poses
    else:
        detail = detail.resized(poses.size)
        pixels = project(poses.joints, poses.cameras[:, None].float())
        chosen = on_bodies(detail, pixels) if masks is None else points_in_masks(detail, masks.mask_set)
    points = gathered([points for points, _ in detail.frames], chosen)
    scores = gathered([scores for _, scores in detail.frames], chosen)
    shown = held((scores >= LEAST_SCORE).any(-1), hold, visible)
    return replace(poses, points=at(points, shown), scores=at(scores, shown))


def _people_notes(bodies: Bodies, chosen: Tensor, masks: Source | None) -> list[str]:
    found = [int(known(joints).any(-1).sum()) for joints in bodies.frames]
    kept = known(gathered(bodies.frames, chosen)).any(-1).sum(-1).tolist()
    left = [count - those for count, those in zip(found, kept, strict=True)]
    notes = []
    if masks is None and bodies.order != SETTLED:
        how = "by the order of their tracks" if bodies.order == STEADY else "by where they are"
        notes.append(f"without masks, people were linked over time {how} and numbered from left to right")
    if any(left):
        why = "were seen too briefly, or are too many" if masks is None else "lie in no mask"
        notes.append(f"{sum(left)} bodies in {sum(map(bool, left))} frames {why}, and were left out")
    return notes


def _time_notes(count: int, hold: int, smooth: float) -> list[str]:
    notes = [f"{count} missing poses were held, in gaps of at most {hold} frames"] if count else []
    return [*notes, f"joints and points were smoothed over {smooth:g} frames"] if smooth > 0 else notes
