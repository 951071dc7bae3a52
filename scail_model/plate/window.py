"""A steady window around one person over time, which the model sees instead of the whole picture.

Its centre follows a smoothed path (Whittaker 1922, Eilers 2003: least squares with a penalty on second differences),
which runs straight through frames without the person. Its size is what holds the person everywhere around a frame,
averaged over as long a time, so it is never too small and never jumps. Where the video cuts, both begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import cho_solve_banded, cholesky_banded

from ..files.content_keys import digest
from ..geometry import cover_map
from .placement import Size
from .resample import Affine

_CALM = 0.5  # seconds in which a path may not turn
_USUAL_RATE = 16.0  # of clips that state none
_UNSEEN = 0.02  # how much a frame without the person counts, beside one with them
_STEPS = 256  # places for each pixel, so that every machine finds the same ones
_ROOM = 1.04  # of a window, for a path that need not turn with every box
_PULL, _TURNS = 0.1, 200  # of the search for a path
_SMALLEST = 4.0  # pixels; a side


@dataclass(frozen=True, eq=False)
class Boxes:
    """Where somebody is in each frame, in pixels of the picture. edges: float64 [T, 4], left, top, right, bottom. seen:
    bool [T]."""

    edges: np.ndarray
    seen: np.ndarray

    @property
    def bridged(self) -> np.ndarray:
        """The edges, straight through frames without the person, and held before the first one and after the last."""
        frames, known = np.arange(len(self.seen)), np.flatnonzero(self.seen)
        return np.stack([np.interp(frames, known, side[known]) for side in self.edges.T], 1)


@dataclass(frozen=True, eq=False)
class Window:
    """Windows of a plate, as a `Placement`. size: (height, width) of what is made of them. scales, offsets: float64
    [T, 2], the affine of each frame from the plate to that, x and y."""

    plate_size: Size
    size: Size
    scales: np.ndarray
    offsets: np.ndarray

    @property
    def key(self) -> str:
        return digest(self.plate_size, self.size, self.scales.tobytes().hex(), self.offsets.tobytes().hex())

    def __len__(self) -> int:
        return len(self.scales)

    def at(self, frame: int) -> Affine:
        return Affine(tuple(self.scales[frame].tolist()), tuple(self.offsets[frame].tolist()))

    @property
    def rectangles(self) -> np.ndarray:
        """Edges on the plate, float64 [T, 4]: left, top, right, bottom."""
        sides = np.array(self.size[::-1], np.float64)
        return np.concatenate([self.offsets / self.scales, (self.offsets + sides) / self.scales], 1)

    def picked(self, frames: Sequence[int]) -> Window:
        """The windows of these frames, in this order."""
        index = list(frames)
        return replace(self, scales=self.scales[index], offsets=self.offsets[index])

    def sized(self, size: Size) -> Window:
        """The same for a picture of another size, which shows what `geometry.cover_crop` leaves of this one."""
        scale, offset = map(np.array, cover_map(self.size, *size))
        return replace(self, size=size, scales=self.scales * scale, offsets=self.offsets * scale + offset)


def follow(boxes: Boxes, plate_size: Size, size: Size, margin: float, rate: Fraction | None = None,
           cuts: Sequence[int] = ()) -> Window:
    """The windows around somebody who is in one frame at least.

    size: (height, width) of what will be made, whose shape the windows have. margin: what is seen around the person, as
    a share of the box on each side. rate: frames per second. cuts: frames at which the path begins anew.
    """
    starts = [0, *(cut for cut in cuts if 0 < cut < len(boxes.seen)), len(boxes.seen)]
    corners, widths = [], []
    calm = max(2.0, _CALM * float(rate or _USUAL_RATE))
    bridged = boxes.bridged
    for start, stop in zip(starts, starts[1:], strict=False):
        scene = slice(start, stop)
        seen = boxes.seen[scene]
        known = Boxes(boxes.edges[scene], seen).bridged if seen.any() else bridged[scene]
        path, width = _scene(known, seen, plate_size, size[1] / size[0], margin, calm)
        corners.append(path)
        widths.append(width)
    return _windows(np.concatenate(corners), np.concatenate(widths), plate_size, size)


def smoothed(path: Boxes, rate: Fraction | None, seconds: float) -> np.ndarray:
    """Numbers over time that do not turn within some seconds: [T, n] of `path`, bridged where they are not known."""
    calm = max(2.0, seconds * float(rate or _USUAL_RATE))
    return _Smoother(np.where(path.seen, 1.0, _UNSEEN)[:, None], calm)(path.bridged)


def _scene(edges: np.ndarray, seen: np.ndarray, plate_size: Size, shape: float, margin: float, calm: float
           ) -> tuple[np.ndarray, np.ndarray]:
    """Left upper corners [T, 2] and widths [T] in one scene. shape: width by height."""
    picture = np.array(plate_size[::-1], np.float64)
    aspect = np.array([1.0, 1 / shape])  # sides of a window, by its width
    middle, half = (edges[:, :2] + edges[:, 2:]) / 2, (edges[:, 2:] - edges[:, :2]) / 2 * (1 + 2 * margin)
    low, high = np.clip(middle - half, 0, picture), np.clip(middle + half, 0, picture)
    widest = min(picture[0], picture[1] * shape)
    middle = (low + high) / 2
    weights = np.where(seen, 1.0, _UNSEEN)[:, None]
    path = _Smoother(weights, calm)(middle)
    off = np.where(seen[:, None], np.abs(path - middle), 0)
    needed = 2 * ((off + (high - low) / 2) / aspect).max(1) * _ROOM
    width = _held(np.clip(needed, _SMALLEST, widest), round(calm))
    sides = width[:, None] * aspect
    first, last = np.maximum(high - sides, 0), np.minimum(low, picture - sides)
    centred = np.clip(middle - sides / 2, 0, picture - sides)
    cut = first > last  # the person is larger than any window: their middle counts
    first, last = np.where(cut, centred, first), np.where(cut, centred, last)
    first, last = np.where(seen[:, None], first, 0), np.where(seen[:, None], last, picture - sides)
    return _between(first, last, centred, weights, calm), width


class _Smoother:
    """Paths [T, 2] near the given ones, as weights [T, 1] say, with second differences as small as can be."""

    def __init__(self, weights: np.ndarray, calm: float) -> None:
        count = len(weights)
        bands = np.zeros((3, count))  # of the weights and the squares of second differences, the diagonal last
        if count > 2:
            for shift, value in enumerate((1.0, 4.0, 1.0)):
                bands[2, shift : count - 2 + shift] += value
            bands[1, 1 : count - 1] -= 2.0
            bands[1, 2:count] -= 2.0
            bands[0, 2:] += 1.0
        bands *= calm**4
        bands[2] += weights[:, 0]
        self.weights, self.factors = weights, cholesky_banded(bands[-count:])

    def __call__(self, path: np.ndarray) -> np.ndarray:
        return cho_solve_banded((self.factors, False), self.weights * path)


def _between(first: np.ndarray, last: np.ndarray, wanted: np.ndarray, weights: np.ndarray, calm: float) -> np.ndarray:
    """The smoothest path [T, 2] near a wanted one, and never before `first` or after `last`: alternating directions
    (ADMM, Boyd et al. 2011)."""
    smooth = _Smoother(weights + _PULL, calm)
    free = path = np.clip(wanted, first, last)
    off = np.zeros_like(wanted)
    for _ in range(_TURNS):
        free = smooth((weights * wanted + _PULL * (path - off)) / smooth.weights)
        path = np.clip(free + off, first, last)
        off += free - path
    return np.clip(free, first, last)


def _held(widths: np.ndarray, calm: int) -> np.ndarray:
    """Widths that are never smaller than the given ones: the largest around each frame, averaged over as long."""
    largest = sliding_window_view(np.pad(widths, 2 * calm, mode="symmetric"), 2 * calm + 1).max(1)
    return np.convolve(largest, _kernel(calm), mode="valid")


def _kernel(calm: int) -> np.ndarray:
    kernel = np.hanning(2 * calm + 3)[1:-1]
    return kernel / kernel.sum()


def _windows(corners: np.ndarray, widths: np.ndarray, plate_size: Size, size: Size) -> Window:
    # of whole steps, so that what differs in the last bit between machines becomes the same
    picture = np.array(plate_size[::-1], np.float64)
    shape = np.array([1.0, size[0] / size[1]])
    widths = np.minimum(np.round(widths * _STEPS) / _STEPS, min(picture[0], picture[1] / shape[1]))
    free = np.maximum(picture - widths[:, None] * shape, 0)
    corners = np.clip(np.round(corners * _STEPS) / _STEPS, 0, free)
    scales = np.repeat(size[1] / widths[:, None], 2, 1)
    return Window(plate_size, size, scales, corners * scales)
