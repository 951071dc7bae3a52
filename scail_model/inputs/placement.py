"""Where a reference picture has to lie so that its person is as large as the driving person, in the same place.

The size of the person in the reference decides the size in the result: a person of 93 % of the reference's height came
out 1.7 times too large before a driving person of 30 %, one of 34 % came out right (artokun/comfyui-mcp, issue 546).

Lengths are pixels and count from the left and upper edges of a picture, so pixel i lies between i and i + 1. The canvas
is the picture that the model gets. In label maps 1..6 are people; 0 and 7 (`identities`) are nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks import people

_SPECK = 0.002  # share of the person's pixels
_EDGE = 0.01  # of a side: masks often end a pixel or two before the edge of the picture
_CUT = 0.7  # feet and heads are round: their last rows are less than half as wide as those before
_WHOLE = 1.1  # shown heights that differ by less than this factor show the same part of a body
_MOST = 4.0  # no picture of a person shows less than a quarter of what another one shows

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
    """Where a picture lies on the canvas: its point (x, y) at (left + scale * x, top + scale * y)."""

    scale: float
    left: float
    top: float


@dataclass(frozen=True)
class _Figure:
    """A person as `place` sees it. rows: pixels in each row of the box, float64 [box.height], from the head down; cut:
    the edges of the picture that cut the person off."""

    box: Box
    rows: Tensor
    cut: frozenset[str]


def box_of(mask: Tensor) -> Box | None:
    """The box round all pixels of a mask, bool [H, W]; None for an empty mask.

    Specks do not count: rows or columns at the outside that an empty row or column divides from the rest, and that hold
    less than 0.2 % of all pixels. Hands and feet are never trimmed, because they are joined to the rest.
    """
    if not mask.any():
        return None
    (left, right), (top, bottom) = (_extent(mask.sum(dim=axis)) for axis in (0, 1))
    return Box(left, top, right, bottom)


def cover(size: tuple[int, int], height: int, width: int) -> Placement:
    """What `geometry.cover_crop` does to a picture of `size` (height, width): it covers the canvas, its middle stays.
    Only the rounding to whole pixels is left out."""
    scale = max(height / size[0], width / size[1])
    return Placement(scale, (width - scale * size[1]) / 2, (height - scale * size[0]) / 2)


def place(reference: Tensor, driving: Tensor, height: int, width: int) -> tuple[Placement, str]:
    """Find where the reference belongs on a canvas of height x width, and say in words what was done.

    reference uint8 [h, w] and driving uint8 [H, W] are label maps of whole pictures of any size; everybody in them
    counts as one. The driving frame covers the canvas (`cover`). The person gets the height of the driving person, the
    feet on the same line, and the same centre.

    Someone whom the lower or upper edge cuts off shows no feet or no head. Then the scale is the one at which the part
    of the body that both show has the same area (closer than the width of the box, which arms decide), and the ends
    that both show meet: heads, or feet. A reference that its lower edge cuts off is moved down until the cut is not
    seen. If neither heads nor feet can be compared, what is seen of both gets the same height.

    Raises ValueError if either shows nobody.
    """
    ours = _figure(reference, "reference mask")
    theirs = _figure(resample_labels(driving, cover(driving.shape, height, width), height, width), "driving frame")
    scale, end, note = _scale(ours, theirs)
    top = theirs.box.bottom - scale * ours.box.bottom
    if end == _UPPER:
        top = theirs.box.top - scale * ours.box.top
        hidden = height - scale * ours.box.bottom  # from here on down, the lower end is at the canvas's edge or below
        if _LOWER in ours.cut and top < hidden:
            top = hidden
            note += " The reference stands lower than the heads ask for, so that its cut is not seen."
    if _SIDE in ours.cut | theirs.cut:
        note += " A side edge cuts a person off: the centre is that of what is seen."
    return Placement(scale, theirs.box.centre[0] - scale * ours.box.centre[0], top), note


def scaled(placement: Placement, factor: float, labels: Tensor) -> Placement:
    """A placement that makes the people of a label map uint8 [h, w] `factor` times larger where they stand: the middle
    of their lower end stays."""
    box = box_of(people(labels))
    x, y = box.centre[0], box.bottom
    return Placement(placement.scale * factor, placement.left + placement.scale * (1 - factor) * x,
                     placement.top + placement.scale * (1 - factor) * y)


def outside_share(labels: Tensor, placement: Placement, height: int, width: int) -> float:
    """How much of the people in a label map uint8 [h, w] the canvas would cut off, 0..1.

    Raises ValueError if it shows nobody.
    """
    mask = people(labels)
    if not mask.any():
        raise ValueError("The reference mask shows nobody, but its person is to be placed: paint the person.")
    y = placement.top + placement.scale * (torch.arange(labels.shape[0]) + 0.5)
    x = placement.left + placement.scale * (torch.arange(labels.shape[1]) + 0.5)
    seen = ((y >= 0) & (y < height))[:, None] & (x >= 0) & (x < width)
    return 1 - (mask & seen).sum().item() / mask.sum().item()


def resample_labels(labels: Tensor, placement: Placement, height: int, width: int) -> Tensor:
    """Label map uint8 [h, w] -> uint8 [height, width], nearest; 0 where there is nobody or no picture."""
    y, x = (places.floor().long().clamp(0, side - 1)
            for places, side in zip(centres(placement, height, width), labels.shape, strict=True))
    placed = labels[y[:, None], x]
    return torch.where(people(placed) & covered(labels.shape, placement, height, width), placed, 0)


def centres(placement: Placement, height: int, width: int) -> tuple[Tensor, Tensor]:
    """y [height] and x [width] in the picture of the middles of the canvas's pixels."""
    y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in (height, width))
    return (y - placement.top) / placement.scale, (x - placement.left) / placement.scale


