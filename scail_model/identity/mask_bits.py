"""Masks as bits -> the 28 mask channels, without painting them first.

Gives what `masks.pack_mask` and `masks.pack_driving_mask` give for pure colours at the size of the result, computed on
eight pixels at once. Red, green and blue are each on where a person whose colour contains them is visible. Halving a
driving mask keeps a component only where all four pixels have it: three of four average 191, below the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..masks import CHANNEL_CODES, PALETTE
from .packed_mask import POPULATION

_EVEN = np.uint8(0b01010101)  # after halving, every second bit stands for two pixels


def pack_bits(frames: Iterable[np.ndarray], labels: Sequence[int], front: Sequence[int], *, white: bool,
              half: bool) -> Tensor:
    """4n+1 frames, uint8 [people, H, W/8] -> float32 [28, T', H/8, W/8], or [28, T', H/16, W/16] if `half`.

    Height and width must fill whole cells. labels: 1..6 for each person. front: people, front to back. white: whether
    the background is white instead of black.
    """
    painted = (components(bits, labels, front, white=white) for bits in frames)
    return _channels([_counts(colours, half) for colours in painted])


def pack_components(frames: Iterable[Sequence[np.ndarray]]) -> Tensor:
    """4n+1 frames that are already painted and halved: red, green and blue, uint8 [H, W/8] -> [28, T', H/8, W/8]."""
    return _channels([_counts(colours, half=False) for colours in frames])


def components(bits: np.ndarray, labels: Sequence[int], front: Sequence[int], *, white: bool) -> list[np.ndarray]:
    """One frame, uint8 [people, H, W/8] -> red, green and blue, uint8 [H, W/8] each."""
    covered = np.zeros(bits.shape[1:], np.uint8)
    painted = [np.zeros_like(covered) for _ in range(3)]
    for person in front:
        visible = bits[person] & ~covered
        covered |= bits[person]
        for component, level in zip(painted, PALETTE[labels[person] - 1], strict=True):
            if level:
                component |= visible
    if white:
        for component in painted:
            component |= ~covered
    return painted


def _channels(counts: Sequence[np.ndarray]) -> Tensor:
    """Counts uint8 [7, H', W'] of 4n+1 frames -> [28, T', H', W']."""
    stacked = torch.from_numpy(np.stack(counts))  # [T, 7, H', W']
    groups = torch.cat((stacked[:1].expand(4, -1, -1, -1), stacked[1:]))  # the first frame fills a group alone
    shares = groups.unflatten(0, (-1, 4)).float() / 64  # [T', 4, 7, H', W']
    return shares.movedim(0, 2).flatten(0, 1)


def _counts(colours: Sequence[np.ndarray], half: bool) -> np.ndarray:
    """Red, green and blue of a frame -> how many of a cell's 64 places have each colour, uint8 [7, H', W']."""
    counted = np.uint8(255)
    if half:
        colours, counted = [_halved(component) for component in colours], _EVEN
    counts = []
    for code in CHANNEL_CODES:
        on = [component if code >> place & 1 else ~component for place, component in enumerate(colours)]
        counts.append(POPULATION[on[0] & on[1] & on[2] & counted])
    places = np.stack(counts)  # [7, rows, bytes]
    rows = places.reshape(7, -1, 8, places.shape[-1]).sum(2, dtype=np.uint8)
    return rows[..., 0::2] + rows[..., 1::2] if half else rows


def _halved(component: np.ndarray) -> np.ndarray:
    rows = component[0::2] & component[1::2]
    return rows & (rows >> 1)
