"""A video of any length in ComfyUI: segment after segment, each starting from the decoded end of the one before.

The loop of the official `wan/scail.py`, with its noise (one generator for the whole video) and its history (the last
decoded frames, encoded again); `segments.plan_segments` says which frames each segment makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import comfy.sample
import comfy.utils
import torch
from torch import Tensor

from . import comfy_conditioning
from .comfy_conditioning import Reference
from .comfy_sampler import make_sampler
from .identities import Identities
from .segments import Segment, plan_segments

# (segment index, number of segments, step, denoised latent)
Progress = Callable[[int, int, int, Tensor], None]


@dataclass(frozen=True)
class Settings:
    """How a video is sampled; counts in frames, guidance 1 means one forward per step."""

    solver: str
    steps: int
    shift: float
    guidance: float
    seed: int
    segment_length: int
    overlap: int
    black_background: bool


def sample_video(model, positive: list, negative: list, vae, reference: Reference, driving: Tensor,
                 identities: Identities, settings: Settings, progress: Progress) -> Tensor:
    """Sample and decode every segment; driving uint8 [T, h, w, 3] -> frames [T, H, W, 3] in 0..1, as many as driving.

    The inputs are such that `comfy_preflight.check` finds no error in them. Raises ValueError for NaN in a latent.
    """
    plan = plan_segments(len(driving), settings.segment_length, settings.overlap)
    sampler, sigmas = make_sampler(settings.solver, settings.steps, settings.shift)
    generator = torch.Generator().manual_seed(settings.seed)
    made: list[Tensor] = []
    history = None
    for index, segment in enumerate(plan):
        motion = comfy_conditioning.encode_motion(
            vae, reference, driving, identities, segment.start + segment.overlap, segment.length,
            history=history, black_background=settings.black_background)
        noise = torch.randn(motion.latent["samples"].shape, generator=generator)
        latent = comfy.sample.sample_custom(
            model, noise, settings.guidance, sampler, sigmas,
            comfy_conditioning.with_values(positive, motion.values),
            comfy_conditioning.with_values(negative, motion.values),
            motion.latent["samples"], noise_mask=motion.latent.get("noise_mask"),
            callback=_watch(index, len(plan), progress), disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=settings.seed)
        frames = _decode(vae, latent, segment)
        history = frames[-settings.overlap :]
        made.append(frames[segment.overlap :])
    return torch.cat(made)


def _decode(vae, latent: Tensor, segment: Segment) -> Tensor:
    """Latent [1, 16, T', h, w] -> the segment's real frames [T, H, W, 3]."""
    frames = vae.decode(latent)
    return frames.reshape(-1, *frames.shape[-3:])[: segment.stop - segment.start]


def _watch(index: int, count: int, progress: Progress) -> Callable[[int, Tensor, Tensor, int], None]:
    def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        if not torch.isfinite(denoised).all():
            raise ValueError(f"The latent of segment {index + 1} of {count} has NaN or infinite values after step "
                             f"{step + 1} of {total}: use a bf16 model file, or another attention backend.")
        progress(index, count, step, denoised)

    return callback
