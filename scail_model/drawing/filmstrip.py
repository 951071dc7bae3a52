"""Preview of a running job: the current sample above a strip of finished segments."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_WIDTH = 512
_MOST = 8  # pictures in the strip
_GAP = 2
_ROW_HEIGHT = 96
_LINKED = 144  # pixels of the longer side of a picture sent as a data URL
_LINKED_BYTES = 4500


def thumbnail(picture: Tensor) -> Image.Image:
    """uint8 [H, W, 3] -> a thumbnail for the strip."""
    height, width = picture.shape[:2]
    small = (_WIDTH + _GAP) // _MOST - _GAP
    pixels = F.interpolate(picture.movedim(-1, 0)[None].float(), (max(1, round(small * height / width)), small),
                           mode="area")
    return Image.fromarray(pixels[0].movedim(0, -1).round().byte().numpy())


def row_of_pictures(pictures: Sequence[Tensor], height: int = _ROW_HEIGHT) -> Image.Image:
    """uint8 [H, W, 3] of one size -> all of them side by side, at a height in pixels."""
    across = max(1, round(height * pictures[0].shape[1] / pictures[0].shape[0]))
    page = Image.new("RGB", (len(pictures) * (across + _GAP) - _GAP, height))
    for index, picture in enumerate(pictures):
        small = F.interpolate(picture.movedim(-1, 0)[None].float(), (height, across), mode="area")[0]
        page.paste(Image.fromarray(small.movedim(0, -1).round().byte().numpy()), (index * (across + _GAP), 0))
    return page


def data_url(picture: Tensor) -> str:
    """uint8 [H, W, 3] -> a small JPEG as a data URL of at most 6 kB."""
    shrink = min(1.0, _LINKED / max(picture.shape[:2]))
    size = [max(1, round(side * shrink)) for side in picture.shape[:2]]  # height, width
    pixels = F.interpolate(picture.movedim(-1, 0)[None].float(), size, mode="area")[0].movedim(0, -1)
    image = Image.fromarray(pixels.round().byte().numpy())
    file = io.BytesIO()
    for quality in (80, 60, 40, 20, 5):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= _LINKED_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def filmstrip(current: Image.Image, finished: Sequence[Image.Image]) -> Image.Image:
    """finished: thumbnails. At most eight are shown, spread evenly, first and last included."""
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
