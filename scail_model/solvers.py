"""Solvers of the flow-matching ODE: noise schedules, one step of each solver, and the loop over the steps.

At noise level sigma the latent is x = (1 - sigma) * clean + sigma * noise and the model gives v = noise - clean, so
the clean latent is estimated as x - sigma * v ("denoised" below). In terms of alpha = 1 - sigma and
lambda = ln(alpha) - ln(sigma) this is a diffusion ODE, and the solvers below are those of the diffusion papers.
Originals: Wan's `FlowUniPCMultistepScheduler` and `FlowDPMSolverMultistepScheduler` (`wan/utils/fm_solvers*.py`);
Euler is what the SAT branch and minghaop/scail2_exp use.

A stepper holds the noise levels of one run and its solver's state; `integrate` is the plain loop around it, and any
other loop can drive it in the same way.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# Wan's training grid ends one step short of pure noise, and its UniPC starts there, in float32.
_UNIPC_START = float(np.float32(0.999))
# Below this level a run would begin from a mixture that the model has hardly seen without its clean half.
_LOWEST_START = 0.9


class Stepper(Protocol):
    """One run of a solver: `step` goes from sigmas[i] to sigmas[i + 1], and is called with i = 0, 1, 2, ..."""

    def step(self, x: Tensor, denoised: Tensor, i: int) -> Tensor: ...


class Euler:
    """First order: follow the straight line through x and the denoised latent (flow matching, arXiv 2210.02747)."""

    def __init__(self, sigmas: Tensor):
        self.sigmas = sigmas.tolist()

    def step(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        ratio = self.sigmas[i + 1] / self.sigmas[i]
        return ratio * x + (1 - ratio) * denoised


class DPMSolverPlusPlus:
    """DPM-Solver++(2M), midpoint form (arXiv 2211.01095, algorithm 2).

    Second order by using the denoised latent of the previous step. At sigma 1 lambda is minus infinity, which makes the
    weight of the previous step zero; a step to sigma 0 is of first order and returns the denoised latent.
    """

    def __init__(self, sigmas: Tensor):
        self.sigmas, self.alphas, self.lambdas = _levels(sigmas)
        self.previous: Tensor | None = None  # denoised latent of the previous step

    def step(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        h = self.lambdas[i + 1] - self.lambdas[i]
        estimate = denoised
        if self.previous is not None and self.sigmas[i + 1] > 0:
            r = (self.lambdas[i] - self.lambdas[i - 1]) / h
            estimate = denoised + (denoised - self.previous) / (2 * r)
        self.previous = denoised
        return self.sigmas[i + 1] / self.sigmas[i] * x - self.alphas[i + 1] * math.expm1(-h) * estimate


class UniPC:
    """UniPC of order 2, data prediction, B(h) = e^-h - 1, called bh2 in the original (arXiv 2302.04867).

    Every step but the first begins with the corrector: it repeats the previous step from its start, now that the model
    has been evaluated at its end. Then the predictor continues from there. The first step, and a step to sigma 0, are
    of first order; the corrector has the order of the step that it repeats.
    """

    def __init__(self, sigmas: Tensor):
        self.sigmas, self.alphas, self.lambdas = _levels(sigmas)
        self.start: Tensor | None = None  # corrected start of the previous step
        self.past: list[Tensor] = []  # denoised latents of the last one or two steps, oldest first
        self.order = 1

    def step(self, x: Tensor, denoised: Tensor, i: int) -> Tensor:
        if self.start is not None:
            x = self._advance(self.start, i - 1, self.past[-1] + self._correction(denoised, i))
        self.order = 2 if i > 0 and self.sigmas[i + 1] > 0 else 1
        estimate = denoised
        if self.order == 2:
            r = (self.lambdas[i - 1] - self.lambdas[i]) / (self.lambdas[i + 1] - self.lambdas[i])
            estimate = denoised + 0.5 / r * (self.past[-1] - denoised)
        self.start, self.past = x, [*self.past[-1:], denoised]
        return self._advance(x, i, estimate)

    def _advance(self, x: Tensor, i: int, estimate: Tensor) -> Tensor:
        """From sigmas[i] to sigmas[i + 1], with `estimate` for the denoised latent in between."""
        b = math.expm1(self.lambdas[i] - self.lambdas[i + 1])
        return self.sigmas[i + 1] / self.sigmas[i] * x - self.alphas[i + 1] * b * estimate

    def _correction(self, denoised: Tensor, i: int) -> Tensor:
        """What to add to the denoised latent at i - 1, knowing the one at i; the weights solve
        [[1, 1], [r, 1]] w = c, written out so that r = -infinity (sigma 1 at i - 2) gives w = (0, c1)."""
        change = denoised - self.past[-1]
        if self.order == 1:
            return 0.5 * change
        h = self.lambdas[i] - self.lambdas[i - 1]
        r = (self.lambdas[i - 2] - self.lambdas[i - 1]) / h
        b = math.expm1(-h)
        phi = -b / h - 1
        c1, c2 = phi / b, -2 * (phi / h + 0.5) / b
        old = (c1 - c2) / (1 - r)
        return old / r * (self.past[-2] - self.past[-1]) + (c1 - old) * change


@dataclass(frozen=True)
class Solver:
    """stepper: built from sigmas [steps+1]. start: the noise level before the shift at which a run begins.
    whole_timesteps: whether the model is told timesteps rounded down to whole numbers. help: for whom it is."""

    stepper: Callable[[Tensor], Stepper]
    start: float
    whole_timesteps: bool
    help: str


SOLVERS = {
    "unipc": Solver(UniPC, _UNIPC_START, True, "the official default"),
    "dpm++": Solver(DPMSolverPlusPlus, 1.0, True, "official too"),
    "euler": Solver(Euler, 1.0, False, "usual with distilled LoRAs"),
}


def make_schedule(solver: str, steps: int, shift: float) -> tuple[Tensor, Tensor]:
    """Noise levels, and the timesteps that the model gets.

    solver: a key of SOLVERS. shift: s in sigma -> s * sigma / (1 + (s - 1) * sigma); above 1 it spends more
    steps at high noise. Returns sigmas [steps+1] float32, from nearly or exactly 1 down to 0, and timesteps [steps],
    1000 * sigma: int64, rounded down, for UniPC and DPM++, float32 for Euler. Source: golden case D1.

    Raises ValueError for an unknown solver, steps below 1 and a shift that is not positive.
    """
    _check_solver(solver)
    if steps < 1:
        raise ValueError(f"steps is {steps}, but sampling needs at least 1: raise it (40 is the official default)")
    if not 0 < shift < math.inf:
        raise ValueError(f"shift is {shift}, but it must be positive: take 3.0, the official default, or 1.0 for none")
    sigmas = torch.from_numpy(shifted(np.linspace(SOLVERS[solver].start, 0.0, steps + 1), shift))  # [steps+1] float64
    if SOLVERS[solver].whole_timesteps:
        return sigmas.float(), (sigmas[:-1] * 1000).to(torch.int64)
    return sigmas.float(), sigmas[:-1].float() * 1000


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Raise ValueError unless these noise levels lead from noise to a clean latent: falling, from about 1 to 0."""
    if len(sigmas) < 2:
        raise ValueError(f"sigmas has {len(sigmas)} noise level(s), but a step needs two: connect a scheduler with at "
                         "least 1 step.")
    shown = ", ".join(f"{sigma:g}" for sigma in sigmas[:6]) + (", ..." if len(sigmas) > 6 else "")
    if not all(map(math.isfinite, sigmas)) or any(b >= a for a, b in zip(sigmas, sigmas[1:], strict=False)):
        raise ValueError(f"sigmas is {shown}, but noise levels must fall from step to step: take them as a scheduler "
                         "gives them.")
    if sigmas[0] > 1:
        raise ValueError(f"sigmas begins at {sigmas[0]:g}, but the noise levels of SCAIL-2 lie between 1 and 0: make "
                         "them with this MODEL.")
    if sigmas[0] < _LOWEST_START:
        raise ValueError(f"sigmas begins at {sigmas[0]:g}, but a video is made from noise, which is level 1: set the "
                         "scheduler's denoise to 1, and do not split its sigmas.")
    if sigmas[-1] != 0:
        raise ValueError(f"sigmas ends at {sigmas[-1]:g}, so noise would be left in the video: let it end at 0.")


