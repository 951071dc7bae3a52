"""One sampling with sparse attention: how much each layer computes, and how far off it is.

The error of a layer is measured on two thousand rows of queries from all over the sequence, which are computed exactly
too. In the first step of a video all layers are measured, and then get their share of the blocks by that; afterwards a
eighth of them is measured in each step. A layer whose error is over the limit computes the same again with twice the
blocks, in the end with all of them, and goes on with that.

All of that is kept and decided for each prompt by itself, so it is the same whether two prompts are computed in one
batch, one after the other, or on two GPUs. Ranks that have some of the heads each decide by the error over all heads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..kernels.backends import uncompiled
from ..kernels.eager.fp8 import HEAD
from ..kernels.in_parts import InParts, Rows, SparseInParts, of_whole
from ..kernels.ranks import numbers, of_all_heads
from ..kernels.sparse_attention import PROMPTS
from .calibration import Calibration
from .settings import SparseSettings, more

ROWS = 2048  # that are computed exactly, of each item
_TURNS = 8  # steps in which every layer is measured once
_GOLDEN = 0.6180339887498949

ExactFunction = Callable[[Tensor], Tensor]
Options = dict[str, Any] | None


class LayerError(NamedTuple):
    """What was measured of a layer in a step, both from 0. error: of its attention's output, relative to the output's
    size (L2 over rows and heads). density: share of the blocks that it has computed in the end."""

    step: int
    layer: int
    error: float
    density: float


class SparseRun:
    """The state of one sampling. calibration: of the video's first one; None for that one itself.

    Threads that compute different prompts may use one run at the same time.
    """

    def __init__(self, settings: SparseSettings, calibration: Calibration | None = None) -> None:
        self.settings, self.given = settings, calibration
        self._steps: dict[float, int] = {}
        self._prompts: dict[int, _Prompt] = {}
        self._ranks: dict[int, SparseRun] = {}

    def of_rank(self, number: int) -> SparseRun:
        """The run of one of several ranks that compute a call together. All of them measure and decide the same, but
        not at the same moment, so each has one of its own for as long as this one lives; the first has this one."""
        if number == 0:
            return self
        twin = self._ranks.setdefault(number, SparseRun(self.settings, self.given))
        twin._steps = self._steps
        return twin

    def share(self, count: int, transformer_options: Options) -> None:
        """Before so many ranks compute a call: tell each what is known of its prompts. A call before may have had more
        or fewer ranks, or none, because each step divides the GPUs among its prompts anew."""
        for number in range(1, count):
            for prompt in _prompts_of(transformer_options):
                self.of_rank(number)._prompts[prompt] = self._prompt(prompt).copied()

    def begin(self, timestep: float, transformer_options: Options = None) -> None:
        """A forward begins. Timesteps count as steps in the order in which they come."""
        step = self._steps.setdefault(timestep, len(self._steps))
        for prompt in sorted(set(_prompts_of(transformer_options))):
            self._prompt(prompt).begin(step)

    def attention(self, layer: int, length: int, sparse: SparseInParts, exact: ExactFunction,
                  transformer_options: Options = None) -> InParts:
        """Attention of a layer to `length` keys of one item as a function of queries [1, L, heads * 128]. sparse,
        exact: the same in both ways. transformer_options: whose item it is, and of which rank."""
        prompt = self._prompt(_prompts_of(transformer_options)[0])
        return prompt.attention(layer, length, sparse, exact, transformer_options)

    def calibration(self) -> Calibration:
        """What the layers compute by now."""
        found = {number: dict(sorted(self._prompts[number].densities.items())) for number in sorted(self._prompts)}
        length = max((prompt.length for prompt in self._prompts.values()), default=0)
        return Calibration(length, found.pop(0, {}), found)

    @property
    def errors(self) -> list[LayerError]:
        """All measurements, in order, with those of dense layers, whose error is 0; none if nothing was left out."""
        found: dict[tuple[int, int], _Sums] = {}
        for number in sorted(self._prompts):
            _merge(found, self._prompts[number].sums)
        if not any(sums.size for sums in found.values()):
            return []
        return [LayerError(step, layer, found[step, layer].error(), found[step, layer].density())
                for step, layer in sorted(found)]

    def _prompt(self, number: int) -> _Prompt:
        return self._prompts.setdefault(number, _Prompt(number, self.settings, self.given))


class _Prompt:
    """What is known of one prompt: 0, or 1 for the negative one."""

    def __init__(self, number: int, settings: SparseSettings, calibration: Calibration | None) -> None:
        self.settings, self.calibrated = settings, calibration is not None
        self.given_length = 0 if calibration is None else calibration.length
        self.given = {} if calibration is None else calibration.of_prompt(number)
        self.densities: dict[int, float] = {}
        self.sums: dict[tuple[int, int], _Sums] = {}
        self.length = 0
        self._step = 0

    def copied(self) -> _Prompt:
        twin = copy.copy(self)
        twin.densities, twin.sums = dict(self.densities), dict(self.sums)
        return twin

    def begin(self, step: int) -> None:
        self._step = step
        if self.sums and not self.calibrated and (step, 0) > max(self.sums):
            self._calibrate()

    def attention(self, layer: int, length: int, sparse: SparseInParts, exact: ExactFunction, options: Options
                  ) -> InParts:
        @uncompiled
        def begin(q: Tensor) -> Rows:
            self.length = self.length or length
            density = self.densities.setdefault(layer, self._first(layer, length))
            turn = not self.calibrated or (layer + self._step) % _TURNS == 0
            if density >= 1:
                if turn:
                    self._note(layer, 0.0, 0.0, 1.0)
                return lambda part: exact(q[:, part])
            if turn:
                return of_whole(self._measured(layer, q, density, sparse, exact, options))
            return sparse.begin(q, density)[0]

        return InParts(begin)

    def _first(self, layer: int, length: int) -> float:
        """The density of a layer at first, for `length` keys."""
        usual = self.settings.first(length)
        if layer not in self.given:
            return usual
        # a segment of another length has another density for as many keys
        return min(self.given[layer] * (usual / self.settings.first(self.given_length)), 1.0)

    def _measured(self, layer: int, q: Tensor, density: float, sparse: SparseInParts, exact: ExactFunction,
                  options: Options) -> Tensor:
        """The result with this density, or with a higher one if its error is over the limit."""
        out, computed = sparse(q, density)
        rows = sampled_rows(q.shape[1], layer + self._step, q.device)
        expected = exact(q[:, rows])
        off, size = _squares(out[:, rows], expected, options)
        while self.settings.error_limit and off > self.settings.error_limit**2 * size:
            self.densities[layer] = density = more(self.densities[layer])
            if density >= 1:
                out, computed, off = exact(q), torch.ones_like(computed), 0.0
            else:
                out, computed = sparse(q, density)
                off, size = _squares(out[:, rows], expected, options)
        share = numbers(of_all_heads(computed, options).double().mean(), options)
        self._note(layer, off, size, share)
        return out

    def _note(self, layer: int, off: float, size: float, density: float) -> None:
        _merge(self.sums, {(self._step, layer): _Sums(off, size, density, 1)})

    def _calibrate(self) -> None:
        """Give blocks from layers with a small error to those with a large one, after the first step.

        An error falls about as density**-1.5, so the sum of the squares is smallest for the same work if the density
        goes with the root of the error. Less than half and more than twice is not trusted to that rule.
        """
        self.calibrated = True
        found = {layer: (sums.error(), sums.density()) for (_, layer), sums in self.sums.items()}
        roots = {layer: (error * density**1.5) ** 0.5 for layer, (error, density) in found.items()
                 if density < 1 and math.isfinite(error)}  # NaN is the sampler's to tell
        if not any(roots.values()):
            return
        mean = sum(roots.values()) / len(roots)
        first = self.settings.first(self.length)
        for layer, root in roots.items():
            share = min(max(root / mean, 0.5), 2.0) * first
            # a layer that was over the limit keeps what it took
            raised = self.densities[layer] > first
            self.densities[layer] = min(max(share, self.densities[layer] if raised else 0.0), 1.0)


class _Sums(NamedTuple):
    """Squares over all calls of a layer in a step: chunks of rows, items, windows."""

    off: float = 0.0
    size: float = 0.0
    densities: float = 0.0
    calls: int = 0

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(self.off + other.off, self.size + other.size, self.densities + other.densities,
                     self.calls + other.calls)

    def density(self) -> float:
        return self.densities / self.calls

    def error(self) -> float:
        return (self.off / self.size) ** 0.5 if self.size else 0.0


def sampled_rows(length: int, turn: int, device: torch.device) -> Tensor:
    """Numbers of ROWS rows from all over the sequence, others in each turn; all rows of a short one."""
    count = min(ROWS, length)
    return ((torch.arange(count, device=device) + turn * _GOLDEN % 1) * (length / count)).long()


def _prompts_of(transformer_options: Options) -> list[int]:
    return (transformer_options or {}).get(PROMPTS, [0])


def _merge(sums: dict[tuple[int, int], _Sums], others: dict[tuple[int, int], _Sums]) -> None:
    for place, other in others.items():
        sums[place] = sums.get(place, _Sums()).plus(other)


def _squares(out: Tensor, expected: Tensor, options: Options) -> tuple[float, float]:
    """_Sums of squares of the difference and of what was expected, over all heads. Waits for the GPU."""
    both = torch.stack((out.float() - expected.float(), expected.float())).square()  # [2, 1, rows, heads * 128]
    of_heads = both.unflatten(-1, (-1, HEAD)).sum(-1)
    off, size = numbers(of_all_heads(of_heads, options).double().sum((1, 2, 3)), options)
    return off, size
