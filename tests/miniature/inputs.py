"""Drawn scenes -> what the transformer reads, through the pack's own masks and half-size functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from vae import VideoVAE
from world import Pictures

from scail_model.geometry import half_size
from scail_model.masks import pack_driving_mask, pack_mask


def encode(vae: VideoVAE, pictures: Pictures, additional: bool = False, dtype: torch.dtype = torch.float32
           ) -> dict[str, Tensor]:
    """The conditions of a batch under the transformer's names, and what training needs besides:
    `truth` [n, 16, T, H/8, W/8], and `people` [n, 1, T, H/8, W/8], the part of each cell that a person covers.
    The VAE computes in `dtype`."""
    inputs = {
        "truth": vae.encode(pictures.truth.to(dtype)),
        "people": _cells(pictures.coverage.amax(2)),
        "reference_latents": vae.encode(pictures.reference.to(dtype)),
        "reference_masks": _packed(pack_mask, pictures.reference_mask),
        "driving_latents": vae.encode(halved(pictures.driving).to(dtype)),
        "driving_masks": _packed(pack_driving_mask, pictures.driving_mask),
    }
    if additional:
        inputs["additional_latents"] = vae.encode(pictures.additional.to(dtype))
        inputs["additional_masks"] = _packed(pack_mask, pictures.additional_mask)
    return inputs


def halved(video: Tensor) -> Tensor:
    """[n, T, 3, H, W] -> [n, T, 3, H/2, W/2]."""
    return half_size(video.flatten(0, 1)).unflatten(0, video.shape[:2])


def _packed(pack, masks: Tensor) -> Tensor:
    """Colour masks [n, T, 3, H, W] -> [n, 28, T', h, w]; the clips lie below one another, so that they pack at once.
    Exact, because no cell and no 2x2 block crosses from one to the next."""
    count, frames, _, height, width = masks.shape
    tall = masks.permute(1, 2, 0, 3, 4).reshape(frames, 3, count * height, width)
    packed = pack(tall)  # [28, T', n * h, w]
    return packed.unflatten(2, (count, -1)).movedim(2, 0)


def _cells(coverage: Tensor) -> Tensor:
    """[n, T, H, W] -> [n, 1, T', H/8, W/8], the largest of the four frames."""
    cells = F.avg_pool2d(coverage, 8)
    later = cells[:, 1:].unflatten(1, (-1, 4)).amax(2) if cells.shape[1] > 1 else cells[:, 1:]
    return torch.cat((cells[:, :1], later), 1)[:, None]
