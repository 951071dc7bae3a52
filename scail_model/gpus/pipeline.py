"""Work on a video in stages, each on a GPU of its own: pieces of the video pass from one to the next.

Every stage computes what it would compute on a single GPU, from the same pieces in the same order, so the result is the
same to the bit, however many stages there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from . import links
from .team import Rank, Team

R = TypeVar("R")
Stage = Callable[[Iterable[Tensor]], Iterable[Tensor]]

_PIXELS = {"upsample2d": 4.0, "upsample3d": 8.0, "downsample2d": 1 / 4, "downsample3d": 1 / 8}
# Milliseconds of each part of Wan's decoder in `comfy.wan_vae`: 512x896x81 on an NVIDIA H200, bfloat16
# (`tests/bench/vae_gpu.py --parts`). By multiplications alone its large pictures would take half of that.
DECODER_TIMES = (59.4, 4.2, 29.4, 38.1, 38.0, 30.6, 88.5, 88.7, 88.7, 31.2, 170.5, 170.8, 170.9, 43.6)
_AHEAD = 2  # pieces that a stage may have given and the next one not taken


def run(devices: Sequence[torch.device], stages: Sequence[Stage], pieces: Iterable[Tensor],
        use: Callable[[Iterable[Tensor]], R], check: Callable[[], None]) -> R:
    """What `use` returns of the last stage's pieces.

    The first stage runs in the caller's thread; `use` runs in the last stage's and has to take all pieces. Every
    stage's thread calls `check` before each piece, and no GPU is left further behind than a cancel may take. What that
    raises ends all. Raises the first error of any stage when all have stopped.
    """
    last = len(stages) - 1

    def work(rank: Rank) -> R | None:
        given = _checked(rank, pieces) if rank.number == 0 else _received(rank)
        results = stages[rank.number](given)
        if rank.number == last:
            return use(results)
        _send(rank, results)
        return None

    return Team(devices, _Asked(check)).run(work)[last]  # type: ignore[return-value]


@lru_cache
def cuts(costs: tuple[float, ...], count: int) -> tuple[slice, ...]:
    """The parts of each of at most `count` stages, so that the longest stage is as short as it can be, in as few stages
    as do that."""
    inner = chain.from_iterable(combinations(range(1, len(costs)), stages) for stages in range(min(count, len(costs))))
    found = (tuple(map(slice, (0, *bounds), (*bounds, len(costs)))) for bounds in inner)
    return min(found, key=lambda parts: (max(sum(costs[part]) for part in parts), len(parts)))


def decoder_costs(parts: Sequence[nn.Module]) -> tuple[float, ...]:
    """How long each part of ComfyUI's Wan decoder takes, in any unit: as measured, if it has the real one's parts."""
    return DECODER_TIMES if len(parts) == len(DECODER_TIMES) else vae_costs(parts)


def vae_costs(parts: Iterable[nn.Module]) -> tuple[float, ...]:
    """How long each part of a Wan VAE's encoder or decoder takes: its multiplications, in any unit. Parts that change
    the size have a `mode`, as ComfyUI's and diffusers' have."""
    pixels, found = 1.0, []
    for part in parts:
        mode, before = getattr(part, "mode", ""), pixels
        pixels *= _PIXELS.get(mode, 1.0)
        in_time = _weights(part.time_conv) if mode.endswith("3d") else 0  # where there are fewer pixels
        frames = 2 if mode == "downsample3d" else 1  # which are halved after the size is
        found.append(min(before, pixels) * in_time + frames * pixels * (_weights(part) - in_time))
    return tuple(found)


def _weights(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


@dataclass(frozen=True)
class _Asked:
    """Who knows when the work has to end."""

    check: Callable[[], None]


def _checked(rank: Rank, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    for piece in pieces:
        rank.layer_queued()
        yield piece


def _send(rank: Rank, pieces: Iterable[Tensor]) -> None:
    """Give pieces to the next stage, no more than it can take soon: they lie in this GPU's memory until then."""
    following = rank.number + 1
    for number, piece in enumerate(pieces):
        ready = rank.mark()
        if number >= _AHEAD:
            rank.get(following)
        rank.put(following, (piece, ready))
        del piece
    rank.put(following, None)


def _received(rank: Rank) -> Iterator[Tensor]:
    """The pieces of the stage before, on this one's GPU."""
    before = rank.number - 1
    while (item := rank.get(before)) is not None:
        rank.layer_queued()
        source, ready = item
        *moved, arrived = links.moved(source, rank.device, ready)
        yield moved.pop()  # nothing here holds it while the stage computes
        if arrived is not None:
            arrived.synchronize()
        del item, source
        rank.put(before, None)
