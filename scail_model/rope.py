"""Rotary position multipliers of SCAIL-2's token sequence (`rope_params`, `rope_apply` and the shifts in
`SCAIL2Model.forward`, official `wan/modules/model_scail2.py`).

A token's 64 channel pairs are multiplied by complex numbers: 22 pairs turn with time, 21 with height, 21 with
width. Offsets tell the four segments and the two modes apart:

    segment                time (n additional references)      height          width
    additional references  0 .. n-1                            + 120 in replacement
    reference              n                                   + 120 in replacement
    video, pose            n+1 .. (animation), n .. (replac.)                  pose: + 120

Driving (pose) tokens cover 2x2 patches, and the official code averages the four complex multipliers, not the
angles: the result is shorter than 1 (down to 0.878) and is not normalised again.

Everything is float64 from integer positions. In bfloat16 a position of 120.5 could not even be written down.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

AXIS_PAIRS = (22, 21, 21)  # time, height, width
THETA = 10000.0
SHIFT = 120  # of references in height (replacement) and of the pose in width
MAX_POSITION = 8192


class Stretch(NamedTuple):
    """Positions of one axis stretched and moved: position i becomes start + shift + scale * (i - start)."""

    scale: float = 1.0
    shift: float = 0.0


class Positions(NamedTuple):
    """A stretch of each axis, for the video's tokens, and in animation for the references' as well (as core's)."""

    time: Stretch = Stretch()
    height: Stretch = Stretch()
    width: Stretch = Stretch()


TRAINED = Stretch()
TRAINED_POSITIONS = Positions()


def segment_rotations(frames: int, height: int, width: int, *, replacement: bool, additional_references: int = 0,
                      positions: Positions = TRAINED_POSITIONS) -> tuple[Tensor, Tensor]:
    """Multipliers of every token of a sequence: cos and sin, float64 [tokens, 64].

    `frames`, `height` and `width` are those of the video latent (pixels / 8). Token order is additional
    references, reference, video, pose; inside a segment time, height, width.
    Raises ValueError if height or width is not a multiple of 4 or a position reaches 8192.
    """
    if height % 4 or width % 4:
        raise ValueError(f"A latent of {height}x{width} cannot be halved into whole patches: use multiples of 4.")
    rows, columns = height // 2, width // 2
    references = additional_references + 1
    start = additional_references if replacement else references
    if max(start + frames, rows + SHIFT, columns + SHIFT) > MAX_POSITION:
        raise ValueError(f"A latent of {frames}x{height}x{width} is too large: positions end at {MAX_POSITION}.")

    time, vertical, horizontal = (_table(pairs) for pairs in AXIS_PAIRS)
    driving = _grid(time(start, frames), _average_pairs(vertical(0, rows)), _average_pairs(horizontal(SHIFT, columns)))
    if replacement:
        reference = _grid(time(0, references), vertical(SHIFT, rows), horizontal(0, columns))
        video = _grid(time(start, frames, positions.time), vertical(0, rows, positions.height),
                      horizontal(0, columns, positions.width))
        segments = [reference, video, driving]
    else:  # references and video are one grid
        segments = [_grid(time(0, references + frames, positions.time), vertical(0, rows, positions.height),
                          horizontal(0, columns, positions.width)), driving]
    multipliers = torch.cat(segments)  # [tokens, 64]
    return multipliers.real.contiguous(), multipliers.imag.contiguous()


def _table(pairs: int):
    """A function (start, count, stretch) -> complex multipliers [count, pairs] of one axis."""
    frequencies = THETA ** (-torch.arange(pairs, dtype=torch.float64) / pairs)

    def multipliers(start: int, count: int, stretch: Stretch = TRAINED) -> Tensor:
        angles = torch.outer(start + stretch.shift + stretch.scale * torch.arange(count, dtype=torch.float64),
                             frequencies)
        return torch.polar(torch.ones_like(angles), angles)

    return multipliers


def _average_pairs(table: Tensor) -> Tensor:
    """Mean of each two neighbouring positions: the 2x2 average pooling of the grid, one axis at a time."""
    return (table[0::2] + table[1::2]) / 2


def _grid(time: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Three axis tables [T, 22], [H, 21], [W, 21] -> one multiplier row per token, [T*H*W, 64]."""
    t, h, w = len(time), len(vertical), len(horizontal)
    return torch.cat(
        (
            time[:, None, None].expand(t, h, w, -1),
            vertical[None, :, None].expand(t, h, w, -1),
            horizontal[None, None].expand(t, h, w, -1),
        ),
        dim=-1,
    ).flatten(0, 2)
