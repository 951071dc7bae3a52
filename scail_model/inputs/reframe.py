"""Reframing: reference pictures and their masks at the size and place of the driving person.

The picture is scaled and moved by a placement (`placement.py`), and what it does not cover is filled. Unlike
`geometry.cover_crop`, nothing is cropped to the shape of the result. Lengths, canvas and label maps are those of
`placement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import cover_crop, size_of
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet, pack_frames
from ..masks import NAMES, people
from .placement import Placement, box_of, centres, cover, covered, outside_share, place, resample_labels, scaled

BLACK_FILL, EXTEND_FILL = "black", "extend"
FILLS = (BLACK_FILL, EXTEND_FILL)

_WHOLE = 0.5  # share of a person's median area: a frame with at least that much shows the person whole
_RIM = 0.01  # of the canvas: hair and soft edges that a mask leaves to the background
_SOFTEN = 0.6  # width of the blur by distance from the picture
_SWEEPS = 6


@dataclass(frozen=True)
class Reframed:
    """images: [n, H, W, 3] in 0..1. identities: with masks that fit them. labels: label map of the primary [H, W].
    original_labels: the same before reframing [h, w]. frame: the driving frame that gave size and place. report: what
    was done, in words."""

    images: Tensor
    identities: Identities
    labels: Tensor
    original_labels: Tensor
    frame: int
    report: str


def reframe_references(images: Tensor, identities: Identities, height: int, width: int, fill: str,
                       scale: float) -> Reframed:
    """Reframe the primary of [n, h, w, 3] in 0..1, and crop the others to height x width as the encoder would.

    scale: on top of the fitting scale; the person keeps its feet in place. Raises ValueError if no driving frame shows
    all people, if a person disappears, and as `placement.place` and `place_on_canvas` do.
    """
    frame = _first_with_all(identities)
    driving = identities.driving_labels(frame, frame + 1)[0]
    size = images.shape[1], images.shape[2]
    before = _resized(identities.reference_labels(0), size)
    placement, note = place(before, driving, height, width)
    placement = scaled(placement, scale, before)
    primary, labels = place_on_canvas(images[0], before, placement, height, width, fill)
    others = [cover_crop(image[None].movedim(-1, 1), height, width)[0].movedim(0, -1).clamp(0, 1)
              for image in images[1:]]
    masks = [_placed(identities.references[0], placement, size, height, width)]
    masks += [_placed(mask_set, cover(mask_set.size, height, width), mask_set.size, height, width)
              for mask_set in identities.references[1:]]
    reframed = replace(identities, references=tuple(masks))
    _refuse_lost(reframed)
    report = _report(frame, before, labels, placement, note, outside_share(before, placement, height, width), scale)
    return Reframed(torch.stack((primary, *others)), reframed, labels, before, frame, report)


def place_on_canvas(image: Tensor, labels: Tensor, placement: Placement, height: int, width: int,
                    fill: str) -> tuple[Tensor, Tensor]:
    """Put a picture and its label map on a canvas.

    image: float [h, w, 3] in 0..1. labels: uint8 [h, w]. fill: what the picture does not cover, "black" or "extend",
    which continues the colours of the picture's edge, blurred more with distance; people are first replaced by the
    background around them, so that they are not smeared outwards. Returns float32 [height, width, 3] in 0..1 (bicubic
    with antialiasing, clamped) and uint8 [height, width] (nearest; 0 outside people and picture).

    Raises ValueError if the sizes differ, for another fill, and if no background is visible that could be extended.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"The mask is {labels.shape[1]}x{labels.shape[0]} and the picture {image.shape[1]}x"
                         f"{image.shape[0]} pixels, but both must have one size: make the mask from the picture.")
    if fill not in FILLS:
        raise ValueError(f'fill is "{fill}", but it must be {" or ".join(FILLS)}: choose one of them.')
    picture, placed = resample(image, placement, height, width), resample_labels(labels, placement, height, width)
    inside = covered(size_of(labels), placement, height, width)
    if fill == EXTEND_FILL and not inside.all():
        picture = torch.where(inside[..., None], picture, _surroundings(picture, inside, _grown(people(placed))))
    return picture, placed


def resample(image: Tensor, placement: Placement, height: int, width: int) -> Tensor:
    """Picture [h, w, 3] -> float32 [height, width, 3] in 0..1, black outside; exact to fractions of a pixel."""
    rows, columns = (_cubic(places, side, placement.scale)
                     for places, side in zip(centres(placement, height, width), image.shape[:2], strict=True))
    return torch.einsum("yh,hwc,xw->yxc", rows, image[..., :3].float().cpu(), columns).clamp(0, 1)


def _cubic(places: Tensor, side: int, scale: float) -> Tensor:
    """Weights [n, side] of bicubic interpolation at `places` [n], as torch's with antialiasing; 0 outside."""
    distance = ((torch.arange(side) + 0.5 - places[:, None]) * min(scale, 1)).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
    weights = weights * ((places >= 0) & (places < side))[:, None]
    return (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)).float()


