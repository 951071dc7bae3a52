"""What of a driving frame the model sees: all of it, the people, or boxes around them; the rest is black.

Boxes stand in the masks' pixels and are as the official `v2_helper.py` of zai-org/SCAIL-Pose draws them: a margin on
each side as a share of the box, and boxes that overlap become the one around both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet

KEEP, PEOPLE, BOXES, STEADY_BOX = "keep", "black", "bbox", "steady bbox"
BACKGROUNDS = {
    KEEP: "the model sees all of it",
    PEOPLE: "only the masked people",
    BOXES: "a box around each of them, with what they hold and touch",
    STEADY_BOX: "one box around all of them in all frames, which never moves",
}
MARGIN = 0.05  # official

Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive


@dataclass(frozen=True)
class Crop:
    """kind: a key of BACKGROUNDS but KEEP. margin: on each side of a box, as a share of its width or height."""

    kind: str
    margin: float = MARGIN

    def kept(self, identities: Identities, start: int, stop: int) -> Iterator[np.ndarray]:
        """What is left of driving frames start..stop, bool [H, W] at the masks' size; after the end of the masks the
        last frame is repeated."""
        if self.kind == PEOPLE:
            yield from identities.driving_people(start, stop)
            return
        masks = identities.driving
        steady = _around(masks, self.margin) if self.kind == STEADY_BOX else None
        for frame in np.arange(start, stop).clip(max=len(masks) - 1):
            yield _filled(_in_frame(masks, frame, self.margin) if steady is None else steady, masks.size)

    def applied(self, frames: Tensor, identities: Identities, start: int) -> Tensor:
        """Driving frames uint8 [T, h, w, 3] from `start` on, with the rest black."""
        masks = torch.from_numpy(np.stack(list(self.kept(identities, start, start + len(frames)))))  # [T, H, W]
        size = frames.shape[1], frames.shape[2]
        seen = F.interpolate(masks.view(torch.uint8)[:, None], size, mode="nearest-exact")[:, 0]
        return frames * seen[..., None]


def merged(boxes: Iterable[Box]) -> list[Box]:
    """Boxes of which no two overlap: two that did become the one around both, which may overlap a third."""
    apart: list[Box] = []
    for box in boxes:
        while other := next((other for other in apart if _overlap(box, other)), None):
            apart.remove(other)
            box = _union((box, other))
        apart.append(box)
    return apart


def _in_frame(masks: MaskSet, frame: int, margin: float) -> list[Box]:
    shown = (track.masks[frame] for track in masks.tracks)
    return merged(_padded(mask.box, masks.size, margin) for mask in shown if mask.area)


def _around(masks: MaskSet, margin: float) -> list[Box]:
    """The box around everybody in every frame."""
    boxes = [mask.box for track in masks.tracks for mask in track.masks if mask.area]
    return [_padded(_union(boxes), masks.size, margin)]


def _padded(box: Box, size: tuple[int, int], margin: float) -> Box:
    left, top, right, bottom = box
    across, down = round((right - left) * margin), round((bottom - top) * margin)
    return max(left - across, 0), max(top - down, 0), min(right + across, size[1]), min(bottom + down, size[0])


def _overlap(one: Box, other: Box) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def _union(boxes: Iterable[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _filled(boxes: Iterable[Box], size: tuple[int, int]) -> np.ndarray:
    kept = np.zeros(size, bool)
    for left, top, right, bottom in boxes:
        kept[top:bottom, left:right] = True
    return kept
