"""How a video changes from frame to frame: colour, contrast, sharpness and motion, measured in one pass.

Colours are CIE LAB (D65, kornia's), in which an equal distance, Delta E, looks like an equal difference: 1 is about the
smallest that is seen in a direct comparison, 2.3 the usual figure for one that is noticed (Mahy, Van Eycken and
Oosterlinck 1994). They are measured with the longest side at 512 pixels, sharpness at the video's own size.
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
_STRIDE = 2  # tones are medians, which a quarter of the pixels gives as well
_LUMA = (0.2126, 0.7152, 0.0722)  # Rec. 709


class Series(NamedTuple):
    """What is measured in one area of the T frames, float64; nan in frames that do not show it.

    mean, spread: [T, 3], mean and standard deviation of L, a and b over the pixels; contrast is the spread of L.
    chroma: [T], mean of sqrt(a^2 + b^2), which is 0 for greys.
    sharpness: [T], mean length of the gradient of the luma in levels (0..255) per pixel, at the video's own size.
    jump: [T], mean Delta E between a pixel and the same one of the frame before; nan in the first frame.
    tones: [T, 8, 3], change of L, a and b since the frame before in the eighths of the pixels from dark to light, each
    the median of its pixels. So it is what the whole area does, and a part that moves counts for nothing.
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


class _View(NamedTuple):
    """A frame as it is measured: lab [3, h, w], gradient [H - 1, W - 1], and by area its masks at both sizes."""

    lab: Tensor
    gradient: Tensor
    masks: Mapping[str, tuple[Tensor, Tensor]]


def measure(frames: Iterable[Tensor], somebody: Callable[[int], Tensor] | None = None,
            progress: Callable[[int], None] = lambda frames: None) -> dict[str, Series]:
    """Measure frames uint8 [H, W, 3], such as a `clips.Clip`, one in memory at a time, in the areas that there are.

    somebody: frame number -> where people are, bool [H, W] of the frames' size; with it the people and the background
    are measured besides the picture. progress: called with the number of frames that are done.
    """
    rows: dict[str, list[Series]] = {area: [] for area in (PICTURE, *((PEOPLE, BACKGROUND) if somebody else ()))}
    before = None
    for index, frame in enumerate(frames):
        view = _view(frame, somebody and somebody(index))
        for area, found in rows.items():
            found.append(_row(view, before, area))
        before = view
        progress(index + 1)
    return {area: Series(*(np.array(column) for column in zip(*found, strict=True))) for area, found in rows.items()}


def measure_picture(picture: Tensor, somebody: Tensor | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(mean [3], spread [3]) in each area of a picture, uint8 [H, W, 3]; nan where there is nothing of it."""
    view = _view(picture, somebody)
    rows = {area: _row(view, None, area) for area in (PICTURE, *view.masks)}
    return {area: (np.array(row.mean), np.array(row.spread)) for area, row in rows.items()}


def distance(mean: np.ndarray, spread: np.ndarray, other_mean: np.ndarray, other_spread: np.ndarray) -> np.ndarray:
    """How far two distributions of colours are apart, in Delta E; arrays [..., 3] -> [...].

    The Wasserstein (or Frechet) distance of two normal distributions without correlations: the root of the squared
    differences of all means and spreads. A colour cast of Delta E 1 over the whole picture gives 1; so does a spread
    of L that is larger by 1.
    """
    return np.sqrt(((mean - other_mean) ** 2 + (spread - other_spread) ** 2).sum(-1))


def cover_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask [h, w] at another size, scaled and cropped as `geometry.cover_crop` does with the picture; nearest."""
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
    size = tuple(max(1, round(side * shrink)) for side in frame.shape[:2])
    lab = kornia.color.rgb_to_lab(F.interpolate(picture, size, mode="area") / 255)[0]
    if somebody is None:
        return _View(lab, gradient, {})
    small, large = cover_mask(somebody, *size), somebody[:-1, :-1]
    return _View(lab, gradient, {PEOPLE: (small, large), BACKGROUND: (~small, ~large)})


def _row(view: _View, before: _View | None, area: str) -> Series:
    """One frame of a series."""
    lab, gradient = view.lab.flatten(1), view.gradient
    if area in view.masks:
        inside, large = view.masks[area]
        if inside.float().mean() < SMALLEST_SHARE:
            return _NOTHING
        lab, gradient = view.lab[:, inside], gradient[large]
    mean, spread = lab.mean(1), lab.std(1, correction=0)
    chroma = torch.hypot(lab[1], lab[2]).mean()
    jump, tones = _change(view, before, area)
    return Series(mean.double().numpy(), spread.double().numpy(), chroma.item(), gradient.mean().item(), jump, tones)


def _change(view: _View, before: _View | None, area: str) -> tuple[float, np.ndarray]:
    """Jump and tones, over the pixels that belong to the area in both frames."""
    if before is None:
        return _NOTHING.jump, _NOTHING.tones
    thin = [one.lab[:, ::_STRIDE, ::_STRIDE].flatten(1) for one in (before, view)]
    differences = (view.lab - before.lab).square_().sum(0).sqrt_()
    if area not in view.masks:
        return differences.mean().item(), _tones(*thin)
    both = view.masks[area][0] & before.masks[area][0]
    if both.float().mean() < SMALLEST_SHARE:
        return _NOTHING.jump, _NOTHING.tones
    inside = both[::_STRIDE, ::_STRIDE].flatten()
    return differences[both].mean().item(), _tones(*(one[:, inside] for one in thin))


def _tones(before: Tensor, after: Tensor) -> np.ndarray:
    """[8, 3] from two frames' pixels [3, n]."""
    count = before.shape[1] // TONES * TONES
    if not count:
        return _NOTHING.tones
    # sorted by both frames alike: by one of them, noise alone would seem to darken the lightest pixels
    order = (before[0] + after[0]).argsort()[:count]
    changes = (after - before)[:, order].unflatten(1, (TONES, -1))  # [3, 8, n / 8]
    return changes.median(-1).values.T.double().numpy()


_NOTHING = Series(np.full(3, np.nan), np.full(3, np.nan), np.nan, np.nan, np.nan, np.full((TONES, 3), np.nan))
