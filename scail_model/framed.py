"""Reference pictures and their masks brought to the driving person's size and place together (see `framing`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .framing import Placement, box_of, cover, outside_share, place, resample_labels, scaled
from .geometry import cover_crop
from .identities import Identities, people
from .planes import Planes, pack_frames
from .reframe import reframe


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
    everybody, and as `framing.place` and `reframe.reframe` do.
    """
    frame = _first_with_all(identities)
    driving = identities.driving_labels(frame, frame + 1)[0]
    before = _resized(identities.reference_labels(0), images.shape[1:3])
    placement, note = place(before, driving, height, width)
    placement = scaled(placement, scale, before)
    primary, labels = reframe(images[0], before, placement, height, width, fill)
    others = [cover_crop(image[None].movedim(-1, 1), height, width)[0].movedim(0, -1).clamp(0, 1)
              for image in images[1:]]
    masks = [labels, *(_cropped(identities, index, height, width) for index in range(1, len(images)))]
    bound = replace(identities, references=tuple(_planes(mask, identities.labels) for mask in masks))
    report = _report(frame, before, labels, placement, note, outside_share(before, placement, height, width), scale)
    return Framed(torch.stack((primary, *others)), bound, labels, before, frame, report)


def _first_with_all(identities: Identities) -> int:
    seen = np.logical_and.reduce([extent.seen for extent in identities.driving.extents])
    if not seen.any():
        raise ValueError("No driving frame shows all people of the identities at once, but their place is needed: bind "
                         "fewer people for reframing.")
    return int(seen.argmax())


def _resized(labels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(labels[None, None], tuple(size), mode="nearest-exact")[0, 0]


def _cropped(identities: Identities, index: int, height: int, width: int) -> Tensor:
    labels = identities.reference_labels(index)
    return resample_labels(labels, cover(labels.shape, height, width), height, width)


def _planes(labels: Tensor, order: tuple[int, ...]) -> Planes:
    levels = labels.numpy()
    return pack_frames([np.stack([levels == label for label in order])], 1, len(order), *levels.shape)


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
