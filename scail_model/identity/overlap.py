"""Who of the driving video stands where a person of the reference stands: by overlap, or by the middle of the body.

The reference's mask is brought to the driving video's size as the official scripts do it, whatever the shape of either,
so a person keeps its place as a share of width and height. Originals: `process_replacement.py` (`--matchnearest`, once
`--onetomany`) and `v2_helper.py` of zai-org/SCAIL-Pose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from .mask_set import MaskSet, at_size


class Match(NamedTuple):
    """A person of the reference, one of the driving video, by index, and their intersection over union."""

    reference: int
    driving: int
    iou: float


def nearest(reference_mask: np.ndarray, tracks: np.ndarray) -> tuple[int, float]:
    """The track that overlaps a person of the reference most, the first of equals: (index, intersection over union).

    reference_mask: bool [h, w]. tracks: bool [P, H, W], the first frame of each. Where nothing overlaps, the index is
    -1 and the overlap 0. Source: golden case P5. Raises ValueError for another shape.
    """
    reference, driving = np.asarray(reference_mask), np.asarray(tracks)
    if reference.ndim != 2 or driving.ndim != 3:
        raise ValueError(f"The reference mask has shape {list(reference.shape)} and the tracks {list(driving.shape)}, "
                         "but they must be [h, w] and [P, H, W]: give the first frame of each track.")
    if not reference.size or not driving.size:
        return -1, 0.0
    found = overlaps(reference[None], driving)[0]
    if not found.any():
        return -1, 0.0
    index = int(found.argmax())
    return index, float(found[index])


def overlaps(reference: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """Intersection over union, float64 [R, P], of people bool [R, h, w] with people bool [P, H, W]; 0 for empty
    masks."""
    height, width = driving.shape[1:]
    wanted = (at_size(reference, (height, width)) > 0).reshape(-1, height * width)
    found = (driving > 0).reshape(-1, height * width)
    # row by row, because all pairs at once would be a large array
    both = np.array([(mask & found).sum(1) for mask in wanted], np.int64).reshape(len(wanted), len(found))
    either = wanted.sum(1)[:, None] + found.sum(1) - both
    return both / either.clip(min=1)


def by_overlap(driving: MaskSet, reference: MaskSet) -> list[Match]:
    """Pairs with the largest sum of overlaps in the first driving frame. Of more people on one side than on the other,
    those with the smallest are left out, and so are people who are never seen."""
    in_reference, in_driving = ([person for person, extent in enumerate(side.extents) if extent.seen.any()]
                                for side in (reference, driving))
    found = overlaps(reference.frame(0)[in_reference], driving.frame(0)[in_driving])
    return [Match(in_reference[one], in_driving[other], float(found[one, other]))
            for one, other in zip(*linear_sum_assignment(-found), strict=True)]


def by_centre(driving: MaskSet, reference: MaskSet) -> list[tuple[int, int]]:
    """(reference, driving): for each person of the reference, from left to right, the driving person not taken yet
    whose centre of gravity in the first frame is nearest, as shares of width and height. People who are not there are
    left out.

    One after the other, as official, rather than the least sum of all. Source: golden case P5, `match_by_centre`.
    """
    centres, free = _centres(reference), _centres(driving)
    pairs = []
    for person in left_to_right(reference):
        if free and person in centres:
            other = min(free, key=lambda index: float(((free[index] - centres[person]) ** 2).sum()))
            del free[other]
            pairs.append((person, other))
    return sorted(pairs)


def left_to_right(mask_set: MaskSet) -> list[int]:
    """People by the middle of their box in the first frame; those who are not there come last."""
    boxes = [(track.masks[0].area == 0, track.masks[0].box) for track in mask_set.tracks]
    return sorted(range(mask_set.people), key=lambda person: (boxes[person][0], sum(boxes[person][1][::2])))


def _centres(mask_set: MaskSet) -> dict[int, np.ndarray]:
    """x and y in 0..1 of everybody in the first frame."""
    masks = mask_set.frame(0)
    return {person: np.array([np.nonzero(mask)[axis].mean() / mask.shape[axis] for axis in (1, 0)])
            for person, mask in enumerate(masks) if mask.any()}
