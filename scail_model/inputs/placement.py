"""Placement: scale and position of a reference picture at which its person has the driving person's size and place.

The size of the person in the reference decides the size in the result: with a driving person of 30 % of the height, a
reference person of 93 % came out 1.7 times too large, one of 34 % came out right (artokun/comfyui-mcp, issue 546).

Lengths are pixels from the left and top edges of a picture, so pixel i lies between i and i + 1. The canvas is the
picture that the model gets. In label maps 1..6 are people; 0 and 7 are background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import size_of
from ..masks import people

_SPECK = 0.002  # share of the person's pixels
_EDGE = 0.01  # of a side: masks often end a pixel or two before the edge of the picture
_CUT = 0.7  # feet and heads are round: their last rows are less than half as wide as those before
_WHOLE = 1.1  # visible heights within this factor show the same part of a body
_MOST = 4.0  # a picture of a person is assumed to show at least a quarter of what another one shows

_UPPER, _LOWER, _SIDE = "upper", "lower", "side"


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def centre(self) -> tuple[float, float]:
        """x and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Placement:
    """Position of a picture on the canvas: its point (x, y) lies at (left + scale * x, top + scale * y)."""

    scale: float
    left: float
    top: float


@dataclass(frozen=True)
class _Figure:
    """A person as `place` sees it. rows: pixels in each row of the box, float64 [box.height], top to bottom. cut: edges
    of the picture that cut the person off."""

    box: Box
    rows: Tensor
    cut: frozenset[str]


def box_of(mask: Tensor) -> Box | None:
    """The box around a mask, bool [H, W]; None if it is empty.

    Specks do not count: outer rows or columns that an empty row or column separates from the rest and that hold less
    than 0.2 % of all pixels. Hands and feet are never trimmed, because they are connected to the rest.
    """
    if not mask.any():
        return None
    (left, right), (top, bottom) = (_extent(mask.sum(dim=axis)) for axis in (0, 1))
    return Box(left, top, right, bottom)


def cover(size: tuple[int, int], height: int, width: int) -> Placement:
    """What `geometry.cover_crop` does to a picture of `size` (height, width), without rounding to whole pixels."""
    scale = max(height / size[0], width / size[1])
    return Placement(scale, (width - scale * size[1]) / 2, (height - scale * size[0]) / 2)


def place(reference: Tensor, driving: Tensor, height: int, width: int) -> tuple[Placement, str]:
    """Find where the reference belongs on a canvas of height x width, and describe it in words.

    reference uint8 [h, w] and driving uint8 [H, W] are label maps of whole pictures of any size; all people in them
    count as one. The driving frame covers the canvas (`cover`). The reference person gets the height of the driving
    person, its feet on the same line, and the same centre.

    If the top or bottom edge cuts a person off, its head or feet are missing. Then the scale gives the body part that
    both show the same area (more robust than the width of the box, which depends on the arms), and the end that both
    show is aligned: heads, or feet. A reference cut off at the bottom is moved down until the cut leaves the canvas. If
    neither heads nor feet can be compared, the visible heights are made equal.

    Raises ValueError if either shows no person.
    """
    source = _figure(reference, "reference mask")
    target = _figure(resample_labels(driving, cover(size_of(driving), height, width), height, width), "driving frame")
    scale, end, note = _scale(source, target)
    top = target.box.bottom - scale * source.box.bottom
    if end == _UPPER:
        top = target.box.top - scale * source.box.top
        hidden = height - scale * source.box.bottom  # at this top or lower, the bottom end is outside the canvas
        if _LOWER in source.cut and top < hidden:
            top = hidden
            note += " The reference is moved below the line of the heads, so that its cut is outside the picture."
    if _SIDE in source.cut | target.cut:
        note += " A side edge cuts a person off: the visible parts are centred."
    return Placement(scale, target.box.centre[0] - scale * source.box.centre[0], top), note


def scaled(placement: Placement, factor: float, labels: Tensor) -> Placement:
    """Make the people of a label map uint8 [h, w] `factor` times larger around the middle of their feet.

    Raises ValueError if it shows no person.
    """
    box = _person_box(labels, "reference mask")
    x, y = box.centre[0], box.bottom
    return Placement(placement.scale * factor, placement.left + placement.scale * (1 - factor) * x,
                     placement.top + placement.scale * (1 - factor) * y)


def outside_share(labels: Tensor, placement: Placement, height: int, width: int) -> float:
    """Share of the people in a label map uint8 [h, w] that lies outside the canvas, 0..1.

    Raises ValueError if it shows no person.
    """
    mask = people(labels)
    if not mask.any():
        raise ValueError("The reference mask is empty, but its person must be placed: paint the person.")
    y = placement.top + placement.scale * (torch.arange(labels.shape[0]) + 0.5)
    x = placement.left + placement.scale * (torch.arange(labels.shape[1]) + 0.5)
    seen = ((y >= 0) & (y < height))[:, None] & (x >= 0) & (x < width)
    return 1 - (mask & seen).sum().item() / mask.sum().item()


