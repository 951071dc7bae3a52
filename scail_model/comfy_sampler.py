"""The official solvers as a ComfyUI SAMPLER (see `solvers.py`).

ComfyUI's sampling functions get a model that returns the denoised latent and derives the timestep from sigma. The
official UniPC and DPM++ tell the model a truncated integer timestep but step with the exact sigma, so the model is
asked at the truncated one and its answer is turned back into the velocity.
"""

from __future__ import annotations

import math
from typing import Any

import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import trange

from .solvers import make_schedule, make_stepper

# above this sigma a run starts from pure noise
_FULL_NOISE = 0.99


def make_sampler(solver: str, steps: int, shift: float) -> tuple[comfy.samplers.KSAMPLER, Tensor]:
    """SAMPLER and SIGMAS [steps + 1] of an official schedule. Raises ValueError as `make_schedule` does."""
    sigmas, timesteps = make_schedule(solver, steps, shift)
    told = {} if solver == "euler" else dict(zip(sigmas.tolist(), timesteps.tolist(), strict=False))
    return comfy.samplers.KSAMPLER(sample, {"solver": solver, "timesteps": told}), sigmas


@torch.no_grad()
def sample(model, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback=None, disable: bool | None = None, *,
           solver: str, timesteps: dict[float, int]) -> Tensor:
    """A ComfyUI sampling function: x noised to sigmas[0] -> latent at sigmas[-1].

    `timesteps` maps the schedule's sigmas to the integers that the model is told; other sigmas (a split or edited
    schedule) are truncated here.
    """
    stepper = make_stepper(solver, sigmas.cpu())
    mask = extra_args.get("denoise_mask")
    if sigmas[0] > _FULL_NOISE:
        x = model.noise.to(x)  # official: all noise; ComfyUI has mixed 1 - sigma of the empty latent in
    levels = sigmas.tolist()
    for i in trange(len(levels) - 1, disable=disable):
        sigma = levels[i]
        told = _told_sigma(sigma, solver, timesteps)
        answer = model(x, x.new_full((x.shape[0],), told), **extra_args)
        denoised = x - sigma / told * (x - answer)
        if mask is not None:
            denoised = denoised * mask + model.latent_image * (1 - mask)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = stepper.step(x, denoised, i)
    return x


def _told_sigma(sigma: float, solver: str, timesteps: dict[float, int]) -> float:
    """The sigma whose timestep is the one that the official scheduler would tell the model."""
    if solver == "euler":
        return sigma
    return max(timesteps.get(sigma, math.floor(sigma * 1000)), 1) / 1000  # at 0 no velocity could be read back
