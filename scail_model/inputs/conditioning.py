"""Pictures, videos and label maps -> inputs of the VAE, CLIP and the transformer, at one size.

The order of the steps is that of the official pipeline (`wan/scail.py`): cover and crop, then halve (driving only),
then encode or pack. Pixels are 0..1, because ComfyUI's VAE takes them so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..geometry import clip_pixels, cover_crop, cover_crop_masks, half_size
from ..identity.identities import Identities
from ..identity.mask_bits import pack_components
from ..identity.packed_mask import packed, unpacked
from ..masks import halved, pack_mask, people
from ..media.clips import Tick


def reference_pixels(image: Tensor, identities: Identities, index: int, height: int, width: int, *,
                     cut_out: bool) -> Tensor:
    """One reference picture [h, w, 3] in 0..1 -> [1, 3, height, width] in 0..1 (bicubic overshoot kept).

    cut_out: paint everything outside the reference's mask black; applies to the primary only.
    """
    pixels = cover_crop(image[None, ..., :3].movedim(-1, 1).float(), height, width)
    if cut_out and index == 0:
        person = people(identities.reference_labels(0)).float().expand(1, 3, -1, -1)
        pixels = pixels * (cover_crop(person, height, width) > 0.5)
    return pixels


def reference_mask(identities: Identities, index: int, height: int, width: int) -> Tensor:
    """Mask channels of one reference, float32 [28, 1, height/8, width/8]."""
    return pack_mask(cover_crop(identities.reference_colours(index).float() / 255, height, width))


def clip_input(pixels: Tensor) -> Tensor:
    """Reference pixels [1, 3, H, W] in 0..1 -> CLIP's input [1, 3, 224, 224]."""
    return clip_pixels(pixels * 2 - 1)


def driving_pixels(frames: Tensor, height: int, width: int) -> Tensor:
    """Driving frames uint8 [T, h, w, 3] -> half-size float32 [T, 3, height/2, width/2] in 0..1."""
    return half_size(cover_crop(frames.movedim(-1, 1), height, width)) / 255


def driving_mask(identities: Identities, start: int, stop: int, height: int, width: int, end: int | None = None,
                 tick: Tick = lambda: None) -> Tensor:
    """Mask channels of driving frames start..stop, float32 [28, T', height/16, width/16]; from `end` (default: the end
    of the masks) on, the last frame is repeated. Height and width are multiples of 32. tick is called for every frame.

    Equals `pack_driving_mask` of the cropped colours.
    """
    if identities.driving.size == (height, width):
        return identities.driving_channels(start, stop, end)

    def resized() -> Iterator[list[np.ndarray]]:
        for colours in identities.driving_components(start, stop, end):
            tick()
            yield _half_size(colours, identities.driving.width, height, width)

    return pack_components(resized())


def _half_size(colours: Sequence[np.ndarray], masks_width: int, height: int, width: int) -> list[np.ndarray]:
    """Components of one frame at the masks' size -> at half of height x width, both as bits, uint8 [h, w / 8].

    Equal components are resized once, constant ones not at all: with one person on black, one of three is resized.
    """
    resized: dict[bytes, np.ndarray] = {}
    for component in colours:
        bits = component.tobytes()
        if bits not in resized:
            resized[bits] = half_size_component(unpacked(component, masks_width), height, width)
    return [resized[component.tobytes()] for component in colours]


def half_size_component(component: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where one colour component is on, bool [H, W] -> where the model sees it on, bits, uint8 [height / 2,
    width / 16]."""
    if component.all() or not component.any():
        return np.full((height // 2, width // 16), 255 if component.any() else 0, np.uint8)
    levels = torch.from_numpy(component).view(torch.uint8).mul(255)
    return packed(halved(cover_crop_masks(levels[None], height, width))[0].numpy())


def person_shares(identities: Identities, start: int, stop: int, height: int, width: int) -> Tensor:
    """Share of each pixel of the result that people cover in driving frames start..stop, [T, height, width] in 0..1."""
    shares = (cover_crop_masks(torch.from_numpy(person).float()[None], height, width)[0]
              for person in identities.driving_people(start, stop))
    return torch.stack(list(shares)).clamp_(0, 1)
