"""Letters and colours of everything that is drawn: a dark page, light ink, and a font for every script."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER, INK, FAINT, LINE = (32, 32, 34), (236, 236, 236), (140, 140, 144), (92, 92, 96)
TEXT = 15  # letter height on sheets, in pixels
# Pillow's own letters are Latin; for a name in others, the first of these that is installed and has them
_WORLD_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "malgun.ttf",
                "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "arial.ttf")


def write(page: Image.Image, left: int, top: int, text: str, colour: tuple[int, ...] = INK, size: int = TEXT,
          room: int | None = None) -> None:
    """A line of text in the middle of a strip of two letter heights."""
    font = font_for(size, text)
    shown = cut(text, font, page.width - left if room is None else room)
    ImageDraw.Draw(page).text((left, top + TEXT), shown, colour, font, anchor="lm")


def cut(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """The text with its end cut off until it is at most `room` pixels wide."""
    while len(text) > 1 and font.getlength(text) > room:
        text = text[:-2] + "…"
    return text


def font_for(size: int, text: str) -> ImageFont.FreeTypeFont:
    """Pillow's font, or for letters that it lacks an installed one that has them all; without one, boxes are drawn."""
    for font in filter(None, (_loaded(name, size) for name in ("", *_WORLD_FONTS))):
        lacking = bytes(font.getmask("\uffff"))
        if all(letter.isspace() or bytes(font.getmask(letter)) != lacking for letter in set(text)):
            return font
    return _loaded("", size)


@cache
def _loaded(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """An installed font, or None; Pillow's own for no name."""
    try:
        return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None


def as_tensor(page: Image.Image) -> Tensor:
    """A page as ComfyUI has pictures, float32 [H, W, 3] in 0..1."""
    return torch.from_numpy(np.array(page)).float() / 255
