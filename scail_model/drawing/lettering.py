"""Fonts and colours of all drawings: a dark page, light text, and a font for every script."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER, INK, FAINT, LINE = (32, 32, 34), (236, 236, 236), (140, 140, 144), (92, 92, 96)
TEXT = 15  # font size on sheets, in pixels
# Pillow's own font is Latin; for other scripts, the first of these that is installed and has all letters
_WORLD_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "malgun.ttf",
                "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "arial.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write(page: Image.Image, left: int, top: int, text: str, colour: tuple[int, ...] = INK, size: int = TEXT,
          room: int | None = None) -> None:
    """Draw a line of text, centred in a strip of twice its height."""
    font = font_for(size, text)
    shown = cut(text, font, page.width - left if room is None else room)
    ImageDraw.Draw(page).text((left, top + TEXT), shown, colour, font, anchor="lm")


def cut(text: str, font: Font, room: float) -> str:
    """Shorten a text until it is at most `room` pixels wide."""
    while len(text) > 1 and font.getlength(text) > room:
        text = text[:-2] + "…"
    return text


def font_for(size: int, text: str) -> Font:
    """Pillow's font, or an installed one that has all letters of the text; without one, boxes are drawn."""
    pillow = _pillow_font(size)
    for font in (pillow, *filter(None, (_installed_font(name, size) for name in _WORLD_FONTS))):
        missing = _glyph(font, size, "\uffff")
        if all(letter.isspace() or _glyph(font, size, letter) != missing for letter in set(text)):
            return font
    return pillow


@cache
def _pillow_font(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _installed_font(name: str, size: int) -> Font | None:
    """None if it is not installed."""
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _glyph(font: Font, size: int, letter: str) -> bytes:
    """Pixels of a letter."""
    page = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(page).text((0, 0), letter, 255, font)
    return page.tobytes()


def as_tensor(page: Image.Image) -> Tensor:
    """A page as a ComfyUI picture, float32 [H, W, 3] in 0..1."""
    return torch.from_numpy(np.array(page)).float() / 255
