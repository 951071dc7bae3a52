"""One sampling with sparse attention: how much each layer computes, and how far off it is.

The error of a layer is measured on two thousand rows of queries from all over the sequence, which are computed exactly
too. In the first step of a video all layers are measured, and then get their share of the blocks by that; afterwards a
eighth of them is measured in each step. A layer whose error is over the limit computes the same again with twice the
blocks, in the end with all of them, and goes on with that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.backends import uncompiled
from .calibration import Calibration
from .settings import SparseSettings, more

ROWS = 2048  # that are computed exactly, of each item
_TURNS = 8  # steps in which every layer is measured once
_GOLDEN = 0.6180339887498949

SparseFunction = Callable[[Tensor, float], tuple[Tensor, Tensor]]
ExactFunction = Callable[[Tensor], Tensor]


class LayerError(NamedTuple):
    """What was measured of a layer in a step, both from 0. error: of its attention's output, relative to the output's
    size (L2 over rows and heads). density: share of the blocks that it has computed in the end."""

    step: int
    layer: int
    error: float
    density: float


class SparseRun:
    """The state of one sampling. calibration: of the video's first one; None for that one itself."""

    def __init__(self, settings: SparseSettings, calibration: Calibration | None = None) -> None:
        self.settings, self.calibrated = settings, calibration is not None
        self.given = calibration
        self._densities: dict[int, float] = {}
        self._length = 0
        self._steps: dict[float, int] = {}
        self._step = 0
        self._sums: dict[tuple[int, int], _Sums] = {}

    def begin(self, timestep: float) -> None:
        """A forward begins. Timesteps count as steps in the order in which they come."""
        self._step = self._steps.setdefault(timestep, len(self._steps))
        if self._step and not self.calibrated:
            self._calibrate()

    def calibration(self) -> Calibration:
        """What the layers compute by now."""
        return Calibration(self._length, {layer: self._densities[layer] for layer in sorted(self._densities)})

    @property
    def errors(self) -> list[LayerError]:
        """All measurements, in order, with those of dense layers, whose error is 0; none if nothing was left out."""
        if not any(sums.size for sums in self._sums.values()):
            return []
        return [LayerError(step, layer, sums.error(), sums.density()) for (step, layer), sums in self._sums.items()]

    def merge(self, other: SparseRun) -> None:
        """Add what was measured on another GPU."""
        for place, sums in other._sums.items():
            self._sums.setdefault(place, _Sums()).merge(sums)

    def attention(self, layer: int, length: int, sparse: SparseFunction, exact: ExactFunction) -> ExactFunction:
        """Attention of a layer to `length` keys as a function of queries [B, L, heads * 128]. sparse, exact: the same
        in both ways."""

        @uncompiled
        def attend(q: Tensor) -> Tensor:
            self._length = self._length or length
            density = self._densities.setdefault(layer, self._first(layer, length))
            turn = not self.calibrated or (layer + self._step) % _TURNS == 0
            if density >= 1:
                if turn:
                    self._sums.setdefault((self._step, layer), _Sums()).add(0.0, 0.0, 1.0)
                return exact(q)
            out, computed = sparse(q, density)
            if turn:
                out = self._measured(layer, q, out, computed, sparse, exact)
            return out

        return attend

    def _first(self, layer: int, length: int) -> float:
        """The density of a layer at first, for `length` keys."""
        usual, given = self.settings.first(length), self.given
        if given is None or layer not in given.densities:
            return usual
        # a segment of another length has another density for as many keys
        return min(given.densities[layer] * (usual / self.settings.first(given.length)), 1.0)

    def _measured(self, layer: int, q: Tensor, out: Tensor, computed: Tensor, sparse: SparseFunction,
                  exact: ExactFunction) -> Tensor:
        """`out`, or the same with more blocks if its error is over the limit."""
        rows = sampled_rows(q.shape[1], layer + self._step, q.device)
        expected = exact(q[:, rows]).float()
        off, size = _squares(out[:, rows], expected)
        while self.settings.error_limit and off > self.settings.error_limit**2 * size:
            self._densities[layer] = density = more(self._densities[layer])
            if density >= 1:
                out, computed, off = exact(q), torch.ones(()), 0.0
            else:
                out, computed = sparse(q, density)
                off, size = _squares(out[:, rows], expected)
        self._sums.setdefault((self._step, layer), _Sums()).add(off, size, float(computed))
        return out

    def _calibrate(self) -> None:
        """Give blocks from layers with a small error to those with a large one, after the first step.

        An error falls about as density**-1.5, so the sum of the squares is smallest for the same work if the density
        goes with the root of the error. Less than half and more than twice is not trusted to that rule.
        """
        self.calibrated = True
        roots = {error.layer: (error.error * error.density**1.5) ** 0.5 for error in self.errors
                 if error.density < 1 and math.isfinite(error.error)}  # NaN is the sampler's to tell
        if not any(roots.values()):
            return
        mean = sum(roots.values()) / len(roots)
        first = self.settings.first(self._length)
        for layer, root in roots.items():
            share = min(max(root / mean, 0.5), 2.0) * first
            # a layer that was over the limit keeps what it took
            raised = self._densities[layer] > first
            self._densities[layer] = min(max(share, self._densities[layer] if raised else 0.0), 1.0)


class _Sums:
    """Squares over all calls of a layer in a step: chunks of rows, both prompts, windows."""

    def __init__(self, off: float = 0.0, size: float = 0.0, densities: float = 0.0, calls: int = 0) -> None:
        self.off, self.size, self.densities, self.calls = off, size, densities, calls

    def add(self, off: float, size: float, density: float) -> None:
        self.merge(_Sums(off, size, density, 1))

    def merge(self, other: _Sums) -> None:
        self.off, self.size = self.off + other.off, self.size + other.size
        self.densities, self.calls = self.densities + other.densities, self.calls + other.calls

    def density(self) -> float:
        return self.densities / self.calls

    def error(self) -> float:
        return (self.off / self.size) ** 0.5 if self.size else 0.0


def sampled_rows(length: int, turn: int, device: torch.device) -> Tensor:
    """Numbers of ROWS rows from all over the sequence, others in each turn; all rows of a short one."""
    count = min(ROWS, length)
    return ((torch.arange(count, device=device) + turn * _GOLDEN % 1) * (length / count)).long()


def _squares(out: Tensor, expected: Tensor) -> tuple[float, float]:
    """Sums of squares of the difference and of what was expected. Waits for the GPU."""
    return tuple(torch.stack(((out.float() - expected).square().sum(), expected.square().sum())).tolist())