def shifted(sigma: Any, shift: float) -> Any:
    """Noise levels of an even schedule -> those of a shifted one; of a number or an array."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def make_stepper(solver: str, sigmas: Tensor) -> Stepper:
    """Start a run over sigmas [steps+1], descending; only the last may be 0.

    Raises ValueError for an unknown solver.
    """
    _check_solver(solver)
    return SOLVERS[solver].stepper(sigmas)


def integrate(
    solver: str,
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    steps: int,
    shift: float,
    *,
    pin: Callable[[Tensor], Tensor] | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Go from noise to a clean latent.

    velocity(x, timestep) -> v: the model, called exactly once per step; timestep is a 0-dim tensor of the schedule on
    the noise's device. noise: a latent of any shape; its dtype and device are those of the whole run. pin(x) -> x
    restores known frames before every call of velocity and after the last step. callback(step, x, denoised): called
    after each step with the pinned latent that the next step starts from, and the clean latent estimated in this step.
    Returns the latent, shaped as noise. Source: golden cases D2 and E.

    Raises ValueError as `make_schedule` does.
    """
    sigmas, timesteps = make_schedule(solver, steps, shift)
    stepper = make_stepper(solver, sigmas)
    x = pin(noise) if pin else noise
    for i, (sigma, timestep) in enumerate(zip(sigmas[:-1].tolist(), timesteps.to(noise.device), strict=True)):
        # Convert to the dtype of the run first: sigma * v in the model's bfloat16 would round once more.
        denoised = x - sigma * velocity(x, timestep).to(x.dtype)
        x = stepper.step(x, denoised, i)
        if pin:
            x = pin(x)
        if callback:
            callback(i, x, denoised)
    return x


def _check_solver(solver: str) -> None:
    if solver not in SOLVERS:
        raise ValueError(f'solver is "{solver}", but it must be one of {", ".join(SOLVERS)}: choose one of them')


def _levels(sigmas: Tensor) -> tuple[list[float], list[float], list[float]]:
    """sigmas [steps+1] -> (sigmas, alphas, lambdas) as Python floats; lambda is infinite where sigma is 0 or 1."""
    sigmas = sigmas.double()
    alphas = 1 - sigmas
    return sigmas.tolist(), alphas.tolist(), (alphas.log() - sigmas.log()).tolist()