def resample_labels(labels: Tensor, placement: Placement, height: int, width: int) -> Tensor:
    """Label map uint8 [h, w] -> uint8 [height, width], nearest; 0 outside people and picture."""
    y, x = (places.floor().long().clamp(0, side - 1)
            for places, side in zip(centres(placement, height, width), labels.shape, strict=True))
    placed = labels[y[:, None], x]
    return torch.where(people(placed) & covered(size_of(labels), placement, height, width), placed, 0)


def centres(placement: Placement, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres of the canvas's pixels in the picture's coordinates: y [height] and x [width]."""
    y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in (height, width))
    return (y - placement.top) / placement.scale, (x - placement.left) / placement.scale


def covered(size: tuple[int, int], placement: Placement, height: int, width: int) -> Tensor:
    """Which pixels of the canvas a picture of `size` (height, width) covers, bool [height, width]."""
    rows, columns = ((places >= 0) & (places < side)
                     for places, side in zip(centres(placement, height, width), size, strict=True))
    return rows[:, None] & columns


def _extent(counts: Tensor) -> tuple[int, int]:
    """Range of the counts [n] that belong to the person, the end exclusive."""
    return _start(counts), len(counts) - _start(counts.flip(0))


def _start(counts: Tensor) -> int:
    filled = counts > 0
    begins = filled & ~F.pad(filled[:-1], (1, 0))
    before = counts.cumsum(0) - counts
    return int((begins & (before <= _SPECK * counts.sum())).nonzero()[-1])


def _person_box(labels: Tensor, name: str) -> Box:
    box = box_of(people(labels))
    if box is None:
        raise ValueError(f"The {name} shows no person, but its size and place are needed: paint the person, or choose "
                         "a picture that shows it.")
    return box


def _figure(labels: Tensor, name: str) -> _Figure:
    mask, box = people(labels), _person_box(labels, name)
    rows = mask[box.top : box.bottom, box.left : box.right].sum(dim=1).double()
    height, width = mask.shape
    cut = {_UPPER: box.top <= _EDGE * height and _ends_wide(rows),
           _LOWER: box.bottom >= (1 - _EDGE) * height and _ends_wide(rows.flip(0)),
           _SIDE: box.left <= _EDGE * width or box.right >= (1 - _EDGE) * width}
    return _Figure(box, rows, frozenset(edge for edge, is_cut in cut.items() if is_cut))


def _ends_wide(rows: Tensor) -> bool:
    """Whether the body continues before its first row [n]: it does not start narrow, as heads and feet do."""
    step = math.ceil(len(rows) / 100)
    return bool(rows[:step].mean() >= _CUT * rows[step : 6 * step].mean())


def _scale(reference: _Figure, driving: _Figure) -> tuple[float, str, str]:
    """Scale of the reference, the end of the body that is aligned, and a note."""
    equal = driving.box.height / reference.box.height
    cut = (reference.cut | driving.cut) - {_SIDE}
    plain = equal, _LOWER, "Equal height, feet on the same line."
    if not cut:
        return plain
    edges = " ".join(f"The {edge} edge cuts the {name} person off."
                     for name, figure in (("reference", reference), ("driving", driving))
                     for edge in sorted(figure.cut & cut))
    if len(cut) == 2:
        return equal, _LOWER, (f"{edges} Neither heads nor feet can be compared, so the visible heights are made "
                               "equal: check the size in the preview.")
    (edge,) = cut
    scale = _equal_area(reference, driving, edge)
    alike = 1 / _WHOLE <= scale / equal <= _WHOLE
    if alike and edge in reference.cut ^ driving.cut:
        return plain  # the person is whole after all: long skirts and boots end like a cut
    end, ends = (_UPPER, "heads") if edge == _LOWER else (_LOWER, "feet")
    return scale, end, (f"{edges} Heights cannot be compared, so the part that both show gets the same area, with the "
                        f"{ends} on the same line: check the size in the preview.")


def _equal_area(reference: _Figure, driving: _Figure, cut: str) -> float:
    """Scale of the reference at which the body part that both show covers the same area."""
    def areas(figure: _Figure) -> Tensor:
        """Pixels in the first 0, 1, 2, ... rows from the end that both show."""
        return F.pad((figure.rows if cut == _LOWER else figure.rows.flip(0)).cumsum(0), (1, 0))

    equal = driving.box.height / reference.box.height
    # a person that is cut off is larger than it looks
    low = equal / _MOST if cut in reference.cut else equal
    high = equal * _MOST if cut in driving.cut else equal
    scales = torch.logspace(math.log10(low), math.log10(high), 400, dtype=torch.float64)
    reference_areas = scales**2 * _at(areas(reference), (driving.box.height / scales).clamp(max=reference.box.height))
    driving_areas = _at(areas(driving), (reference.box.height * scales).clamp(max=driving.box.height))
    return scales[(reference_areas / driving_areas).log().abs().argmin()].item()


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Values [n], interpolated linearly between whole places."""
    below = places.long().clamp(max=len(values) - 2)
    return torch.lerp(values[below], values[below + 1], places - below)
