"""Who is who: people that a detector has found -> the people of masks, frame by frame.

Both functions answer with an index for each frame and person, -1 for nobody: the place in the frame's list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..identity.mask_set import MaskSet
from .detections import LEAST_SCORE, Detail
from .value import JOINTS

# Share of the points in the picture that have to lie in the mask: less is another person beside it, unless it is the
# head, of somebody who is hidden below.
_LEAST_SHARE, _HEAD = 0.25, slice(0, 2)
_MOST_APART = 0.25  # of a body's size in the picture: points that lie further from its joints are another person's
_NOWHERE = 1e6
_BODY = slice(1, 14)  # joints that detectors of bodies and of points agree on: from the neck down


def in_masks(points: Sequence[Tensor], masks: MaskSet, size: tuple[int, int]) -> Tensor:
    """Match people by their points inside the masks: as many as possible, of as few outside as possible, over everybody
    in a frame together. Whoever lies in no mask is nobody, and nobody is in an empty mask.

    points: for each frame float [n, J, 2], pixels (x, y) of pictures of a size (height, width), NaN where unknown.
    Returns int64 [T, P].
    """
    chosen = torch.full((len(points), masks.people), -1, dtype=torch.long)
    there = np.stack([extent.seen for extent in masks.extents], -1)  # [T, P]
    scale = np.array([masks.width / size[1], masks.height / size[0]])
    for frame, listed in enumerate(points):
        if len(listed) and there[frame].any():
            belongs, score = _inside(listed.double().numpy() * scale, masks.frame(frame))
            for found, person in zip(*linear_sum_assignment(-score), strict=True):
                if belongs[found, person]:
                    chosen[frame, person] = int(found)
    return chosen


def points_in_masks(detail: Detail, masks: MaskSet) -> Tensor:
    """The same for points of faces, hands and bodies: the body's points decide, or all if none of them is known."""
    telling = []
    for points, scores in detail.frames:
        there = scores >= LEAST_SCORE
        body = there.clone()
        body[:, JOINTS:] = False
        used = torch.where(body.any(-1, keepdim=True), body, there)
        telling.append(torch.where(used[..., None], points, torch.nan))
    return in_masks(telling, masks, detail.size)


def _inside(points: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, J, 2] and masks bool [P, H, W] -> for everybody, [n, P]: whether they can be that person, and the
    share of their points in the picture that lie in the mask, times the number of those."""
    height, width = masks.shape[1:]
    across, down = np.nan_to_num(points, nan=-1).transpose(2, 0, 1)  # [n, J] each
    seen = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    rows, columns = np.where(seen, down, 0).astype(np.int64), np.where(seen, across, 0).astype(np.int64)
    inside = (masks[:, rows, columns] & seen).swapaxes(0, 1)  # [n, P, J]
    hits = inside.sum(-1)
    share = hits / seen.sum(-1, keepdims=True).clip(min=1)
    return (share >= _LEAST_SHARE) | inside[..., _HEAD].all(-1), share * hits


def on_bodies(detail: Detail, pixels: Tensor) -> Tensor:
    """Match points to bodies by where both lie in the picture.

    pixels: the bodies' joints float [T, P, 18, 2], NaN where unknown, in pictures of the detail's size. Returns int64
    [T, P].
    """
    chosen = torch.full(pixels.shape[:2], -1, dtype=torch.long)
    for frame, (points, scores) in enumerate(detail.frames):
        bodies = pixels[frame, :, _BODY].double().numpy()
        found = np.where(scores[:, _BODY, None].numpy() >= LEAST_SCORE, points[:, _BODY].double().numpy(), np.nan)
        apart = _apart(found, bodies)
        for index, person in zip(*linear_sum_assignment(apart), strict=True):
            if apart[index, person] <= _MOST_APART:
                chosen[frame, person] = int(index)
    return chosen


def _apart(found: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """How far points [n, J, 2] are from the joints [P, J, 2] of bodies, in sizes of the body: [n, P], far more than 1
    where nothing is known of both."""
    distances = np.linalg.norm(found[:, None] - bodies[None], axis=-1)  # [n, P, J]
    both = np.isfinite(distances)
    mean = np.where(both, distances, 0).sum(-1) / both.sum(-1).clip(min=1)
    places = np.nan_to_num(bodies, nan=np.inf)
    spans = np.linalg.norm(np.where(np.isinf(places), -np.inf, places).max(1) - places.min(1), axis=-1)  # [P]
    return np.where(both.sum(-1) > 0, mean / np.where(np.isfinite(spans), spans, 1).clip(min=1), _NOWHERE)
