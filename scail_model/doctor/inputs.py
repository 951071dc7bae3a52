"""Random but plausible inputs of the network, the same on every machine: for one forward without VAE and encoders.

Latents are smooth and of unit variance, with noise on the video's as in the middle of a sampling; one person stands in
the reference and walks through the driving video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import CLIP_DIM, CLIP_TOKENS, TransformerConfig
from ..masks import BLACK, WHITE, pack_driving_mask, pack_mask, paint
from ..preflight.budget import token_count

SIGMA = 0.7  # noise level of the forward
_SEED = 0
_SCALES = (8, 4, 2, 1)  # latent pixels: of each as much, so that latents are smooth as those of pictures
_PROMPT_TOKENS = 100
_PROMPT_SIZE = 0.1  # root mean square of an embedding


@dataclass(frozen=True)
class Size:
    """Of a video in pixels and frames (4n+1)."""

    width: int
    height: int
    frames: int

    @property
    def latent_frames(self) -> int:
        return (self.frames - 1) // 4 + 1

    @property
    def tokens(self) -> int:
        return token_count(self.width, self.height, self.frames, 0)

    @property
    def video(self) -> slice:
        """Rows of the video in the sequence: after those of the reference."""
        area = self.width * self.height // 256
        return slice(area, area * (1 + self.latent_frames))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames"


@dataclass(frozen=True)
class Inputs:
    """Normalised latents, masks and embeddings, float32 on the CPU, shaped as `SCAIL2Transformer.forward` has them."""

    size: Size
    x: Tensor
    text: Tensor
    clip: Tensor
    reference_latents: Tensor
    reference_masks: Tensor
    driving_latents: Tensor
    driving_masks: Tensor

    def arguments(self, device: torch.device) -> dict[str, Any]:
        """Of the network's forward, on a device."""
        on_device = {name: getattr(self, name).to(device) for name in (
            "x", "reference_latents", "reference_masks", "driving_latents", "driving_masks")}
        return {**on_device, "timestep": torch.tensor([1000 * SIGMA], device=device), "context": self.text.to(device),
                "clip_features": self.clip.to(device), "replacement": False}


def random_inputs(size: Size, config: TransformerConfig) -> Inputs:
    generator = torch.Generator().manual_seed(_SEED)
    frames, height, width = size.latent_frames, size.height // 8, size.width // 8
    clean = _smooth((frames, height, width), generator)
    noise = torch.randn(clean.shape, generator=generator)
    return Inputs(
        size, SIGMA * noise + (1 - SIGMA) * clean,
        _PROMPT_SIZE * torch.randn(1, _PROMPT_TOKENS, config.text_dim, generator=generator),
        torch.randn(1, CLIP_TOKENS, CLIP_DIM, generator=generator),
        _smooth((1, height, width), generator), pack_mask(paint(_person(size, 1, WHITE)))[None],
        _smooth((frames, height // 2, width // 2), generator),
        pack_driving_mask(paint(_person(size, size.frames, BLACK)))[None])


def _smooth(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """[1, 16, *shape] of mean 0 and variance 1 in each channel."""
    total = torch.zeros(1, 16, *shape)
    for scale in _SCALES:
        coarse = [max(1, -(-side // scale)) for side in shape]
        total += F.interpolate(torch.randn(1, 16, *coarse, generator=generator), size=shape, mode="trilinear")
    std, mean = torch.std_mean(total, dim=(2, 3, 4), keepdim=True)
    return (total - mean) / std


def _person(size: Size, frames: int, background: int) -> Tensor:
    """A label map uint8 [frames, height, width]: one upright box, which walks a quarter of the width."""
    labels = torch.full((frames, size.height, size.width), background, dtype=torch.uint8)
    for frame in range(frames):
        left = round(size.width * (0.3 + 0.25 * frame / max(frames, 2)))
        labels[frame, size.height // 5 :, left : left + size.width // 4] = 1
    return labels
