"""Measurements of a video, frame by frame and in one pass: colour, contrast, sharpness and motion.

Colours are CIE LAB (D65, kornia's), where equal distances (Delta E) look like equal differences: 1 is about the
smallest difference visible in a direct comparison, 2.3 the usual figure for a noticeable one (Mahy, Van Eycken and
Oosterlinck 1994). Colours are measured with the longest side at 512 pixels, sharpness at the video's own size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import kornia.color
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PICTURE, PEOPLE, BACKGROUND = "picture", "people", "background"
LONGEST = 512  # pixels of the longest side for colours
TONES = 8
SMALLEST_SHARE = 0.002  # of the picture, below which an area is not measured
_STRIDE = 2  # tones are medians; a quarter of the pixels is enough for them
_LUMA = (0.2126, 0.7152, 0.0722)  # Rec. 709


class Series(NamedTuple):
    """Measurements of one area over T frames, float64; nan in frames that do not show it.

    mean, spread: [T, 3], mean and standard deviation of L, a and b over the pixels; contrast is the spread of L.
    chroma: [T], mean of sqrt(a^2 + b^2), which is 0 for greys.
    sharpness: [T], mean gradient length of the luma in levels (0..255) per pixel, at the video's own size.
    jump: [T], mean Delta E between each pixel and the same pixel of the previous frame; nan in the first frame.
    tones: [T, 8, 3], change of L, a and b since the previous frame, for each eighth of the pixels from dark to light,
    the median over its pixels. The median follows the whole area and ignores parts that move.
    """

    mean: np.ndarray
    spread: np.ndarray
    chroma: np.ndarray
    sharpness: np.ndarray
    jump: np.ndarray
    tones: np.ndarray

    @property
    def contrast(self) -> np.ndarray:
        """[T]."""
        return self.spread[:, 0]


class _Row(NamedTuple):
    """The same for one frame, without the axis T."""

    mean: np.ndarray
    spread: np.ndarray
    chroma: float
    sharpness: float
    jump: float
    tones: np.ndarray


class _View(NamedTuple):
    """A frame prepared for measuring: lab [3, h, w], gradient [H - 1, W - 1], and the masks of each area at both
    sizes."""

    lab: Tensor
    gradient: Tensor
    masks: Mapping[str, tuple[Tensor, Tensor]]


def measure(frames: Iterable[Tensor], somebody: Callable[[int], Tensor] | None = None,
            progress: Callable[[int], None] = lambda frames: None) -> dict[str, Series]:
    """Measure frames uint8 [H, W, 3], such as a `clips.Clip`, one at a time; returns a series for each area.

    somebody: frame number -> mask of the people, bool [H, W] of the frame's size; with it people and background are
    measured in addition to the picture. progress: called with the number of frames done.
    """
    rows: dict[str, list[_Row]] = {area: [] for area in (PICTURE, *((PEOPLE, BACKGROUND) if somebody else ()))}
    before = None
    for index, frame in enumerate(frames):
        view = _view(frame, somebody and somebody(index))
        for area, measured in rows.items():
            measured.append(_row(view, before, area))
        before = view
        progress(index + 1)
    return {area: Series(*(np.array(column) for column in zip(*measured, strict=True)))
            for area, measured in rows.items()}


def measure_picture(picture: Tensor, somebody: Tensor | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(mean [3], spread [3]) of each area of a picture, uint8 [H, W, 3]; nan if the area is empty."""
    view = _view(picture, somebody)
    rows = {area: _row(view, None, area) for area in (PICTURE, *view.masks)}
    return {area: (np.array(row.mean), np.array(row.spread)) for area, row in rows.items()}


