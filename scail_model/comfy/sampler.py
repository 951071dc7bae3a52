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

from ..solvers import make_schedule, make_stepper

# above this sigma a run starts from pure noise
_FULL_NOISE = 0.99


def make_sampler(solver: str, steps: int, shift: float, history_strength: float = 1.0
                 ) -> tuple[comfy.samplers.KSAMPLER, Tensor]:
    """SAMPLER and SIGMAS [steps + 1] of an official schedule. Raises ValueError as `make_schedule` does.

    history_strength: how firmly the history is held in the first step, 0..1; it rises evenly to 1 in the last step.
    1 is official.
    """
    sigmas, timesteps = make_schedule(solver, steps, shift)
    told = {} if solver == "euler" else dict(zip(sigmas.tolist(), timesteps.tolist(), strict=False))
    options = {"solver": solver, "timesteps": told, "history_strength": history_strength}
    return comfy.samplers.KSAMPLER(sample, options), sigmas


@torch.no_grad()
def sample(model, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback=None, disable: bool | None = None, *,
           solver: str, timesteps: dict[float, int], history_strength: float = 1.0) -> Tensor:
    """A ComfyUI sampling function: x noised to sigmas[0] -> latent at sigmas[-1].

    `timesteps` maps the schedule's sigmas to the integers that the model is told; other sigmas (a split or edited
    schedule) are truncated here. history_strength: see `make_sampler`; where the mask says 0, this share of the clean
    latent and the rest of what is sampled there are put together before and after each call of the model.
    """
    stepper = make_stepper(solver, sigmas.cpu())
    given = extra_args.get("denoise_mask")
    if sigmas[0] > _FULL_NOISE:
        x = model.noise.to(x)  # official: all noise; ComfyUI has mixed 1 - sigma of the empty latent in
    levels = sigmas.tolist()
    for i in trange(len(levels) - 1, disable=disable):
        sigma = levels[i]
        told = _told_sigma(sigma, solver, timesteps)
        mask = _softened(given, history_strength, i, len(levels) - 1)
        answer = model(x, x.new_full((x.shape[0],), told), **{**extra_args, "denoise_mask": mask})
        # ComfyUI mixes the clean latent into what the model is given, and into its answer. To mix it into the answer
        # again would hold the history more firmly than asked, so what the answer is compared with is mixed as often.
        start = x if mask is None else _mixed(_mixed(x, model.latent_image, mask), model.latent_image, mask)
        denoised = start - sigma / told * (start - answer)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = stepper.step(x, denoised, i)
    return x


def _mixed(x: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    return x * mask + clean * (1 - mask)


def _softened(mask: Tensor | None, strength: float, step: int, steps: int) -> Tensor | None:
    """The denoise mask of one step, in which the history is held with `strength` at first and with 1 at last."""
    if mask is None or strength == 1:
        return mask
    risen = 1.0 if steps == 1 else strength + (1 - strength) * step / (steps - 1)
    return 1 - (1 - mask) * risen


def _told_sigma(sigma: float, solver: str, timesteps: dict[float, int]) -> float:
    """The sigma whose timestep is the one that the official scheduler would tell the model."""
    if solver == "euler":
        return sigma
    return max(timesteps.get(sigma, math.floor(sigma * 1000)), 1) / 1000  # at 0 no velocity could be read back
