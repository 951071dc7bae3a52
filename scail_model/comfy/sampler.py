"""What samples a segment in ComfyUI: the official solvers as a SAMPLER (see `solvers.py` and `video/denoising.py`), or
the SAMPLER that another node gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..files.content_keys import digest
from ..solvers import check_sigmas, make_schedule
from ..video.denoising import denoise, noise_levels, whole_timesteps
from ..video.options import VideoOptions
from ..video.task import Settings

# above this sigma a run starts from pure noise
_FULL_NOISE = 0.99
_SEEDS = 2**64


def make_sampler(solver: str, steps: int, shift: float) -> tuple[comfy.samplers.KSAMPLER, Tensor]:
    """SAMPLER and SIGMAS [steps + 1] of an official schedule. Raises ValueError as `make_schedule` does."""
    sigmas, timesteps = make_schedule(solver, steps, shift)
    return _sampler(solver, whole_timesteps(solver, sigmas, timesteps), 1.0), sigmas


def segment_sampler(given, settings: Settings, history_strength: float) -> tuple[comfy.samplers.Sampler, Tensor]:
    """SAMPLER and SIGMAS [steps + 1] of one segment. given: the SAMPLER that takes the place of settings.solver, or
    None."""
    sigmas, timesteps = noise_levels(settings)
    if given is None:
        return _sampler(settings.solver, timesteps, history_strength), sigmas
    if is_ours(given):
        return _sampler(settings.solver, given.extra_options["timesteps"] | timesteps, history_strength), sigmas
    return given, sigmas


def segment_seed(given, seed: int, start: int) -> int:
    """The seed that a sampler draws its own noise from, at most 64 bits: another one for each segment, which begins at
    frame `start`. The official solvers draw none, and the first noise is given."""
    return seed if given is None or is_ours(given) else (seed + start) % _SEEDS


def with_sampler(options: VideoOptions, given) -> VideoOptions:
    """The settings of a video with the solver of a SAMPLER from SCAIL-2 Schedule; unchanged for any other."""
    return replace(options, solver=given.extra_options["solver"]) if is_ours(given) else options


def check_sampler(given, history_strength: float) -> None:
    """Raise ValueError for a SAMPLER that cannot hold the history as softly as asked."""
    if given is not None and not is_ours(given) and history_strength != 1:
        raise ValueError(f"history_strength is {history_strength:g}, but the SAMPLER {sampler_name(given)} can only "
                         "hold the history with 1: set it to 1, or connect SCAIL-2 Schedule to sampler.")


def sampler_key(given) -> str:
    """Of a SAMPLER from another pack or from core; "" for the solvers, which the settings name."""
    return "" if given is None or is_ours(given) else digest(type(given).__name__, vars(given))


def is_ours(sampler) -> bool:
    """Whether a SAMPLER comes from SCAIL-2 Schedule."""
    return getattr(sampler, "sampler_function", None) is sample


def sampler_name(sampler) -> str:
    """What people call a SAMPLER."""
    if is_ours(sampler):
        return sampler.extra_options["solver"]
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return type(sampler).__name__
    # some samplers of core are functions around another one: dpm_adaptive_function
    return function.__name__.removeprefix("sample_").removesuffix("_function")


def sigmas_of(sigmas: Tensor | None) -> tuple[float, ...]:
    """SIGMAS as numbers; none if nothing is connected. Raises ValueError if what is connected has no level, as of a
    scheduler with denoise 0: it must not be taken for nothing."""
    if sigmas is None:
        return ()
    if not sigmas.numel():
        check_sigmas(())
    return tuple(sigmas.flatten().tolist())


def _sampler(solver: str, timesteps: dict[float, int], history_strength: float) -> comfy.samplers.KSAMPLER:
    """history_strength: how firmly the history is held in the first step, 0..1; it rises evenly to 1 in the last step.
    1 is official."""
    return comfy.samplers.KSAMPLER(sample, {"solver": solver, "timesteps": timesteps,
                                            "history_strength": history_strength})


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