def covered(size: tuple[int, int], placement: Placement, height: int, width: int) -> Tensor:
    """Which pixels of the canvas a picture of `size` (height, width) covers, bool [height, width]."""
    rows, columns = ((places >= 0) & (places < side)
                     for places, side in zip(centres(placement, height, width), size, strict=True))
    return rows[:, None] & columns


def _extent(counts: Tensor) -> tuple[int, int]:
    """First and last + 1 of the counts [n] that belong to the person."""
    return _start(counts), len(counts) - _start(counts.flip(0))


def _start(counts: Tensor) -> int:
    filled = counts > 0
    begins = filled & ~F.pad(filled[:-1], (1, 0))
    before = counts.cumsum(0) - counts
    return int((begins & (before <= _SPECK * counts.sum())).nonzero()[-1])


def _figure(labels: Tensor, name: str) -> _Figure:
    mask = people(labels)
    box = box_of(mask)
    if box is None:
        raise ValueError(f"The {name} shows nobody, but its person is needed for size and place: paint the person, or "
                         "choose a picture where it is seen.")
    rows = mask[box.top : box.bottom, box.left : box.right].sum(dim=1).double()
    height, width = mask.shape
    cut = {_UPPER: box.top <= _EDGE * height and _ends_wide(rows),
           _LOWER: box.bottom >= (1 - _EDGE) * height and _ends_wide(rows.flip(0)),
           _SIDE: box.left <= _EDGE * width or box.right >= (1 - _EDGE) * width}
    return _Figure(box, rows, frozenset(edge for edge, is_cut in cut.items() if is_cut))


def _ends_wide(rows: Tensor) -> bool:
    """Whether a body goes on before its first row [n]: it does not begin narrow, as a head or feet do."""
    step = math.ceil(len(rows) / 100)
    return bool(rows[:step].mean() >= _CUT * rows[step : 6 * step].mean())


def _scale(ours: _Figure, theirs: _Figure) -> tuple[float, str, str]:
    """The scale of the reference, the end of the body that is put on the same line, and a note."""
    equal = theirs.box.height / ours.box.height
    cut = (ours.cut | theirs.cut) - {_SIDE}
    plain = equal, _LOWER, "Equal height, feet on the same line."
    if not cut:
        return plain
    who = " ".join(f"The {edge} edge cuts the {name} person off."
                   for name, figure in (("reference", ours), ("driving", theirs)) for edge in sorted(figure.cut & cut))
    if len(cut) == 2:
        return equal, _LOWER, (f"{who} Neither heads nor feet can be compared, so what is seen of both has the same "
                               "height: check the size in the preview.")
    (edge,) = cut
    scale = _equal_area(ours, theirs, edge)
    alike = 1 / _WHOLE <= scale / equal <= _WHOLE
    if alike and edge in ours.cut ^ theirs.cut:
        return plain  # as long as somebody who is not cut off: long skirts and boots end like a cut
    end, ends = (_UPPER, "heads") if edge == _LOWER else (_LOWER, "feet")
    return scale, end, (f"{who} Heights cannot be compared, so the part that both show has the same area, with the "
                        f"{ends} on the same line: check the size in the preview.")


def _equal_area(ours: _Figure, theirs: _Figure, cut: str) -> float:
    """The scale of the reference at which the part of the body that both show covers the same area."""
    def shown(figure: _Figure) -> Tensor:
        """Pixels in the first 0, 1, 2, ... rows from the end that both have."""
        return F.pad((figure.rows if cut == _LOWER else figure.rows.flip(0)).cumsum(0), (1, 0))

    equal = theirs.box.height / ours.box.height
    # who is cut off is larger than it seems
    low = equal / _MOST if cut in ours.cut else equal
    high = equal * _MOST if cut in theirs.cut else equal
    scales = torch.logspace(math.log10(low), math.log10(high), 400, dtype=torch.float64)
    our_area = scales**2 * _at(shown(ours), (theirs.box.height / scales).clamp(max=ours.box.height))
    their_area = _at(shown(theirs), (ours.box.height * scales).clamp(max=theirs.box.height))
    return scales[(our_area / their_area).log().abs().argmin()].item()


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Values [n] between whole numbers, linear."""
    below = places.long().clamp(max=len(values) - 2)
    return torch.lerp(values[below], values[below + 1], places - below)
