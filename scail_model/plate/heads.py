"""Where a person's head is, told from the outline of the person: for videos without masks of faces and without poses.

A head is about half as high as a body without its arms is wide, whatever part of the body is seen. The arms are kept
out by looking at the columns around the middle of the trunk only, so raised hands are not taken for a head.
"""

from __future__ import annotations

import numpy as np

from ..identity.mask_set import MaskSet, pack_frames
from ..identity.packed_mask import unpacked
from .placement import Size
from .plate import fitted
from .window import Boxes

_HEAD = 0.55  # height of a head, by the width of a trunk
_LEAST, _MOST = 0.12, 0.75  # of the person's height
_WIDE = 0.8  # width of a head, by its height
_LOOKED_AT = 32  # frames
_TRUNK = 0.45, 0.75  # of the heights of the person's pixels, from the top, where the trunk is looked for


def person_boxes(masks: MaskSet, person: int, plate_size: Size) -> Boxes:
    """Where a person is, from masks of any size in the plate's shape."""
    extent = masks.extents[person]
    return Boxes(extent.box * _scale(masks.size, plate_size), extent.seen)


def head_boxes(masks: MaskSet, person: int, plate_size: Size) -> Boxes:
    """The same of the person's head, estimated."""
    track, seen = masks.tracks[person], masks.extents[person].seen
    edges = np.zeros((len(masks), 4))
    for frame in np.flatnonzero(seen):
        edges[frame] = head_box(unpacked(track[int(frame)], masks.width))
    return Boxes(edges * _scale(masks.size, plate_size), seen)


def head_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the head of a person bool [H, W], who is seen."""
    rows = np.flatnonzero(mask.any(1))
    counts = mask[rows].sum(1)
    filled = np.cumsum(counts) / counts.sum()
    trunk = rows[(filled >= _TRUNK[0]) & (filled <= _TRUNK[1])]
    trunk = trunk if len(trunk) else rows
    columns = np.flatnonzero(mask[trunk].mean(0) > 0.5)
    columns = columns if len(columns) else np.flatnonzero(mask[trunk].any(0))
    body = mask[:, columns[0] : columns[-1] + 1]
    upper = np.flatnonzero(body.any(1))
    whole = upper[-1] + 1 - upper[0]
    height = float(np.clip(_HEAD * len(columns), _LEAST * whole, _MOST * whole))
    head = mask[upper[0] : max(int(upper[0] + height), upper[0] + 1), columns[0] : columns[-1] + 1]
    middle = columns[0] + float(np.flatnonzero(head.any(0)).mean()) + 0.5
    half = height * _WIDE / 2
    return (max(middle - half, 0.0), float(upper[0]), min(middle + half, float(mask.shape[1])),
            float(upper[0] + height))


def face_boxes(faces: MaskSet, body: MaskSet, plate_size: Size) -> Boxes:
    """Where the face of a person is. faces: masks of faces, of one person or of several, of the same frames. body:
    masks of the person. Raises ValueError if none of the faces is in them."""
    frames = np.unique(np.linspace(0, len(body) - 1, min(_LOOKED_AT, len(body))).astype(int))
    counts = np.sum([(faces.frame(frame) & fitted(body.frame(frame)[0], faces.size)).sum((1, 2))
                     for frame in frames.tolist()], axis=0)
    track = faces.select([best_face(counts)])
    # one mask may show the faces of several people
    own = (track.frame(frame) & fitted(body.frame(frame)[0], faces.size) for frame in range(len(body)))
    return person_boxes(pack_frames(own, len(body), 1, *faces.size), 0, plate_size)


def best_face(counts: np.ndarray) -> int:
    """Which of several faces is a person's. counts: how much of each is in the person's mask. Raises ValueError if
    there is nothing."""
    if not counts.any():
        raise ValueError("None of the faces is in the mask of the person: choose another person, or leave the faces "
                         "out, and the head is estimated from the mask.")
    return int(counts.argmax())


def _scale(size: Size, plate_size: Size) -> np.ndarray:
    return np.array([plate_size[1] / size[1], plate_size[0] / size[0]] * 2)
