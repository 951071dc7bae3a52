"""One segment sampled without ComfyUI, in the arithmetic of ComfyUI's sampling functions, so that both give the same.

The velocity of each prompt becomes a denoised latent, guidance mixes these, and `denoising.denoise` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..inputs.reference import Reference
from ..kernels.sparse_attention import RUN
from ..plate.lock import Holding, PlateLock
from ..sparse.run import SparseRun
from ..transformer import SCAIL2Transformer
from ..video.denoising import denoise, mixed, noise_levels, within
from ..video.task import Settings
from .several_gpus import Call, SeveralGpus

_UNDRIVEN = {"driving_latents": None, "driving_masks": None}


def sample_latent(transformer: SCAIL2Transformer | SeveralGpus, positive: Tensor, negative: Tensor | None,
                  clip_features: Tensor, conditions: dict[str, Any], noise: Tensor, settings: Settings, *,
                  guidance: float, steered_from: Tensor | None = None, history: Tensor | None = None,
                  history_strength: float = 1.0,
                  on_step: Callable[[int, Tensor], None] = lambda step, denoised: None,
                  sparse: SparseRun | None = None, lock: PlateLock | None = None) -> Tensor:
    """Noise [1, 16, T, H, W] -> normalised latent of one segment.

    positive, negative: text embeddings [1, L, 4096]; without a negative one guidance is not used. conditions: the
    transformer's keyword arguments. steered_from: the text that attention to the positive one is steered away from,
    by the settings' negative_strength. history: clean latent frames [1, 16, t, H, W] for the segment's start, or None.
    on_step, sparse: as in `SampleRequest`. lock: the same with a normalised plate.
    """
    holding = None if lock is None else Holding(lock)
    clean = mask = None
    if history is not None:
        frames = history.shape[2]
        clean, mask = torch.zeros_like(noise), torch.ones_like(noise[:, :1])
        clean[:, :, :frames] = history
        mask[:, :, :frames] = 0
        conditions = {**conditions, "history_mask": (1 - mask).expand(-1, 4, -1, -1, -1)}

    def call(x: Tensor, level: float, text: Tensor) -> Call:
        timestep = x.new_full((1,), level) * 1000
        driven = settings.always_driven or within(level, settings.driving_levels)
        given = conditions if driven else conditions | _UNDRIVEN
        if text is positive and settings.negative_strength:
            given = given | {"negative_context": steered_from, "negative_strength": settings.negative_strength}
        options = {} if sparse is None else {RUN: sparse, "cond_or_uncond": [int(text is negative)]}  # as in ComfyUI
        return {"x": x, "timestep": timestep, "context": text, "clip_features": clip_features, **given,
                "transformer_options": options}

    def denoised(x: Tensor, level: float, text: Tensor, velocity: Tensor) -> Tensor:
        answer = x - velocity.to(x.dtype) * level
        if holding is None:
            return answer
        return holding.held(answer, level, positive=answer if text is positive else None)

    def ask(x: Tensor, level: float, mask: Tensor | None) -> Tensor:
        x = x if mask is None or clean is None else mixed(x, clean, mask)
        texts = [positive] if negative is None else [positive, negative]
        velocities = _velocities(transformer, [call(x, level, text) for text in texts])
        answer, *others = [denoised(x, level, *pair) for pair in zip(texts, velocities, strict=True)]
        for unguided in others:
            answer = unguided + (answer - unguided) * guidance
        return answer if mask is None or clean is None else mixed(answer, clean, mask)

    sigmas, timesteps = noise_levels(settings)
    return denoise(ask, noise, sigmas, settings.solver, timesteps, clean=clean, mask=mask,
                   history_strength=history_strength, on_step=lambda step, x, estimate: on_step(step, estimate))


def _velocities(transformer: SCAIL2Transformer | SeveralGpus, calls: Sequence[Call]) -> list[Tensor]:
    if isinstance(transformer, SeveralGpus):
        return transformer.velocities(calls)
    return [transformer(**call) for call in calls]

def reference_conditions(reference: Reference, latents: Sequence[Tensor], device: torch.device) -> dict[str, Any]:
    """The transformer's arguments for the references, the primary apart from the others. latents: the reference's,
    normalised."""
    masks = reference.masks[0].movedim(0, 1)[None].to(device)  # [1, 28, n, h, w], the primary last
    conditions = {"reference_latents": latents[0], "reference_masks": masks[:, :, -1:]}
    if len(latents) > 1:
        conditions["additional_latents"] = torch.cat(tuple(latents[1:]), dim=2)  # [1, 16, n, H, W]
        conditions["additional_masks"] = masks[:, :, :-1]
    return conditions
