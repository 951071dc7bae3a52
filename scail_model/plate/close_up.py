"""A close-up of a person's face as one more reference picture, from a picture that shows all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from .cropped import masks_through
from .heads import head_boxes
from .resample import resampled
from .window import follow

_MARGIN = 0.35  # around the head, as a share of its box on each side


def own_references(images: Sequence[Tensor], identities: Identities, everybody: Identities
                   ) -> tuple[list[Tensor], Identities]:
    """The first reference picture of a person, and of the others those that do not show other people only. everybody:
    the identities that the person was taken from."""
    def seen(masks: MaskSet) -> bool:
        return any(extent.seen.any() for extent in masks.extents)

    shown = [index for index, (own, masks) in enumerate(zip(identities.references, everybody.references, strict=True))
             if not index or seen(own) or not seen(masks)]
    return [images[index] for index in shown], replace(
        identities, references=tuple(identities.references[index] for index in shown))


def with_close_up(images: Sequence[Tensor], identities: Identities, size: tuple[int, int] | None = None
                  ) -> tuple[list[Tensor], Identities]:
    """Reference pictures [h, w, c] in 0..1 of one person, and a close-up of the head in the first one after them, with
    its mask. size: (height, width) of the close-up, None for that of the first picture.

    Raises ValueError if the first picture does not show the person.
    """
    first, masks = images[0], identities.references[0]
    shape = first.shape[0], first.shape[1]
    heads = head_boxes(masks, 0, shape)
    if not np.any(heads.seen):
        raise ValueError(f"{identities.title(0)} is not in the first reference picture, so there is no face to show "
                         "closely: put the picture of this person first.")
    window = follow(heads, shape, size or shape, _MARGIN)
    picture = resampled(first[None], window.at(0), window.size)[0].clamp(0, 1)
    return [*images, picture], replace(identities, references=(*identities.references, masks_through(masks, window)))
