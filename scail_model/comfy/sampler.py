"""The official solvers as a ComfyUI SAMPLER (see `solvers.py` and `video/denoising.py`)."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..solvers import make_schedule
from ..video.denoising import denoise, whole_timesteps

# above this sigma a run starts from pure noise
_FULL_NOISE = 0.99


def make_sampler(solver: str, steps: int, shift: float, history_strength: float = 1.0
                 ) -> tuple[comfy.samplers.KSAMPLER, Tensor]:
    """SAMPLER and SIGMAS [steps + 1] of an official schedule. Raises ValueError as `make_schedule` does.

    history_strength: how firmly the history is held in the first step, 0..1; it rises evenly to 1 in the last step.
    1 is official.
    """
    sigmas, timesteps = make_schedule(solver, steps, shift)
    options = {"solver": solver, "timesteps": whole_timesteps(solver, sigmas, timesteps),
               "history_strength": history_strength}
    return comfy.samplers.KSAMPLER(sample, options), sigmas


@torch.no_grad()
def sample(model, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback=None, disable: bool | None = None, *,
           solver: str, timesteps: dict[float, int], history_strength: float = 1.0) -> Tensor:
    """A ComfyUI sampling function: x noised to sigmas[0] -> latent at sigmas[-1]. The last arguments are
    `denoising.denoise`'s."""
    if sigmas[0] > _FULL_NOISE:
        x = model.noise.to(x)  # official: all noise; ComfyUI has mixed 1 - sigma of the empty latent in

    def ask(x: Tensor, level: float, mask: Tensor | None) -> Tensor:
        # ComfyUI mixes the clean latent into x and into the answer
        return model(x, x.new_full((x.shape[0],), level), **{**extra_args, "denoise_mask": mask})

    with tqdm(total=len(sigmas) - 1, disable=disable) as bar:
        def on_step(step: int, x: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback({"x": x, "i": step, "sigma": sigmas[step], "sigma_hat": sigmas[step], "denoised": denoised})
            bar.update()

        return denoise(ask, x, sigmas, solver, timesteps, clean=getattr(model, "latent_image", None),
                       mask=extra_args.get("denoise_mask"), history_strength=history_strength, on_step=on_step)
