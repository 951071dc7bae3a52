"""The loop over the steps of one sampling, the same in ComfyUI and on the command line.

A model answers with the denoised latent and is told a noise level. The official UniPC and DPM++ tell it a truncated
integer timestep but step with the exact level, so the model is asked at the truncated one and its answer is turned back
into the velocity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..solvers import SOLVERS, make_schedule, make_stepper
from .task import Settings

Ask = Callable[[Tensor, float, Tensor | None], Tensor]


def denoise(ask: Ask, x: Tensor, sigmas: Tensor, solver: str, timesteps: Mapping[float, int], *,
            clean: Tensor | None, mask: Tensor | None, history_strength: float = 1.0,
            on_step: Callable[[int, Tensor, Tensor], None] = lambda step, x, denoised: None) -> Tensor:
    """x at sigmas[0] -> latent at sigmas[-1], of the same shape.

    ask(x, level, mask): mixes the clean latent into x where the mask is below 1, and answers with the denoised latent,
    into which it is mixed again. timesteps: the schedule's integers by sigma; other sigmas (of an edited schedule) are
    truncated here. mask, clean: 0 where the clean latent is known. history_strength: how firmly it is held in the first
    step, 0..1, rising evenly to 1 in the last; 1 is official. on_step: step, x before it, denoised.
    """
    stepper, levels = make_stepper(solver, sigmas.cpu()), sigmas.tolist()
    for step in range(len(levels) - 1):
        sigma = levels[step]
        level = _model_sigma(sigma, solver, timesteps)
        softened = _softened(mask, history_strength, step, len(levels) - 1)
        answer = ask(x, level, softened)
        # The clean latent is mixed into what the model is given, and into its answer. To mix it into the answer again
        # would hold the history more firmly than asked, so what the answer is compared with is mixed as often.
        start = x if softened is None or clean is None else mixed(mixed(x, clean, softened), clean, softened)
        denoised = start - sigma / level * (start - answer)
        on_step(step, x, denoised)
        x = stepper.step(x, denoised, step)
    return x


def whole_timesteps(solver: str, sigmas: Tensor, timesteps: Tensor) -> dict[float, int]:
    """`denoise`'s timesteps of a schedule from `solvers.make_schedule`."""
    return dict(zip(sigmas.tolist(), timesteps.tolist(), strict=False)) if SOLVERS[solver].whole_timesteps else {}


def noise_levels(settings: Settings) -> tuple[Tensor, dict[float, int]]:
    """Sigmas [steps + 1] of a video, and `denoise`'s timesteps: those that are given for it, else the official
    schedule's. Raises ValueError as `make_schedule` does."""
    if settings.sigmas:
        return torch.tensor(settings.sigmas), {}
    sigmas, timesteps = make_schedule(settings.solver, settings.steps, settings.shift)
    return sigmas, whole_timesteps(settings.solver, sigmas, timesteps)


def within(level: float, levels: tuple[float, float]) -> bool:
    """Whether a noise level is between two others, the higher one first; in float32, as the levels of a sampling
    are."""
    highest, lowest = map(np.float32, levels)
    return bool(lowest <= np.float32(level) <= highest)


def driven_steps(settings: Settings, levels: tuple[float, float]) -> int:
    """In how many steps the driving video is followed: those whose noise levels are between these two."""
    sigmas, timesteps = noise_levels(settings)
    return sum(within(_model_sigma(sigma, settings.solver, timesteps), levels) for sigma in sigmas.tolist()[:-1])


def mixed(x: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    """x where the mask is 1, the clean latent where it is 0."""
    return x * mask + clean * (1 - mask)


def _softened(mask: Tensor | None, strength: float, step: int, steps: int) -> Tensor | None:
    """The mask of one step, in which the history is held with `strength` at first and with 1 at last."""
    if mask is None or strength == 1:
        return mask
    risen = 1.0 if steps == 1 else strength + (1 - strength) * step / (steps - 1)
    return 1 - (1 - mask) * risen


def _model_sigma(sigma: float, solver: str, timesteps: Mapping[float, int]) -> float:
    """The noise level whose timestep is the one that the official scheduler tells the model."""
    if not SOLVERS[solver].whole_timesteps:
        return sigma
    return max(timesteps.get(sigma, math.floor(sigma * 1000)), 1) / 1000  # at 0 no velocity can be had
