"""What a row costs: memory, disk, GPU time and money, by the formulas of `preflight/budget.py`, on a GPU that was
measured. Nothing is said of the time on another one, whose speed may lie anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from ..config import TransformerConfig
from ..gpus.gain import Together
from ..kernels.precision import FAST, int8_storage
from ..media.clips import Clip
from ..plate.choice import LOCK
from ..plate.choice import OFF as NO_PLATE
from ..preflight import budget
from ..preflight.model_files import KNOWN
from ..segments import Segment
from ..video.draft import draft_size
from .report import cost_of
from .video_request import Asked

_GIB = 2**30
_HOUR = 3600.0


@dataclass(frozen=True)
class Card:
    """A GPU. tflops: of the matrix product of `budget.probe_tflops`; None where it was not measured. memory: bytes, 0
    if unknown."""

    name: str
    tflops: float | None
    memory: int


# measured: tests/bench/budget_h200.json and budget_h100.json
CARDS = (Card("NVIDIA H200", budget.H200_TFLOPS, round(139.8 * _GIB)),
         Card("NVIDIA H100 80GB HBM3", 775.9, round(79.2 * _GIB)))


def find_card(name: str) -> Card | None:
    """The measured card that a name means, as "h200" or "NVIDIA H100"; None for another one."""
    wanted = name.lower().removeprefix("nvidia").strip()
    return next((card for card in CARDS if wanted and card.name.lower().removeprefix("nvidia").strip()
                 .split()[0] == wanted.split()[0]), None)


@dataclass(frozen=True)
class Estimate:
    """Of one row. frames: of the result. vram: bytes with weights streamed; whole: with all weights on the GPU.
    ram: for the frames of a segment. disk: of the job folder. h200_seconds: of encoding, sampling and decoding, by the
    clock. gpus: that the row holds; memory is that of each. work: of the budget's."""

    frames: int
    segments: int
    vram: int
    whole: int
    ram: int
    disk: int
    h200_seconds: float
    gpus: int
    work: budget.Work = field(repr=False)

    def seconds(self, card: Card | None = None) -> float | None:
        """Of all its GPUs together. On a card, the H200 if there is none; None on one that was not measured."""
        tflops = budget.H200_TFLOPS if card is None else card.tflops
        return None if tflops is None else self.gpus * self.h200_seconds * budget.H200_TFLOPS / tflops

    def on(self, gpus: int) -> Estimate:
        """Where a row holds this many GPUs, which make it together as far as they can share the heads."""
        together = max(n for n in range(1, gpus + 1) if self.work.config.num_heads % n == 0)
        return of_work(replace(self.work, together=Together(together)), self.frames, gpus)

    def values(self) -> dict[str, Any]:
        """For programs."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "work"}


@dataclass(frozen=True)
class Total:
    """Of several rows. vram, whole, ram: of the largest. seconds: of all GPUs on the card, None where not known."""

    rows: int
    frames: int
    segments: int
    vram: int
    whole: int
    ram: int
    disk: int
    seconds: float | None

    def cost(self, price: float | None) -> float | None:
        """Of all GPU time; price: of an hour of a GPU."""
        return cost_of(self.seconds, price)


def in_hours(seconds: float) -> str:
    """Hours in digits, two that say something where there are few of them."""
    hours = seconds / _HOUR
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 10 else f"{hours:.2g}"


def estimated(asked: Asked, clip: Clip, plan: Sequence[Segment], weight_bytes: int | None = None) -> Estimate | None:
    """What a graph asks for costs; None where its size or its steps are not known. weight_bytes: of the model file, if
    that is there."""
    options = asked.options
    if options is None or asked.size is None or asked.steps is None:
        return None
    width, height = draft_size(*asked.size) if options.draft else asked.size
    config, known = TransformerConfig(), KNOWN.get(asked.model or "")
    if int8_storage(asked.precision) or not (weight_bytes or known):
        weight_bytes = budget.stored_bytes(config, torch.bfloat16, asked.precision)
    elif not weight_bytes and known:
        weight_bytes = round(known.gigabytes * 1e9)
    return of_work(budget.Work(
        config, width, height, tuple(segment.length for segment in plan), asked.additional, asked.steps,
        options.guidance, weight_bytes or 0, clip.width, clip.height, options.overlap, options.encoding.lossless,
        int8=int8_storage(asked.precision),
        sparse=options.sparse if asked.precision == FAST else None, plate=options.plate != NO_PLATE,
        locked=options.plate == LOCK), len(clip))


def of_work(work: budget.Work, frames: int, gpus: int = 1) -> Estimate:
    """An estimate of the budget's, in a batch's terms. gpus: that are held, at least as many as make the video."""
    need = budget.estimate(work)
    h200 = budget.Machine(0, 0, 0, budget.H200_TFLOPS)
    return Estimate(frames, len(work.lengths), need.least, need.whole, need.ram, need.disk,
                    budget.seconds(work, h200) or 0.0, gpus, work)


def total(estimates: Sequence[Estimate], card: Card | None) -> Total:
    """Of rows that are known."""
    times = [estimate.seconds(card) for estimate in estimates]
    return Total(len(estimates), sum(one.frames for one in estimates), sum(one.segments for one in estimates),
                 max((one.vram for one in estimates), default=0), max((one.whole for one in estimates), default=0),
                 max((one.ram for one in estimates), default=0),
                 sum(one.disk for one in estimates),
                 None if None in times else sum(time for time in times if time is not None))
