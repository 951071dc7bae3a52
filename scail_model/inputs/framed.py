"""Reference pictures and their masks brought to the driving person's size and place together (see `framing`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import cover_crop
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, pack_frames
from ..masks import NAMES, people
from .placement import Placement, box_of, cover, outside_share, place, resample_labels, scaled
from .reframe import reframe

_WHOLE = 0.5  # of the area that a person usually has


@dataclass(frozen=True)
class Framed:
    """images [n, H, W, 3] in 0..1 and the identities that fit them; the primary's label map `labels` [H, W] and the one
    it had, `before` [h, w]; the driving frame that gave size and place; what was done, in words."""

    images: Tensor
    identities: Identities
    labels: Tensor
    before: Tensor
    frame: int
    report: str


def reframed(images: Tensor, identities: Identities, height: int, width: int, fill: str, scale: float) -> Framed:
    """Reframe the primary of [n, h, w, 3] in 0..1, and crop the others to height x width as the encoder would.

    scale: on top of the fitting one, on the spot where the person stands. Raises ValueError if no driving frame shows
    everybody, if nothing is left of somebody, and as `framing.place` and `reframe.reframe` do.
    """
    frame = _first_with_all(identities)
    driving = identities.driving_labels(frame, frame + 1)[0]
    before = _resized(identities.reference_labels(0), images.shape[1:3])
    placement, note = place(before, driving, height, width)
    placement = scaled(placement, scale, before)
    primary, labels = reframe(images[0], before, placement, height, width, fill)
    others = [cover_crop(image[None].movedim(-1, 1), height, width)[0].movedim(0, -1).clamp(0, 1)
              for image in images[1:]]
    places = [placement, *(cover(mask_set.size, height, width) for mask_set in identities.references[1:])]
    bound = replace(identities, references=tuple(
        _placed(mask_set, place, images.shape[1:3] if index == 0 else mask_set.size, height, width)
        for index, (mask_set, place) in enumerate(zip(identities.references, places, strict=True))))
    _refuse_lost(bound)
    report = _report(frame, before, labels, placement, note, outside_share(before, placement, height, width), scale)
    return Framed(torch.stack((primary, *others)), bound, labels, before, frame, report)


def _first_with_all(identities: Identities) -> int:
    """The first frame that shows everybody, and not only a hand that comes into the picture."""
    whole = np.minimum.reduce([extent.area / np.median(extent.area[extent.seen])
                               for extent in identities.driving.extents])
    if not whole.any():
        raise ValueError("No driving frame shows all people of the identities at once, but their place is needed: bind "
                         "fewer people for reframing.")
    return int((whole >= min(_WHOLE, whole.max())).argmax())


def _resized(labels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(labels[None, None], tuple(size), mode="nearest-exact")[0, 0]


def _placed(mask_set: MaskSet, placement: Placement, size: tuple[int, int], height: int, width: int) -> MaskSet:
    """Every person's mask by itself, so that one who stands behind another keeps what is hidden. size: (height, width)
    of the picture that the placement is for."""
    masks = torch.from_numpy(mask_set.frame(0).astype(np.uint8))
    placed = [resample_labels(_resized(mask, size), placement, height, width).numpy() > 0 for mask in masks]
    return pack_frames([placed], 1, mask_set.people, height, width)


def _refuse_lost(identities: Identities) -> None:
    for label, extent in zip(identities.labels, identities.references[0].extents, strict=True):
        if not extent.seen.any():
            raise ValueError(f"Nothing is left of {NAMES[label - 1]} in the reframed reference: lower scale, or bind "
                             "fewer people.")


def _report(frame: int, before: Tensor, after: Tensor, placement: Placement, note: str, lost: float,
            scale: float) -> str:
    old, new = box_of(people(before)), box_of(people(after))
    lines = [f"driving frame {frame}: {note}",
             f"the person was {old.height / before.shape[0]:.0%} of the picture's height and is "
             f"{0 if new is None else new.height / after.shape[0]:.0%} of the result's (picture scaled by "
             f"{placement.scale:.2f})"]
    if scale != 1:
        lines.append(f"{scale:g} times the fitting size, as asked for")
    if lost > 0.01:
        lines.append(f"{lost:.0%} of the person lies outside the result")
    return "\n".join(lines)
