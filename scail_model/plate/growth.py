"""Where made people grow out of the driven ones, as bigger hair, a skirt or a hat: seen in the made frames, which
differ there from what was filmed by far more than elsewhere.

The place around the people is made anew as well, and is never quite what was filmed. How far off it is far from
everybody says what a difference means near them. What is found counts where it hangs together with a driven person, no
farther away than people's hair and clothes reach, and where a frame before or after shows it too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..levels import WHITE
from ..opencv import distances, opencv
from .placement import Size
from .resample import Affine

_BLUR = 1.5  # pixels; finer structure is made anew, and is no sign of a person
_LEAST = 0.07  # of the levels 0..1; less is light, or a colour that is slightly off
_USUAL, _OVER = 0.95, 2.0  # of the differences far from people, which of them is usual, and how many times it is a lot
_REACH = 0.3  # of a person's size
_FEWEST = 0.03  # of the picture, below which there is no place far from people
_GAP = 3  # pixels between a person and what belongs to them, as a bright outline
_MOVED = 8  # pixels from frame to frame
_SPECK = 5  # pixels across, of what is no part of a person
_SEEN = 1.5 / 255  # of the levels; nobody sees less
_AROUND = 5  # pixels across, of a soft outline


class Look(NamedTuple):
    """One made frame beside what was filmed. people: where the driven ones are, bool [H, W]. grown: where the made ones
    grow out of them, bool [H, W]. strange: where the made frame differs from what was filmed by far, bool [H, W].
    other: by how much it differs from what was filmed, float32 [H, W]: 0 where no more than a held plate does after the
    VAE, 1 where clearly; None where that cannot be known."""

    people: np.ndarray
    grown: np.ndarray
    strange: np.ndarray
    other: np.ndarray | None = None


def look(made: np.ndarray, filmed: np.ndarray, people: np.ndarray, kept: np.ndarray | None) -> Look:
    """made, filmed: float32 [H, W, 3] in 0..1. people: driven ones, bool [H, W]. kept: who stays as filmed, bool
    [H, W]; None for nobody."""
    nothing = np.zeros(people.shape, bool)
    if not people.any():
        return Look(people, nothing, nothing)
    cv2 = opencv()
    distance = distances(~people)
    reach = _REACH * _size(people)
    free = nothing if kept is None else kept
    far = (distance > reach) & ~free
    if far.mean() < _FEWEST:
        return Look(people, nothing, nothing)
    blurred = _blurred(made - filmed, ~people)
    blurred -= np.median(blurred[far], axis=0)  # a cast over the whole picture is nobody
    differences = np.sqrt(np.square(blurred).mean(-1))
    usual = float(np.quantile(differences[far], _USUAL))
    strange = (differences > max(_LEAST, _OVER * usual)) & ~free
    near = strange & (distance <= reach) & ~people
    speck = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SPECK, _SPECK))
    opened = cv2.morphologyEx(near.view(np.uint8), cv2.MORPH_OPEN, speck).view(bool)
    return Look(people, _hanging(opened, distance <= _GAP), strange, _clearly(differences, far))


def _clearly(differences: np.ndarray, far: np.ndarray) -> np.ndarray:
    """How clear differences [H, W] are: float32, 0 up to the usual one `far` from people, bool [H, W], and 1 from twice
    as much on. Soft outlines of what differs are part of it."""
    cv2 = opencv()
    around = cv2.dilate(differences, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_AROUND, _AROUND)))
    usual = max(float(np.quantile(around[far], _USUAL)), _SEEN)
    soft = cv2.GaussianBlur((around / usual - 1).clip(0, 1).astype(np.float32), (0, 0), _BLUR)
    return np.round(soft * WHITE) / np.float32(WHITE)  # whole levels: a last bit more or less is no other picture


def _blurred(picture: np.ndarray, used: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] blurred by its `used` pixels, bool [H, W], alone: people change in any case, and would shine
    into what is around them."""
    cv2, weights = opencv(), used.astype(np.float32)
    weighted = cv2.GaussianBlur(picture * weights[..., None], (0, 0), _BLUR)
    return weighted / np.maximum(cv2.GaussianBlur(weights, (0, 0), _BLUR), 1e-3)[..., None]


def steady(before: Look | None, now: Look, after: Look | None) -> np.ndarray:
    """What grows out of people, bool [H, W], without what only one frame shows, and with what only one does not.
    before, after: None at the ends of a video."""
    others = [other.grown for other in (before, after) if other is not None]
    if not others:
        return now.grown
    cv2 = opencv()
    around = np.logical_or.reduce(others).view(np.uint8)
    moved = cv2.dilate(around, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _MOVED + 1, 2 * _MOVED + 1)))
    seen = now.grown & moved.view(bool)
    return seen | np.logical_and.reduce(others) if len(others) == 2 else seen


def reduced(filmed: np.ndarray, there: Affine, size: Size) -> np.ndarray:
    """What was filmed, uint8 [h, w, 3], at the made size, float32 [H, W, 3] in 0..1: quickly, and exactly enough to be
    blurred and compared. there: from the plate to the made picture."""
    cv2 = opencv()
    steps = [max(1, int(1 / scale)) for scale in there.scale]
    width, height = (side // step for side, step in zip(filmed.shape[1::-1], steps, strict=True))
    whole = filmed[: height * steps[1], : width * steps[0]]
    smaller = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA) if max(steps) > 1 else whole
    across, down = (scale * step for scale, step in zip(there.scale, steps, strict=True))
    matrix = Affine((across, down), there.offset).matrix
    shown = cv2.warpAffine(smaller, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return shown.astype(np.float32) / WHITE


def _hanging(pieces: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The pieces that touch a person."""
    if not pieces.any():
        return pieces
    _, labels = opencv().connectedComponents((pieces | person).view(np.uint8), connectivity=8)
    touching = np.unique(labels[person])
    return pieces & np.isin(labels, touching[touching > 0])


def _size(people: np.ndarray) -> float:
    """Of the largest person: the mean of width and height of a piece of the mask."""
    _, _, stats, _ = opencv().connectedComponentsWithStats(people.view(np.uint8), connectivity=8)
    return float(stats[1:, 2:4].mean(1).max())
