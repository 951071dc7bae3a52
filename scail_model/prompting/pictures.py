"""Pictures for language models: small enough, and in one batch or one picture for those that take no more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

LONGEST = 768  # pixels: 300 to 600 tokens of Qwen3-VL


def fitted(picture: Tensor, longest: int = LONGEST) -> Tensor:
    """[h, w, 3 or 4] in 0..1 -> [h', w', 3], scaled down if a side is longer than `longest`."""
    picture = picture[..., :3].float().clamp(0, 1)
    scale = longest / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = [max(1, round(side * scale)) for side in picture.shape[:2]]
    small = interpolate(picture.movedim(-1, 0)[None], size, mode="bicubic", antialias=True)  # [1, 3, h', w']
    return small[0].movedim(0, -1).clamp(0, 1)


def batch(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures [h, w, 3] of any sizes -> [n, H, W, 3], each in the middle of a black one of the largest height and
    width."""
    height, width = (max(picture.shape[side] for picture in pictures) for side in (0, 1))
    return torch.stack([_framed(picture, height, width) for picture in pictures])


def sheet(pictures: Sequence[Tensor]) -> Tensor:
    """The same side by side in one picture [H, W, 3], row by row."""
    cells = batch(pictures)
    columns = math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    missing = cells.new_zeros((rows * columns - len(cells), *cells.shape[1:]))
    grid = torch.cat([cells, missing]).unflatten(0, (rows, columns))  # [r, c, h, w, 3]
    return grid.movedim(2, 1).flatten(2, 3).flatten(0, 1)


def _framed(picture: Tensor, height: int, width: int) -> Tensor:
    down, across = height - picture.shape[0], width - picture.shape[1]
    return pad(picture, (0, 0, across // 2, across - across // 2, down // 2, down - down // 2))
