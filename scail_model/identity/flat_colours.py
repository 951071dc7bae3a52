"""Masks in flat colours other than the six, as the tools of segmentation write them: a colour for each person on black
or white, whatever the colours. They tell people apart and mean nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from torch import Tensor

from ..levels import to_levels
from ..masks import PEOPLE_LIMIT
from .mask_set import pack_frames
from .mask_sources import Source
from .overlap import left_to_right

_BITS = 5  # of each component; a table has a place for each colour
_APART = 48  # levels, in one component at least, between two people's colours
_FLAT = 16  # levels, in every component: what a codec moves a flat colour by
_LEAST = 0.005  # share of a frame; less of a colour is the blur of an edge
_UNCLEAR = 0.15  # share of a frame that need not be flat: blurred edges, of small pictures too
_GROUND = 0.05  # share of the first frame that black or white has to have

_STEPS = np.arange(1 << _BITS)
_CENTRES = (np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS, indexing="ij"), -1).reshape(-1, 3) * 8 + 4).astype(np.int16)


def from_flat_colours(frames: Callable[[], Iterable[Tensor]], count: int, name: str) -> Source | None:
    """Read `count` masks [H, W, 3 or more], uint8 or float in 0..1, people from left to right; None if these are not a
    few flat colours on black or white. frames: gives them anew, because they are looked through twice."""
    colours = _colours(map(_codes, frames()))
    if colours is None or len(colours) == 2:
        return None
    labels = _distances(colours).argmin(0).astype(np.uint8)  # 0 and 1 are black and white
    numbers = np.arange(2, len(colours), dtype=np.uint8)[:, None, None]
    height, width = next(iter(frames())).shape[:2]
    masks = pack_frames((labels[codes] == numbers for codes in map(_codes, frames())), count, len(numbers), height,
                        width)
    return Source(name, masks.select(left_to_right(masks)))


def _colours(frames: Iterator[np.ndarray]) -> np.ndarray | None:
    """Black, white and the colours of the people, int16 [n, 3]; None for frames of more, or of others."""
    colours = np.array([(0, 0, 0), (255, 255, 255)], np.int16)
    for number, codes in enumerate(frames):
        shares = np.bincount(codes.ravel(), minlength=len(_CENTRES)) / codes.size
        for code in np.argsort(-shares):
            if shares[code] < _LEAST:
                break
            if _distances(colours)[:, code].min() > _APART:
                colours = np.concatenate((colours, _CENTRES[code][None]))
        far = _distances(colours)
        if len(colours) > 2 + PEOPLE_LIMIT or shares[far.min(0) > _FLAT].sum() > _UNCLEAR:
            return None
        if number == 0 and shares[far[:2].min(0) <= _FLAT].sum() < _GROUND:
            return None
    return colours


def _codes(frame: Tensor) -> np.ndarray:
    """Place of each pixel in the table, int32 [H, W]."""
    steps = (to_levels(frame[..., :3]).cpu().numpy() >> (8 - _BITS)).astype(np.int32)
    return (steps[..., 0] << 2 * _BITS) | (steps[..., 1] << _BITS) | steps[..., 2]


def _distances(colours: np.ndarray) -> np.ndarray:
    """Of every place in the table from each colour, int16 [n, places]: the largest of the three."""
    return np.abs(_CENTRES[None] - colours[:, None]).max(-1)
