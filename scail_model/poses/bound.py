"""The people of poses as identities have bound them: those who are left out are not drawn, and the others have the
colours and the order of the reference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..geometry import same_shape
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, at_size
from ..media.clips import Clip
from ..media.retiming import PickedClip
from .pose_clip import PoseClip
from .pose_masks import driving_source
from .value import Poses

_LOOKED_AT = 4  # frames for each person


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
        raise ValueError("Nobody of the poses that drive is where the driving masks are: use masks of the same video, "
                         "or the poses for the masks too.")
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
    """For each person of the masks who of the poses it is, -1 for nobody: whose picture shares most with the mask, in
    the frames in which the masks are largest."""
    looked = sorted({int(frame) for extent in masks.extents for frame in np.argsort(-extent.area)[:_LOOKED_AT]
                     if extent.area[frame]})
    who = [-1] * masks.people
    if not looked:
        return who
    drawn = driving_source(poses.picked(looked)).mask_set
    shared = np.zeros((masks.people, poses.people))
    for index, frame in enumerate(looked):
        shown = at_size(drawn.frame(index), masks.size)
        shared += [(mask & shown).sum((1, 2)) for mask in masks.frame(frame)]
    for own, person in zip(*linear_sum_assignment(-shared), strict=True):
        who[own] = int(person) if shared[own, person] else -1
    return who
