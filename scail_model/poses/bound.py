"""The people of poses as identities have bound them: those who are left out are not drawn, and the others have the
colours and the order of the reference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..geometry import same_shape
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..media.clips import Clip
from ..media.retiming import PickedClip
from .detections import LEAST_SCORE, project
from .matching import in_masks
from .pose_clip import PoseClip
from .value import Poses

_LOOKED_AT = 16  # frames for each person


def bound(clip: Clip, identities: Identities) -> Clip:
    """A clip that is rendered from poses with the people of identities, whose masks belong to its frames; another clip
    as it is.

    Raises ValueError if nobody of the poses is in the masks.
    """
    inner = clip.clip if isinstance(clip, PickedClip) else clip
    fit = len(clip) == len(identities.driving) and same_shape(clip.size, identities.driving.size)
    if not isinstance(inner, PoseClip) or identities.whole_picture or not fit:
        return clip
    poses = _bound(inner.poses, inner.poses.picked(clip.indices), identities)
    if poses is inner.poses:
        return clip
    rendered = PoseClip(poses, clip.tick)
    if not isinstance(clip, PickedClip):
        return rendered
    picked = PickedClip(rendered, clip.indices, clip.rate)
    picked.warnings = clip.warnings
    return picked


def _bound(poses: Poses, read: Poses, identities: Identities) -> Poses:
    """read: the same poses in the frames of the masks. The very same poses, if they are as they are bound."""
    found = {label: person for label, person in zip(identities.labels, _who(read, identities.driving), strict=True)
             if person >= 0}
    if not found and not any(extent.seen.any() for extent in identities.driving.extents):
        return poses  # other checks say it
    if not found:
        raise ValueError("Nobody of the poses in driving is where the driving masks are: connect the poses to "
                         "driving_masks of Bind SCAIL-2 Identities too, or the identities of the same video.")
    labels = tuple(sorted(found))
    order = [found[label] for label in labels]
    if labels == poses.labels and order == [*range(poses.people)]:
        return poses
    left = [poses.title(person) for person in range(poses.people) if person not in order]
    notes = (f"{', '.join(left)} of the poses as they were read: in no driving mask, so not drawn",) if left else ()
    names = dict(zip(identities.labels, identities.names, strict=True))
    return replace(poses.select(order), labels=labels, names=tuple(names[label] for label in labels),
                   notes=(*poses.notes, *notes))


def _who(poses: Poses, masks: MaskSet) -> list[int]:
    """For each person of the masks who of the poses it is, -1 for nobody: whose joints and points lie in the mask in
    most of a few frames."""
    chosen = in_masks(_places(poses), masks, poses.size)  # [T, people of the masks]
    votes = np.stack([(chosen == person).sum(0).numpy() for person in range(poses.people)], 1)
    who = [-1] * masks.people
    for own, person in zip(*linear_sum_assignment(-votes), strict=True):
        who[own] = int(person) if votes[own, person] else -1
    return who


def _places(poses: Poses) -> list[Tensor]:
    """Joints and points of everybody, [P, n, 2] pixels, NaN where unknown, in the frames that are looked at: a few of
    each person. [0, n, 2] in the others."""
    looked = set()
    for seen in poses.seen.numpy().T:
        frames = np.flatnonzero(seen)
        looked.update(frames[np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).astype(int)].tolist())
    places = []
    for frame, joints in enumerate(poses.joints):
        seen = [project(joints.double(), poses.cameras[:, None])]
        if poses.points is not None and poses.scores is not None:
            there = (poses.scores[frame] >= LEAST_SCORE)[..., None]
            seen.append(torch.where(there, poses.points[frame].double(), torch.nan))
        together = torch.cat(seen, 1)
        places.append(together if frame in looked else together[:0])
    return places