def distance(mean: np.ndarray, spread: np.ndarray, other_mean: np.ndarray, other_spread: np.ndarray) -> np.ndarray:
    """Distance between two colour distributions in Delta E; arrays [..., 3] -> [...].

    The Wasserstein (or Frechet) distance of two uncorrelated normal distributions: the root of the summed squared
    differences of means and spreads. A colour cast of Delta E 1 over the whole picture gives 1; so does a spread of L
    that is larger by 1.
    """
    return np.sqrt(((mean - other_mean) ** 2 + (spread - other_spread) ** 2).sum(-1))


def cover_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask [h, w] scaled and cropped to height x width as `geometry.cover_crop` does with the picture; nearest."""
    scale = max(height / mask.shape[0], width / mask.shape[1])
    rows, columns = (((torch.arange(new) + 0.5 - new / 2) / scale + old / 2).long().clamp(0, old - 1)
                     for old, new in zip(mask.shape, (height, width), strict=True))
    return mask[rows][:, columns]


def _view(frame: Tensor, somebody: Tensor | None) -> _View:
    """Frame uint8 [H, W, 3], mask bool [H, W] or None."""
    picture = frame.movedim(-1, 0).float()[None]  # [1, 3, H, W], levels
    luma = (picture.new_tensor(_LUMA) @ picture[0].flatten(1)).view(frame.shape[:2])
    gradient = torch.hypot(luma[1:, :-1] - luma[:-1, :-1], luma[:-1, 1:] - luma[:-1, :-1])
    shrink = min(1.0, LONGEST / max(frame.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in frame.shape[:2])
    size = height, width
    lab = kornia.color.rgb_to_lab(F.interpolate(picture, size, mode="area") / 255)[0]
    if somebody is None:
        return _View(lab, gradient, {})
    small, large = cover_mask(somebody, *size), somebody[:-1, :-1]
    return _View(lab, gradient, {PEOPLE: (small, large), BACKGROUND: (~small, ~large)})


def _row(view: _View, before: _View | None, area: str) -> _Row:
    lab, gradient = view.lab.flatten(1), view.gradient
    if area in view.masks:
        inside, large = view.masks[area]
        if inside.float().mean() < SMALLEST_SHARE:
            return _EMPTY
        lab, gradient = view.lab[:, inside], gradient[large]
    mean, spread = lab.mean(1), lab.std(1, correction=0)
    chroma = torch.hypot(lab[1], lab[2]).mean()
    jump, tones = _change(view, before, area)
    return _Row(mean.double().numpy(), spread.double().numpy(), chroma.item(), gradient.mean().item(), jump, tones)


def _change(view: _View, before: _View | None, area: str) -> tuple[float, np.ndarray]:
    """Jump and tones, over the pixels that belong to the area in both frames."""
    if before is None:
        return _EMPTY.jump, _EMPTY.tones
    thin = [one.lab[:, ::_STRIDE, ::_STRIDE].flatten(1) for one in (before, view)]
    differences = (view.lab - before.lab).square_().sum(0).sqrt_()
    if area not in view.masks:
        return differences.mean().item(), _tones(*thin)
    both = view.masks[area][0] & before.masks[area][0]
    if both.float().mean() < SMALLEST_SHARE:
        return _EMPTY.jump, _EMPTY.tones
    inside = both[::_STRIDE, ::_STRIDE].flatten()
    return differences[both].mean().item(), _tones(*(one[:, inside] for one in thin))


def _tones(before: Tensor, after: Tensor) -> np.ndarray:
    """[8, 3] from two frames' pixels [3, n]."""
    count = before.shape[1] // TONES * TONES
    if not count:
        return _EMPTY.tones
    # sort by both frames: sorted by one, noise alone would appear to darken the lightest pixels
    order = (before[0] + after[0]).argsort()[:count]
    changes = (after - before)[:, order].unflatten(1, (TONES, -1))  # [3, 8, n / 8]
    return changes.median(-1).values.T.double().numpy()


_EMPTY = _Row(np.full(3, np.nan), np.full(3, np.nan), np.nan, np.nan, np.nan, np.full((TONES, 3), np.nan))
