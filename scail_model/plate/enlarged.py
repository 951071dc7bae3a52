"""Part of a frame, enlarged so that `resample.resampled` brings it back as it was.

The way back is the plain one for any picture that is made. So the way there has to be its inverse: cubic
interpolation, and what the way back would still miss, spread by the pseudoinverse over the pixels that it reads
(iterative back-projection, Irani and Peleg 1991, solved instead of iterated). Only where that leaves the range of
levels, at hard edges in black and white, it is iterated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import solveh_banded
from scipy.sparse import csr_matrix
from torch import Tensor

from ..levels import WHITE
from .resample import Affine, axis_weights, resampled

_BAND = 6  # pixels of the plate whose ways back read the same pixels; a cubic kernel reaches 2 on each side
_DAMPING = 1e-4  # of frequencies that the way back nearly loses, as at half a pixel without a change of size
_ROUNDS, _ENOUGH = 2, 0.4  # of iterating; levels
_EAGER = 1.8  # how much more is added than is missed, because a part of it is cut off again
_NOTHING = 2e-5  # a weight that is left out


def enlarged(frame: Tensor, affine: Affine, size: tuple[int, int]) -> Tensor:
    """A frame uint8 [h, w, 3] -> uint8 [H, W, 3] of this size (H, W). affine: from the frame to the result. Where that
    makes it smaller, this is `resampled`, which cannot be undone."""
    picture = frame.float()
    if min(affine.scale) <= 1:
        return resampled(picture[None], affine, size)[0].round().clamp(0, WHITE).byte()
    rows, columns = (_way(frame.shape[axis], size[axis], affine.scale[1 - axis], affine.offset[1 - axis])
                     for axis in (0, 1))
    made = _along_both(picture, rows, columns)
    low, high = made.aminmax()
    for _ in range(_ROUNDS if low < -0.5 or high > WHITE + 0.5 else 0):
        made.clamp_(0, WHITE)
        back = resampled(made[None], affine.inverse.moved(columns.shown.start, rows.shown.start), (
            len(rows.shown), len(columns.shown)))[0]
        missed = torch.zeros_like(picture)
        part = slice(rows.shown.start, rows.shown.stop), slice(columns.shown.start, columns.shown.stop)
        missed[part] = picture[part] - back
        if missed.abs().max() < _ENOUGH:
            break
        made += _along_both(missed, rows, columns) * _EAGER
    return made.round().clamp(0, WHITE).byte()


class _Way(NamedTuple):
    """Along one axis. weights: of each source pixel from `first` on for each target pixel, float32 [target, used],
    sparse.
    shown: source pixels whose centres the result shows."""

    weights: Any
    first: int
    shown: range


def _along_both(picture: Tensor, rows: _Way, columns: _Way) -> Tensor:
    """[h, w, c] -> [H, W, c]."""
    part = picture[rows.first : rows.first + rows.weights.shape[1],
                   columns.first : columns.first + columns.weights.shape[1]].numpy()
    height, width, colours = part.shape
    narrow = rows.weights @ part.reshape(height, width * colours)  # [H, w * c]
    turned = np.ascontiguousarray(narrow.reshape(-1, width, colours).swapaxes(0, 1))  # [w, H, c]
    made = columns.weights @ turned.reshape(width, -1)  # [W, H * c]
    return torch.from_numpy(made.reshape(len(made), -1, colours).swapaxes(0, 1).copy())


@lru_cache(maxsize=8)
def _way(source: int, target: int, scale: float, offset: float) -> _Way:
    there, first = _dense(source, target, scale, offset)
    places = (np.arange(first, first + there.shape[1]) + 0.5) * scale - offset
    inside = np.flatnonzero((places >= 0) & (places <= target))
    shown = range(first + int(inside[0]), first + int(inside[-1]) + 1) if len(inside) else range(0)
    if shown:
        back, used = _dense(target, len(shown), 1 / scale, shown.start - offset / scale)
        missed = -back @ there[used : used + back.shape[1]]
        missed[np.arange(len(shown)), inside] += 1
        squares = back @ back.T
        bands = np.zeros((min(_BAND + 1, len(shown)), len(shown)))
        for off in range(len(bands)):
            bands[-1 - off, off:] = squares.diagonal(off)
        bands[-1] += _DAMPING
        there[used : used + back.shape[1]] += back.T @ solveh_banded(bands, missed)
    there[np.abs(there) < _NOTHING] = 0
    return _Way(csr_matrix(there.astype(np.float32)), first, shown)


def _dense(source: int, target: int, scale: float, offset: float) -> tuple[np.ndarray, int]:
    """The weights of `resampled`, and the first source pixel that is used."""
    sources, weights = (each.numpy() for each in axis_weights(source, target, scale, offset))
    first = int(sources.min())
    matrix = np.zeros((target, int(sources.max()) + 1 - first))
    np.add.at(matrix, (np.arange(target)[None], sources - first), weights)
    return matrix, first
