"""Faces as the crop takes them: masks of any kind, or poses, of which one belongs to the person."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry import check_shape
from ..identity.binding import LEFT_TO_RIGHT
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..identity.mask_sources import DRIVING, from_white
from ..media.clips import Clip
from ..plate.heads import best_face, face_boxes
from ..plate.person_crop import Faces
from ..plate.window import Boxes
from ..poses.heads import head_edges, head_places
from ..poses.value import Poses
from .mask_inputs import read_masks
from .schema import as_clip


def read_faces(given: Any, clip: Clip, identities: Identities, person: int) -> Faces | None:
    """Where the head of a person (from 1) is, and how that is known. None where nothing is given, to be estimated.

    Raises ValueError for faces of other frames than the clip has, and if none of them is the person's.
    """
    if given is None or not 1 <= person <= len(identities.labels):
        return None
    body = identities.driving.select([person - 1])
    if isinstance(given, Poses):
        _check_frames(given.frames, clip)
        found = given.labels.index(identities.labels[person - 1]) if (
            identities.labels[person - 1] in given.labels) else _fitting_pose(given, body)
        edges, seen = head_edges(given, found)
        (height, width), (own_height, own_width) = clip.size, given.size
        return Boxes(edges * np.array([width / own_width, height / own_height] * 2), seen), "from the poses"
    source = read_masks(given, None, DRIVING, LEFT_TO_RIGHT, connected="faces", more_name="faces")
    if source.labels == ():  # pictures without colours: white on black
        source = from_white(iter(as_clip(given, "mask of the faces")), DRIVING)
    masks = source.mask_set
    _check_frames(len(masks), clip)
    check_shape("mask of the faces", masks.size, "driving video", clip.size)
    return face_boxes(masks, body, clip.size), "from the masks of faces"


def _check_frames(frames: int, clip: Clip) -> None:
    if frames != len(clip):
        raise ValueError(f"faces have {frames} frames, but the driving video has {len(clip)}: make them from the same "
                         "video.")


def _fitting_pose(poses: Poses, body: MaskSet) -> int:
    """The head that lies in a body in most frames."""
    counts = np.zeros(poses.people)
    for person in range(poses.people):
        places, seen = head_places(poses, person)
        for frame in np.flatnonzero(seen).tolist():
            x, y = (places[frame] * body.size[::-1]).astype(int)
            if 0 <= x < body.width and 0 <= y < body.height:
                counts[person] += body.frame(frame)[0, y, x]
    return best_face(counts)
