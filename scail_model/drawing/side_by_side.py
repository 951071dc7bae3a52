"""Two videos of the same frames in one picture, each with a line of text over it: beside each other, or, where they are
wide, one above the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from ..geometry import cover_crop, size_of
from ..levels import to_levels
from ..media.clips import Clip
from .lettering import FAINT, INK, PAPER, TEXT, as_tensor, write

_GAP = 8  # pixels between the two
_STRIP = 2 * TEXT  # height of the text's


def side_by_side(first: Clip, second: Clip, texts: tuple[str, str]) -> Iterator[Tensor]:
    """Frames uint8 [H, W, 3] of both, at the size of the second; as many as the shorter one has. texts: what is said of
    each, the first in short."""
    height, width = second.size
    wide = width > height
    strips = [_strip(text, width) for text in texts]
    for pictures in zip(first, second, strict=False):
        panels = [torch.cat((strip, _fitted(picture, height, width)))
                  for strip, picture in zip(strips, pictures, strict=True)]
        yield _joined(panels, vertical=wide)


def _fitted(picture: Tensor, height: int, width: int) -> Tensor:
    return cover_crop(picture.movedim(-1, 0)[None], height, width)[0].movedim(0, -1)


def _joined(panels: list[Tensor], *, vertical: bool) -> Tensor:
    """Panels [h, w, 3] and the gap between them, on a page with even sides, because codecs halve the colours."""
    (height, width), count = size_of(panels[0]), len(panels)
    rows, columns = (count, 1) if vertical else (1, count)
    page = torch.empty(_even(rows * (height + _GAP) - _GAP), _even(columns * (width + _GAP) - _GAP), 3,
                       dtype=torch.uint8)
    page[:] = torch.tensor(PAPER, dtype=torch.uint8)
    for index, panel in enumerate(panels):
        top, left = (index * (height + _GAP), 0) if vertical else (0, index * (width + _GAP))
        page[top : top + height, left : left + width] = panel
    return page


def _even(side: int) -> int:
    return side + side % 2


def _strip(text: str, width: int) -> Tensor:
    """A line of text, its first word brighter than the rest, uint8 [h, width, 3]."""
    page = Image.new("RGB", (width, _STRIP), PAPER)
    write(page, 4, 0, text, FAINT)
    write(page, 4, 0, text.split(maxsplit=1)[0].rstrip(","), INK)
    return to_levels(as_tensor(page))
