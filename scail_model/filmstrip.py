"""The picture of a run that goes on: what is being sampled, above a strip of what is finished."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_WIDTH = 512
_MOST = 8  # pictures in the strip
_GAP = 2


def thumbnail(picture: Tensor) -> Image.Image:
    """uint8 [H, W, 3] -> a picture for the strip."""
    height, width = picture.shape[:2]
    small = (_WIDTH + _GAP) // _MOST - _GAP
    pixels = F.interpolate(picture.movedim(-1, 0)[None].float(), (max(1, round(small * height / width)), small),
                           mode="area")
    return Image.fromarray(pixels[0].movedim(0, -1).round().byte().numpy())


def filmstrip(current: Image.Image, finished: Sequence[Image.Image]) -> Image.Image:
    """finished: thumbnails, of which at most eight are shown, spread evenly, the first and the last always."""
    above = current.convert("RGB").resize((_WIDTH, max(1, round(_WIDTH * current.height / current.width))))
    count = min(len(finished), _MOST)
    if not count:
        return above
    shown = [finished[index * (len(finished) - 1) // max(1, count - 1)] for index in range(count)]
    page = Image.new("RGB", (_WIDTH, above.height + _GAP + shown[0].height))
    page.paste(above, (0, 0))
    for index, small in enumerate(shown):
        page.paste(small, (index * (small.width + _GAP), above.height + _GAP))
    return page
