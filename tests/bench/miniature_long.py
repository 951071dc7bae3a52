"""The case `long` of the miniature's table: sequences of 13,248 tokens, where blocks of 128 tokens mean something.

The transformer with the weights that were fine-tuned to this length, in bfloat16. Exact, 8-bit, sparse at several
densities and fast make the same clips from the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import measure
import torch
from miniature_cases import MODES, OVERLAP, Bench, Rows, Table, cut, identity
from miniature_models import Miniature, Sampling
from torch import Tensor
from world import Pictures, Scenes

from scail_model.attention import sdpa
from scail_model.kernels import attention_choice
from scail_model.kernels.attention_backends import AUTOMATIC, SPARSE
from scail_model.kernels.attention_choice import HostAttention
from scail_model.kernels.precision import EIGHT_BIT, EXACT, FAST
from scail_model.kernels.sparse_attention import RUN
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings

HEIGHT, WIDTH, FRAMES = 384, 512, 49
DENSITIES = (0.1, 0.2, 0.3)
FEW_STEPS = 8
_BATCH = 8


@dataclass(frozen=True)
class Way:
    """How the network computes. density: of sparse attention, None for none; error_limit: as in SparseSettings."""

    name: str
    precision: str
    density: float | None = None
    error_limit: float = 0.0
    steps: int = 20


FEW = (Way("exact", EXACT), Way("fast", FAST, SparseSettings().density, SparseSettings().error_limit))
ALL = (*FEW, Way("8-bit", EIGHT_BIT), *(Way(f"sparse {density:.0%}", EXACT, density) for density in DENSITIES),
       *(replace(way, name=f"{way.name}, {FEW_STEPS} steps", steps=FEW_STEPS) for way in FEW))


class Checked(SparseRun):
    """A run that also finds the true error of every layer that it measures, from all rows."""

    def __init__(self, settings: SparseSettings) -> None:
        super().__init__(settings)
        self.true: list[tuple[float, float]] = []  # estimated, true

    def attention(self, layer, length, sparse, exact, transformer_options=None):
        attend = super().attention(layer, length, sparse, exact, transformer_options)

        def checked(q):
            before = self._of(layer)
            out = attend(q)
            (off, size), expected = self._of(layer), exact(q).float()
            true = float((out.float() - expected).norm() / expected.norm())
            if true and size > before[1]:
                self.true.append((((off - before[0]) / (size - before[1])) ** 0.5, true))
            return out

        return checked

    def _of(self, layer: int) -> tuple[float, float]:
        """The sums of squares that were measured of a layer in all steps."""
        every = [place for prompt in self._prompts.values() for place in prompt.sums.items()]
        found = [sums for (_, other), sums in every if other == layer]
        return sum(sums.off for sums in found), sum(sums.size for sums in found)


class Network:
    """The transformer in one way, called as `Miniature.latents` calls a velocity."""

    def __init__(self, miniature: Miniature, way: Way) -> None:
        self.way, self.run = way, None
        miniature.precision = way.precision
        miniature.attention = attention_choice.choose(
            AUTOMATIC if way.density is None else SPARSE, miniature.device, way.precision,
            HostAttention("pytorch", "pytorch", sdpa))
        self.network = miniature.build(miniature.tensors, torch.bfloat16)

    def begin(self) -> None:
        """New clips are sampled."""
        if self.way.density is not None:
            self.run = Checked(SparseSettings(self.way.density, self.way.error_limit))

    def __call__(self, *inputs: Any, **conditions: Any) -> Tensor:
        options = {} if self.run is None else {RUN: self.run}
        return self.network(*inputs, **conditions | {"transformer_options": options})

    def measured(self, clips: int) -> dict[str, Tensor]:
        """Of the last clips: error and density of the layers, and how often the estimate was within 20 %."""
        if self.run is None or not self.run.errors:
            return {}
        errors, near = self.run.errors, [abs(found / true - 1) < 0.2 for found, true in self.run.true] or [True]
        figures = {"layer_error": [error.error for error in errors], "density": [error.density for error in errors],
                   "estimate_within_20": near}
        return {name: torch.tensor(values, dtype=torch.float32).mean().expand(clips)
                for name, values in figures.items()}


def long(bench: Bench) -> Table:
    """384x512, 49 frames, 13,248 tokens. layer_error: of attention's output, as the run measures it;
    estimate_within_20: share of these measurements that are within 20 % of the error of all rows; lost: dB to exact,
    clip by clip."""
    rows = Rows()
    miniature = Miniature(bench.miniature.folder, bench.miniature.device, long=True)
    networks = {way: Network(miniature, way) for way in ALL}
    for number, (mode, replacement) in enumerate(MODES.items()):
        for people in (1, 2, 3):
            for seed, scenes, pictures in _batches(bench, 90 + 3 * number + people, people, replacement):
                _compare(rows, f"{mode}, {people}", networks, ALL if people == 2 else FEW, miniature, seed, scenes,
                         pictures, replacement)
        for seed, scenes, pictures in _batches(bench, 96 + number, 1, replacement, behind_share=1.0):
            _compare(rows, f"{mode}, additional reference", networks, FEW, miniature, seed, scenes, pictures,
                     replacement, additional=True)
        for seed, scenes, whole in _batches(bench, 98 + number, 2, replacement, frames=2 * FRAMES - OVERLAP):
            first, second = cut(whole, 0, FRAMES), cut(whole, FRAMES - OVERLAP, 2 * FRAMES - OVERLAP)
            networks[FEW[0]].begin()
            before = miniature.make(miniature.conditions(first, replacement), seed, velocity=networks[FEW[0]])
            _compare(rows, f"{mode}, 2, with history", networks, FEW, miniature, seed, scenes, second, replacement,
                     history=miniature.vae.encode(before[:, -OVERLAP:]))
    return rows.table()


def _batches(bench: Bench, seed: int, people: int, replacement: bool, frames: int = FRAMES, **options: float):
    return bench.batches(seed, bench.clips, people, replacement, height=HEIGHT, width=WIDTH, frames=frames,
                         batch=_BATCH, **options)


def _compare(rows: Rows, name: str, networks: dict[Way, Network], ways: tuple[Way, ...], miniature: Miniature,
             seed: int, scenes: Scenes, pictures: Pictures, replacement: bool, additional: bool = False,
             history: Tensor | None = None) -> None:
    conditions, exact = miniature.conditions(pictures, replacement, additional), None
    for way in ways:
        networks[way].begin()
        result = miniature.make(conditions, seed, Sampling(steps=way.steps), history=history, velocity=networks[way])
        score = measure.score(result, pictures)
        exact = exact or score
        lost = {f"{part}_lost": exact[part] - score[part] for part in ("psnr", "psnr_inside")}
        # exchanged looks are drawn from the start of a scene
        right = identity(result, scenes, pictures) if history is None else {}
        rows.add(f"{name}: {way.name}", **score, **lost, **right, **networks[way].measured(len(result)))
