"""Pose-driven animation: the poses of a folder, from a file or from NLF, as the people of its reference."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..identity.binding import bind
from ..identity.identities import ANIMATION, Identities
from ..identity.mask_sources import DRIVING, REFERENCE, Source
from ..masks import NAMES
from ..media.clips import Clip
from ..opencv import opencv
from ..poses.nlf_model import detect, load_nlf
from ..poses.pose_masks import driving_source
from ..poses.poses_file import is_own_form, load_detail, load_poses, read_json
from ..poses.reading import HOLD, read_again, read_poses
from ..poses.retarget import ERROR_LIMIT, retargeted_to
from ..poses.value import Poses
from .prepare_files import Files, Say


def posed(people: Source | None, bound_to: Callable[[Source], Identities], size: tuple[int, int], driving: Clip,
          files: Files, arguments: argparse.Namespace, say: Say) -> tuple[Poses, Identities]:
    """Poses in the colours of the reference's people, and their masks bound to the reference's.

    people: masks of the driving video, None to take people as the poses have them. bound_to: binds the reference's
    people to some. size: (height, width) of the reference picture. Raises ValueError and RuntimeError, in one sentence.
    """
    if people is not None:
        bound = bound_to(people)
        masks = Source(DRIVING, bound.driving, bound.labels, names=bound.given_names)
        poses = _found(masks, driving, files, arguments, say)
    else:
        poses = _found(None, driving, files, arguments, say)
        say("looking who is where in the poses")
        shown = driving_source(poses)
        bound = bound_to(shown)
        tracks = [next(index for index, track in enumerate(shown.mask_set.tracks) if track is kept)
                  for kept in bound.driving.tracks]
        poses = _relabelled(poses.select(tracks), bound.labels)
    if files.keypoints:
        limit = ERROR_LIMIT if arguments.error_limit is None else arguments.error_limit
        poses, _ = retargeted_to(poses, _keypoints(files.keypoints), size, bound, limit=limit)
    if poses.points is not None:
        opencv()  # raises where it is missing, before anything is rendered
    say("rendering the masks of the poses")
    masks = driving_source(poses)
    _refuse_unseen(masks)
    named = Source(REFERENCE, bound.references[0], bound.labels, names=bound.given_names)
    return poses, replace(bind(ANIMATION, masks, [named]), notes=(*poses.notes, *bound.notes))


def _keypoints(path: Path) -> Any:
    keypoints = read_json(path)
    if isinstance(keypoints, list) and len(keypoints) > 1:
        raise RuntimeError(f"{path} (--retarget) has key points of {len(keypoints)} pictures, but the reference is "
                           "one: give those of the reference picture.")
    return keypoints


def _found(masks: Source | None, driving: Clip, files: Files, arguments: argparse.Namespace, say: Say) -> Poses:
    """Poses as the detector has found them, with their detail, held and smoothed."""
    detail = load_detail(files.detail, driving.size) if files.detail else None
    hold, smooth = HOLD if arguments.hold is None else arguments.hold, arguments.smooth or 0.0
    if files.poses is None:
        say(f"NLF, frame 0 of {len(driving)}")
        bodies = detect(nlf(arguments.nlf), driving, masks, device="cuda" if torch.cuda.is_available() else "cpu",
                        told=lambda frames: say(f"NLF, frame {frames} of {len(driving)}"))
        return read_poses(bodies, detail, masks, driving, hold=hold, smooth=smooth)
    say("reading the poses")
    if not is_own_form(files.poses):
        return load_poses(files.poses, masks=masks, filmed=driving, detail=detail, hold=hold, smooth=smooth)
    poses = load_poses(files.poses, filmed=driving)
    if masks is None and detail is None and arguments.hold is None and not smooth:
        return poses  # they were read before
    return read_again(poses, detail, masks, driving, hold=arguments.hold or 0, smooth=smooth)


@lru_cache(maxsize=1)
def nlf(path: str) -> Any:
    """Loaded once for all folders."""
    return load_nlf(path)


def _relabelled(poses: Poses, labels: Sequence[int]) -> Poses:
    """People with these colours; those named after the old ones are named after the new ones."""
    names = tuple(NAMES[label - 1] if name == NAMES[old - 1] else name
                  for name, old, label in zip(poses.names, poses.labels, labels, strict=True))
    return replace(poses, labels=tuple(labels), names=names).select(np.argsort(labels, kind="stable").tolist())


def _refuse_unseen(masks: Source) -> None:
    for label, extent in zip(masks.labels or (), masks.mask_set.extents, strict=True):
        if not extent.seen.any():
            raise ValueError(f"The poses show nobody for {NAMES[label - 1]} in any frame: check that the poses are of "
                             "this video, or leave that person out with --binding.")
