"""What a crop sees: frames with its window, beside what is in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .previews import contact_sheet

_LONGEST = 640  # pixels of a picture
_LINE = (255, 214, 10)


def window_preview(frames: Tensor, seen: Tensor, rectangles: np.ndarray, indices: Sequence[int]) -> Tensor:
    """One sheet [1, H, W, 3] in 0..1. frames, seen: uint8 [n, h, w, 3] of the whole picture and of the window.
    rectangles: left, top, right, bottom on the frames, [n, 4]. indices: their numbers, for captions."""
    pictures = []
    for frame, part, rectangle, index in zip(frames, seen, rectangles, indices, strict=True):
        whole, scale = _small(frame)
        draw = ImageDraw.Draw(whole)
        draw.rectangle([float(edge * scale) for edge in rectangle], outline=_LINE, width=2)
        pictures += [(_tensor(whole), f"frame {index}"), (_tensor(_small(part)[0]), "what the model sees")]
    return contact_sheet(pictures)[None]


def _small(frame: Tensor) -> tuple[Image.Image, float]:
    picture = Image.fromarray(np.ascontiguousarray(frame.numpy()))
    scale = min(1.0, _LONGEST / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS), scale


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255
