"""Reference pictures -> what the transformer reads of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..geometry import check_picture_count, check_shape, check_size, size_of
from ..identity.identities import Identities
from ..levels import WHITE, opaque
from . import conditioning

_TOLERANCE = 1e-3  # of a cell's share, for rounding
EACH_ALONE, STILL_VIDEO = "each alone", "still video"
ADDITIONAL_PICTURES = (EACH_ALONE, STILL_VIDEO)


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a reference is encoded from, and the size of the result in pixels. images: [h, w, 3] in 0..1, the primary
    first, with the masks of `identities`; [h, w, 4] with alpha are shown over white. cut_out: paint everything in the
    primary black that is not a person. as_video: all pictures as one video whose frames stand still, the primary 1
    frame long and the others 4, instead of each alone; the model was trained on latents of videos (Wan2GP,
    WanAnimatePlus). full: the one of the full size, if this one is for a draft: both have the same CLIP features."""

    width: int
    height: int
    images: Sequence[Tensor] = field(repr=False)
    identities: Identities = field(repr=False)
    cut_out: bool
    as_video: bool
    full: Pictures | Reference | None = field(default=None, repr=False)

    @property
    def masks(self) -> Tensor:
        """As `Reference.masks`."""
        return reference_masks(self.identities, self.width, self.height)


@dataclass(frozen=True)
class Reference:
    """Encoded reference pictures. latents: [1, 16, 1, h, w] each, the primary first, as the host's VAE gives them.
    masks: [1, n, 28, h, w], the primary last. clip: the host's CLIP features of the primary. pictures: what it was
    encoded from."""

    width: int
    height: int
    latents: list[Tensor]
    masks: Tensor
    clip: Any
    pictures: Pictures


def check_pictures(images: Sequence[Tensor], identities: Identities, width: int, height: int) -> None:
    """Raise ValueError for a size that is not a multiple of 32, and for masks of another number or shape than the
    pictures [h, w, 3]."""
    check_size(width, height)
    check_picture_count(len(images), len(identities.references))
    for index, (image, masks) in enumerate(zip(images, identities.references, strict=True)):
        check_shape(f"mask of reference {index + 1}", masks.size, "picture", size_of(image))


def encode_reference(pictures: Pictures, encode: Callable[[Tensor], Tensor], encode_clip: Callable[[Tensor], Any]
                     ) -> Reference:
    """encode: frames [T, H, W, 3] in 0..1 -> latents. encode_clip: CLIP's input [1, 3, 224, 224] -> its features.
    Raises ValueError as `check_pictures` does."""
    width, height = pictures.width, pictures.height
    check_pictures(pictures.images, pictures.identities, width, height)
    pixels = [_pixels(pictures, index, pictures) for index in range(len(pictures.images))]
    seen = pixels[0] if pictures.full is None else _pixels(pictures, 0, pictures.full)
    clip = encode_clip(conditioning.clip_input(seen))
    if pictures.as_video:
        still = torch.cat([picture.movedim(1, -1).expand(1 if index == 0 else 4, -1, -1, -1)
                           for index, picture in enumerate(pixels)])
        latents = list(encode(still).split(1, dim=2))
    else:  # together they would be encoded as frames of a video
        latents = [encode(picture.movedim(1, -1)) for picture in pixels]
    return Reference(width, height, latents, pictures.masks, clip, pictures)


def _pixels(pictures: Pictures, index: int, size: Pictures | Reference) -> Tensor:
    """One picture at a size, [1, 3, H, W]."""
    return conditioning.reference_pixels(opaque(pictures.images[index], WHITE), pictures.identities, index, size.height,
                                         size.width, cut_out=pictures.cut_out)


def white_background(masks: Tensor) -> bool | None:
    """Whether the background of a primary reference's channels [28, h, w] is white, which means animation; None if
    people cover all of it."""
    colours = masks[:7]  # white first
    if colours[0].any():
        return True
    return False if (colours.sum(0) < 1 - _TOLERANCE).any() else None


def reference_masks(identities: Identities, width: int, height: int) -> Tensor:
    """Mask channels of all references, [1, n, 28, height / 8, width / 8], the primary last."""
    count = len(identities.references)
    ordered = [conditioning.reference_mask(identities, index, height, width) for index in (*range(1, count), 0)]
    return torch.cat(ordered, dim=1).movedim(1, 0)[None]
