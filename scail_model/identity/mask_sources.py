"""Masks as they come in, whatever made them -> planes: colour pictures, plain masks, SAM3 tracks.

Colours say who is who and are kept; plain masks and tracks have only an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..levels import to_levels
from ..masks import BLACK, NAMES, PALETTE, WHITE
from .mask_set import Planes, pack_frames
from .packed_mask import EMPTY, PackedMask, Plane, append, append_packed, pack, packed, unpacked

DRIVING, REFERENCE = "driving", "reference"

# a pixel with a component between these levels is no clear colour; lossy files have some at every edge
_DARK, _BRIGHT = 64, 191
# and one between these is not what the model's threshold expects: it is snapped, and counted
_PURE_DARK, _PURE_BRIGHT = 30, 226
# Blurred edges are a few pixels wide; a patch of unclear pixels of this size is a colour of its own.
_PATCH = 7
_PATCH_LIMIT = 0.001  # share of a frame
_UNCLEAR_LIMIT = 0.15
# Where two people touch, compressed colour planes mix into a third: a seam that is thin, and small beside the people.
_SEAM_SHARE = 0.02
_SEAM_WIDTH = 5

_COLOURS = np.array(((0, 0, 0), *PALETTE, (255, 255, 255)), np.uint8)  # [8, 3], by label
# What a level means in red, green and blue, to be combined by "or": 1, 2 and 4 where it is on; and of all three alike
_UNCLEAR, _IMPURE = 8, 16
_MEANINGS = np.zeros((3, 256), np.uint8)
_MEANINGS[:, _DARK + 1 : _BRIGHT] |= _UNCLEAR
_MEANINGS[:, _PURE_DARK + 1 : _PURE_BRIGHT] |= _IMPURE
_MEANINGS[:, 128:] |= np.array([[1], [2], [4]], np.uint8)
_LABELS = np.zeros(32, np.uint8)  # such a combination -> label
for _label, _colour in enumerate(_COLOURS > 127):
    _LABELS[_colour @ (1, 2, 4) :: 8] = _label
_FLAGS = np.arange(32)
_THREADS = 8  # frames that are looked at side by side


@dataclass(frozen=True)
class Source:
    """One side's masks. labels: the palette's 1..6 of each plane if colours told them. background: BLACK or WHITE if
    the first frame of a colour mask has one. snapped: share of pixels that were no pure colour. names and front: what
    is known of the people already, by plane; an empty name is none."""

    name: str
    planes: Planes
    labels: tuple[int, ...] | None = None
    background: int | None = None
    snapped: float = 0.0
    names: tuple[str, ...] = ()
    front: tuple[int, ...] = ()


def from_colours(frames: Iterable[Tensor], count: int, name: str) -> Source:
    """Colour masks [H, W, 3 or more], uint8 or float in 0..1, `count` of them; each pixel becomes its nearest colour.

    The soft edges of a compressed or resized mask are snapped, and seams of a third colour between two people go to
    what is nearest. Raises ValueError if there is no frame, and if one has patches of another colour or is unclear all
    over; `name` is what the message calls the mask.
    """
    if not count:
        raise ValueError(f"The {name} mask has no frames: check where it was loaded or cut.")
    found: dict[int, list[PackedMask]] = {}
    snapped = pixels = 0
    seen = np.zeros(8, np.int64)
    for index, looked in enumerate(_side_by_side(partial(_look, name=name), frames)):
        for label, mask in looked.masks.items():
            append_packed(found.setdefault(label, [EMPTY] * index), mask)
        for masks in found.values():
            masks.extend([EMPTY] * (index + 1 - len(masks)))
        snapped += looked.snapped
        pixels += looked.size[0] * looked.size[1]
        seen += looked.counts if name == DRIVING or index == 0 else 0  # of references only the primary's background
    background = None if not seen[WHITE] + seen[BLACK] else WHITE if seen[WHITE] > seen[BLACK] else BLACK
    size = looked.size
    planes = Planes(tuple(Plane(tuple(masks), *size) for _, masks in sorted(found.items())), count, *size)
    return Source(name, planes, tuple(sorted(found)), background, snapped / pixels)


def from_masks(masks: Sequence[Tensor], name: str) -> Source:
    """One person's masks [T, H, W] each, float in 0..1.

    Raises ValueError for more than six, and if they differ in size or number of frames.
    """
    count, height, width = masks[0].shape
    for number, mask in enumerate(masks, 1):
        if mask.shape != masks[0].shape:
            raise ValueError(f"Person {number} of the {name} mask has {_form(mask)}, but person 1 has "
                             f"{_form(masks[0])}: make all of them from the same pictures.")
    frames = ([(mask[index] > 0.5).cpu().numpy() for mask in masks] for index in range(count))
    return Source(name, pack_frames(frames, count, len(masks), height, width))


def from_tracks(track: dict[str, Any], name: str) -> Source:
    """SAM3's tracks as ComfyUI has them: packed_masks uint8 [T, n, h, w/8], enlarged to orig_size as core does.

    Objects that are never seen are left out. Raises ValueError if there is nobody.
    """
    bits = track["packed_masks"]
    planes = [] if bits is None else _tracked(bits, *map(int, track["orig_size"]))
    shown = tuple(plane for plane in planes if plane.extent.seen.any())
    if not shown:
        raise ValueError(f"The SAM3 track of the {name} mask found nobody: lower its threshold, change the prompt, or "
                         "give it a first mask.")
    return Source(name, Planes(shown, len(bits), shown[0].height, shown[0].width))


def pictures(source: Source) -> list[Source]:
    """Masks of several reference pictures, the primary first, as one source for each."""
    return [replace(source, planes=replace(source.planes, frames=1, bits=tuple(
        plane[index : index + 1] for plane in source.planes.bits))) for index in range(len(source.planes))]


def _tracked(bits: Tensor, height: int, width: int) -> list[Plane]:
    """uint8 [T, n, h, w/8] -> n planes of height x width, frame by frame, because a copy of all is large."""
    small = bits.shape[2], 8 * bits.shape[3]
    rows, columns = _nearest(small[0], height), _nearest(small[1], width)
    made: list[list[PackedMask]] = [[] for _ in range(bits.shape[1])]
    for frame in bits:
        for masks, mask in zip(made, frame.cpu().numpy(), strict=True):
            if small != (height, width):
                mask = packed(unpacked(mask, small[1])[rows][:, columns])
            append(masks, mask)
    return [Plane(tuple(masks), height, width) for masks in made]


def _levels(frame: Tensor) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return to_levels(frame[..., :3]).cpu().numpy()


@dataclass(frozen=True)
class _Looked:
    """One frame of a colour mask. masks by label; counts: pixels of each label; snapped: pixels."""

    size: tuple[int, int]
    masks: dict[int, PackedMask]
    counts: np.ndarray
    snapped: int


def _side_by_side(look: Callable[[int, np.ndarray], _Looked], frames: Iterable[Tensor]) -> Iterator[_Looked]:
    """`look` of every frame's number and levels, a few at once: numpy lets go of Python, and torch has threads of its
    own."""
    numbered = enumerate(map(_levels, frames))
    with ThreadPoolExecutor(_THREADS) as threads:
        while stretch := list(islice(numbered, _THREADS)):
            yield from threads.map(look, *zip(*stretch, strict=True))


def _look(index: int, levels: np.ndarray, name: str) -> _Looked:
    labels, counts, impure = _snap(levels, index, name)
    labels, counts, mended = _without_seams(labels, counts)
    masks = {int(label): pack(packed(labels == label)) for label in np.flatnonzero(counts[1:WHITE]) + 1}
    return _Looked(labels.shape, masks, counts, impure + mended)


def _snap(levels: np.ndarray, index: int, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """uint8 [H, W, 3] -> label map uint8 [H, W]; how many pixels each label has, and how many were no pure colour."""
    meaning = _MEANINGS[0].take(levels[..., 0])
    for component in (1, 2):
        meaning |= _MEANINGS[component].take(levels[..., component])
    found = np.bincount(meaning.ravel(), minlength=32)
    share = found[_FLAGS & _UNCLEAR > 0].sum() / meaning.size
    if share > _UNCLEAR_LIMIT or share > _PATCH_LIMIT and _patches(meaning & _UNCLEAR > 0) > _PATCH_LIMIT:
        raise ValueError(f"Of frame {index} of the {name} mask {share:.1%} of the pixels are no mask colour: use pure "
                         f"black, white, {', '.join(NAMES)}, saved without heavy compression.")
    counts = np.array([found[label == _LABELS].sum() for label in range(8)])
    return _LABELS.take(meaning), counts, int(found[_FLAGS & _IMPURE > 0].sum())


def _without_seams(labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Label map without the seams between people; how many pixels each label has, and how many were given away."""
    people = counts[1:WHITE].sum()
    small = [label for label in range(1, WHITE) if 0 < counts[label] < _SEAM_SHARE * (people - counts[label])]
    seams = np.zeros(labels.shape, bool)
    for label in small:
        mask = labels == label
        rows, columns = (slice(places.min(), places.max() + 1) for places in np.nonzero(mask))
        if not ndimage.binary_erosion(mask[rows, columns], np.ones((_SEAM_WIDTH, _SEAM_WIDTH))).any():
            seams |= mask
    if not seams.any():
        return labels, counts, 0
    nearest = ndimage.distance_transform_edt(seams, return_distances=False, return_indices=True)
    labels = labels[tuple(nearest)]
    return labels, np.bincount(labels.ravel(), minlength=8), int(seams.sum())


def _patches(unclear: np.ndarray) -> float:
    """Share of pixels around which a whole patch is unclear (an erosion)."""
    inverse = -torch.from_numpy(unclear)[None].float()
    return float((-F.max_pool2d(inverse, _PATCH, stride=1, padding=_PATCH // 2)).mean())


def _nearest(size: int, to: int) -> np.ndarray:
    """Which of `size` places each of `to` places shows, as torch's nearest interpolation has it."""
    places = F.interpolate(torch.arange(size, dtype=torch.float32)[None, None], to, mode="nearest")
    return places[0, 0].long().numpy()


def _form(mask: Tensor) -> str:
    return f"{mask.shape[0]} frames of {mask.shape[2]}x{mask.shape[1]}"
