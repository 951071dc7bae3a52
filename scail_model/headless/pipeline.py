"""From checked inputs to frames: the official pipeline (`wan/scail.py`) over the segments of a video of any length.

The first segment starts from noise alone; every later one holds the last frames of the one before, encoded anew, clean
at its start. Two things differ from the official code: no frame is lost at the end, and in replacement mode the
reference is cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..inputs import conditioning
from ..segments import Segment
from ..solvers import integrate
from ..transformer import SCAIL2Transformer
from .encoders import VAE
from .inputs import Inputs


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler; the defaults are the official command line's."""

    solver: str = "unipc"
    steps: int = 40
    shift: float = 3.0
    guidance: float = 5.0


@dataclass(frozen=True)
class Texts:
    """Embeddings float32 [1, L, 4096]; the negative one is None where guidance does not use it."""

    positive: Tensor
    negative: Tensor | None


class Progress(Protocol):
    """Told what is going on: `stage` in words, `step` after each step of the sampler."""

    def stage(self, text: str) -> None: ...

    def step(self) -> None: ...


def encode_references(vae: VAE, inputs: Inputs, cut_out: bool) -> dict[str, Tensor]:
    """The transformer's reference inputs, each picture encoded alone."""
    size = inputs.height, inputs.width
    latents, masks = [], []
    for index, image in enumerate(inputs.references):
        pixels = conditioning.reference_pixels(image, inputs.identities, index, *size, cut_out=cut_out)
        latents.append(vae.encode(pixels))
        masks.append(conditioning.reference_mask(inputs.identities, index, *size)[None].to(vae.device))
    encoded = {"reference_latents": latents[0], "reference_masks": masks[0]}
    if len(latents) > 1:
        encoded["additional_latents"] = torch.cat(latents[1:], dim=2)  # [1, 16, n, H, W]
        encoded["additional_masks"] = torch.cat(masks[1:], dim=2)
    return encoded


def encode_driving(vae: VAE, inputs: Inputs, segment: Segment) -> dict[str, Tensor]:
    """The transformer's driving inputs for one segment; past the end the last frame is repeated."""
    stop = segment.start + segment.length
    frames = inputs.driving[torch.arange(segment.start, stop).clamp(max=len(inputs.driving) - 1)]
    size = inputs.height, inputs.width
    mask = conditioning.driving_mask(inputs.identities, segment.start, stop, *size)
    return {
        "driving_latents": vae.encode(conditioning.driving_pixels(frames, *size)),
        "driving_masks": mask[None].to(vae.device),
    }


def sample_segment(transformer: SCAIL2Transformer, texts: Texts, clip_features: Tensor, conditions: dict[str, Any],
                   noise: Tensor, history: Tensor | None, sampling: Sampling,
                   after_step: Callable[[int, Tensor, Tensor], None] | None = None) -> Tensor:
    """Noise [1, 16, T, H, W] -> latent of one segment.

    conditions: keyword arguments of the transformer. history: clean latent frames [1, 16, t, H, W] for the segment's
    start, or None. after_step: as `solvers.integrate`'s callback.
    """
    frames = 0
    if history is not None:
        frames = history.shape[2]
        history_mask = torch.zeros_like(noise[:, :4])  # [1, 4, T, H, W]
        history_mask[:, :, :frames] = 1
        conditions = {**conditions, "history_mask": history_mask}

    def pin(x: Tensor) -> Tensor:
        return torch.cat((history, x[:, :, frames:]), dim=2)

    def velocity(x: Tensor, timestep: Tensor) -> Tensor:
        conditional = transformer(x, timestep[None], texts.positive, clip_features, **conditions)
        if texts.negative is None:
            return conditional
        unconditional = transformer(x, timestep[None], texts.negative, clip_features, **conditions)
        return unconditional + sampling.guidance * (conditional - unconditional)

    return integrate(sampling.solver, velocity, noise, sampling.steps, sampling.shift,
                     pin=None if history is None else pin, callback=after_step)


def generate(transformer: SCAIL2Transformer, vae: VAE, inputs: Inputs, texts: Texts, clip_features: Tensor,
             references: dict[str, Tensor], segments: list[Segment], sampling: Sampling, seed: int, offload: bool,
             progress: Progress) -> Iterator[Tensor]:
    """The new frames of each segment in turn, uint8 [n, height, width, 3]; together as many as the driving video has.

    One generator on the CPU draws the noise of all segments in order, so that a result does not depend on the device.
    offload: the transformer waits in main memory while the VAE works. RuntimeError, with step and segment, for a
    latent that is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    overlap_frames = None  # last frames of the segment before, [overlap, 3, height, width]
    for number, segment in enumerate(segments):
        where = f"segment {number + 1} of {len(segments)}"
        progress.stage(f"{where}: encoding")
        driving = encode_driving(vae, inputs, segment)
        conditions = {**references, **driving, "replacement": inputs.identities.replacement}
        history = None if overlap_frames is None else vae.encode(overlap_frames)
        shape = (1, 16, driving["driving_latents"].shape[2], inputs.height // 8, inputs.width // 8)
        noise = torch.randn(shape, generator=generator).to(vae.device)

        progress.stage(f"{where}: sampling")
        transformer.to(vae.device)
        latent = sample_segment(transformer, texts, clip_features, conditions, noise, history, sampling,
                                _step_watch(where, progress))
        if offload:
            transformer.to("cpu")

        progress.stage(f"{where}: decoding")
        frames = vae.decode(latent)[: segment.stop - segment.start]
        if number + 1 < len(segments):
            overlap_frames = frames[-segments[number + 1].overlap :].clone()
        yield (frames[segment.overlap :].movedim(1, -1) * 255).round().to(torch.uint8)


def _step_watch(where: str, progress: Progress) -> Callable[[int, Tensor, Tensor], None]:
    def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
        if not x.isfinite().all():
            raise RuntimeError(f"The latent of {where} is not finite after step {step + 1}: the model file may be "
                               "damaged, or shift or guidance far from the usual.")
        progress.step()

    return after_step
