"""Name tags on pictures of people: a dark box above each head, with the person's colour; none covers another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..masks import paint
from .lettering import INK, as_tensor, cut, font_for

_BOX = (14, 14, 16, 205)  # of a tag, RGBA
_GAP = 3  # pixels between tags, and between a tag and a head
_SMOOTH = 4  # tags are drawn this many times larger and shrunk, to smooth their round corners


class _Place(NamedTuple):
    """A rectangle in a picture, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def near(self, other: _Place) -> bool:
        return (self.left < other.right + _GAP and other.left < self.right + _GAP
                and self.top < other.bottom + _GAP and other.top < self.bottom + _GAP)


def letters_for(height: int, width: int) -> int:
    """Size of the letters on a picture."""
    return max(11, max(height, width) // 46)


def tag(text: str, letters: int, room: int, label: int | None = None) -> Image.Image:
    """A dark box with light text and, for a person, a colour chip; RGBA, at most `room` pixels wide."""
    pad, height = letters // 2, round(1.6 * letters)
    chip = 0 if label is None else letters + pad // 2  # including the space after it
    font = font_for(letters, text)
    text = cut(text, font, room - 2 * _GAP - 2 * pad - chip)
    width = round(font.getlength(text)) + 2 * pad + chip
    large = Image.new("RGBA", (width * _SMOOTH, height * _SMOOTH), (*_BOX[:3], 0))
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((0, 0, large.width - 1, large.height - 1), 0.3 * large.height, _BOX)
    if label is not None:
        left, top, side = (length * _SMOOTH for length in (pad, (height - letters + 2) // 2, letters - 2))
        draw.rounded_rectangle((left, top, left + side - 1, top + side - 1), 0.25 * side,
                               tuple(colour_of(label).tolist()), INK, _SMOOTH)
    small = large.resize((width, height), Image.Resampling.BOX)
    ImageDraw.Draw(small).text((pad + chip, height / 2), text, INK, font, anchor="lm")
    return small


def with_tags(picture: Tensor, labels: Tensor, tags: Mapping[int, Image.Image], line: Image.Image | None) -> Tensor:
    """Draw the tags of all people in the label map [h, w] on the picture, uint8 [h, w, 3] -> float32."""
    page = Image.fromarray(picture.numpy())
    placed = []
    if line is not None:
        placed.append(_Place(_GAP, _GAP, _GAP + line.width, _GAP + line.height))
        page.paste(line, placed[0][:2], line)
    heads = {label: _head(labels == label) for label in tags if (labels == label).any()}
    for label in sorted(heads, key=lambda label: heads[label][1]):  # from top to bottom, because tags evade downwards
        placed.append(_free_place(tags[label].size, heads[label], page.size, placed))
        page.paste(tags[label], placed[-1][:2], tags[label])
    return as_tensor(page)


def colour_of(label: int) -> Tensor:
    """RGB of a label, uint8 [3]."""
    return paint(torch.full((1, 1, 1), label, dtype=torch.uint8)).flatten()


def _head(person: Tensor) -> tuple[int, int]:
    """Column and row of the top of a person's head, from a bool mask [h, w].

    The head is searched above the middle of the body, because a raised hand may be higher. Up to 1 % of the pixels
    there may be strays above it.
    """
    def reached(counts: Tensor, share: float) -> int:
        return int((counts.cumsum(0) > share * counts.sum()).int().argmax())

    column = reached(person.sum(0), 0.5)
    reach = (reached(person.sum(1), 0.99) - reached(person.sum(1), 0.01)) // 16
    return column, reached(person[:, max(0, column - reach) : column + reach + 1].sum(1), 0.01)


def _free_place(size: tuple[int, int], head: tuple[int, int], picture: tuple[int, int], taken: list[_Place]) -> _Place:
    """Place for a tag: above the head and inside the picture, else as close below that as possible without overlap."""
    width, height = size
    lowest = picture[1] - height - _GAP
    left = max(_GAP, min(head[0] - width // 2, picture[0] - width - _GAP))
    wanted = max(_GAP, min(head[1] - height - _GAP, lowest))

    def at(top: int) -> _Place:
        return _Place(left, top, left + width, top + height)

    tops = [wanted, *(other.bottom + _GAP for other in taken), *(other.top - _GAP - height for other in taken)]
    free = [top for top in tops if _GAP <= top <= lowest and not any(at(top).near(other) for other in taken)]
    return at(min(free, key=lambda top: (top < wanted, abs(top - wanted)), default=wanted))