def _first_with_all(identities: Identities) -> int:
    """The first frame that shows all people whole, not only a hand at the border."""
    whole = np.minimum.reduce([extent.area / np.median(extent.area[extent.seen])
                               for extent in identities.driving.extents])
    if not whole.any():
        raise ValueError("No driving frame shows all people of the identities at once, but reframing needs their "
                         "places: bind fewer people for reframing.")
    return int((whole >= min(_WHOLE, whole.max())).argmax())


def _resized(labels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]


def _placed(mask_set: MaskSet, placement: Placement, size: tuple[int, int], height: int, width: int) -> MaskSet:
    """Place each person's mask separately, so that hidden parts are kept. size: (height, width) of the picture that
    the placement is for."""
    masks = torch.from_numpy(mask_set.frame(0).astype(np.uint8))
    placed = [resample_labels(_resized(mask, size), placement, height, width).numpy() > 0 for mask in masks]
    return pack_frames([placed], 1, mask_set.people, height, width)


def _refuse_lost(identities: Identities) -> None:
    for label, extent in zip(identities.labels, identities.references[0].extents, strict=True):
        if not extent.seen.any():
            raise ValueError(f"The reframed reference no longer shows {NAMES[label - 1]}: lower scale, or bind fewer "
                             "people.")


def _report(frame: int, before: Tensor, after: Tensor, placement: Placement, note: str, lost: float,
            scale: float) -> str:
    old, new = box_of(people(before)), box_of(people(after))
    old_share, new_share = (0.0 if box is None else box.height / labels.shape[0]
                            for box, labels in ((old, before), (new, after)))
    lines = [f"driving frame {frame}: {note}",
             f"the person had {old_share:.0%} of the picture's height and has {new_share:.0%} of the result's (picture "
             f"scaled by {placement.scale:.2f})"]
    if scale != 1:
        lines.append(f"{scale:g} times the fitting size, as set")
    if lost > 0.01:
        lines.append(f"{lost:.0%} of the person lies outside the result")
    return "\n".join(lines)


def _grown(mask: Tensor) -> Tensor:
    """bool [H, W] with a rim added."""
    reach = max(1, round(_RIM * max(mask.shape)))
    return F.max_pool2d(mask.float()[None], 2 * reach + 1, stride=1, padding=reach)[0] > 0


def _surroundings(picture: Tensor, inside: Tensor, people_near: Tensor) -> Tensor:
    """Fill for the pixels outside `inside`: the nearest colour of the picture's edge, blurred, [H, W, 3]. Masks are
    bool [H, W]."""
    known = inside & ~people_near
    if not known.any():
        raise ValueError('The reference shows no background, but fill is "extend", which needs some: use "black", or '
                         "check the mask.")
    background = _membrane(picture.movedim(-1, 0)[None], known[None, None].float())  # [1, 3, H, W]
    (y, edge_y), (x, edge_x) = (_to_edge(inside.any(dim=axis)) for axis in (1, 0))
    result = edges = background[..., edge_y[:, None], edge_x]
    distance = torch.hypot((y - edge_y).float()[:, None], (x - edge_x).float())
    depth = (_SOFTEN * distance).clamp(min=1).log2()
    for level in range(math.ceil(depth.max().item())):  # each level is blurred twice as wide as the one before
        small = F.interpolate(edges, [-(-side // 2**level) for side in inside.shape], mode="area")
        for _ in range(3):
            small = _blurred(small)
        blurred = F.interpolate(small, size_of(inside), mode="bilinear")
        result = torch.lerp(result, blurred, (depth - level).clamp(0, 1))
    return result[0].movedim(0, -1)


def _to_edge(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Indices 0, 1, ... [n], and for each the nearest index where `inside` [n] is true (one contiguous piece)."""
    first, last = inside.nonzero()[[0, -1], 0]
    places = torch.arange(len(inside))
    return places, places.clamp(first, last)


def _membrane(picture: Tensor, known: Tensor) -> Tensor:
    """Pictures [1, 3, H, W] with smooth colours where known [1, 1, H, W] is 0: every pixel the mean of its neighbours.

    Solved at half the size first, which leaves little to do.
    """
    size = picture.shape[2], picture.shape[3]
    if max(size) == 1:
        return picture
    half = [-(-side // 2) for side in size]
    share = F.interpolate(known, half, mode="area")
    small = F.interpolate(picture * known, half, mode="area") / share.clamp(min=1e-6)
    result = F.interpolate(_membrane(small, (share > 0).float()), size, mode="bilinear")
    for _ in range(_SWEEPS):
        result = torch.lerp(_blurred(result), picture, known)
    return result


def _blurred(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 3, stride=1, padding=1, count_include_pad=False)
