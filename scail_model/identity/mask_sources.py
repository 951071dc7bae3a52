"""Mask sources: colour pictures, plain masks and SAM3 tracks -> a mask set.

Colours identify people and are kept; plain masks and tracks only have an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from .mask_set import MaskSet, pack_frames
from .packed_mask import EMPTY, MaskTrack, PackedMask, append, append_packed, pack, packed, unpacked

DRIVING, REFERENCE = "driving", "reference"

# A pixel with a component between these levels is unclear; lossy files have some along every edge.
_DARK, _BRIGHT = 64, 191
# One between these levels would not survive the model's threshold: it is snapped, and counted.
_PURE_DARK, _PURE_BRIGHT = 30, 226
# Blurred edges are a few pixels wide; a patch of unclear pixels of this size is a colour of its own.
_PATCH = 7
_PATCH_LIMIT = 0.001  # share of a frame
_UNCLEAR_LIMIT = 0.15
# Where two people touch, subsampled chroma mixes into a third colour: a seam that is thin and small.
_SEAM_SHARE = 0.02
_SEAM_WIDTH = 5

_COLOURS = np.array(((0, 0, 0), *PALETTE, (255, 255, 255)), np.uint8)  # [8, 3], by label
# Flags for a level of red, green or blue, combined with "or": 1, 2 and 4 where the component is on, and these two.
_UNCLEAR, _IMPURE = 8, 16
_FLAGS_BY_LEVEL = np.zeros((3, 256), np.uint8)
_FLAGS_BY_LEVEL[:, _DARK + 1 : _BRIGHT] |= _UNCLEAR
_FLAGS_BY_LEVEL[:, _PURE_DARK + 1 : _PURE_BRIGHT] |= _IMPURE
_FLAGS_BY_LEVEL[:, 128:] |= np.array([[1], [2], [4]], np.uint8)
_LABELS = np.zeros(32, np.uint8)  # combined flags -> label
for _label, _colour in enumerate(_COLOURS > 127):
    _LABELS[_colour @ (1, 2, 4) :: 8] = _label
_FLAGS = np.arange(32)
_THREADS = 8  # frames in work at a time


@dataclass(frozen=True)
class Source:
    """One side's masks. name: DRIVING or REFERENCE. labels: palette index of each person, 1..6, if the mask has
    colours. background: BLACK or WHITE, if the mask has one. snapped: share of the pixels that were not a pure colour.
    names, front: what is already known about the people, for example from a tracks file; "" is an unknown name.
    rendered: whether they are masks of rendered poses."""

    name: str
    mask_set: MaskSet
    labels: tuple[int, ...] | None = None
    background: int | None = None
    snapped: float = 0.0
    names: tuple[str, ...] = ()
    front: tuple[int, ...] = ()
    rendered: bool = False


def from_colours(frames: Iterable[Tensor], count: int, name: str) -> Source:
    """Read `count` colour masks [H, W, 3 or more], uint8 or float in 0..1; each pixel becomes its nearest colour.

    Soft edges of a compressed or resized mask are snapped; seams of a third colour between two people go to the nearer
    one. name: DRIVING or REFERENCE, for messages. Raises ValueError without frames, and for a frame with patches of
    another colour or too many unclear pixels.
    """
    if not count:
        raise ValueError(f"The {name} mask has no frames: check where it was loaded or cut.")
    by_label: dict[int, list[PackedMask]] = {}
    snapped = pixels = 0
    counts = np.zeros(8, np.int64)
    size = (0, 0)
    for index, frame in enumerate(_in_threads(partial(_read_frame, name=name), frames)):
        for label, mask in frame.masks.items():
            append_packed(by_label.setdefault(label, [EMPTY] * index), mask)
        for masks in by_label.values():
            masks.extend([EMPTY] * (index + 1 - len(masks)))
        size = frame.size
        snapped += frame.snapped
        pixels += size[0] * size[1]
        counts += frame.counts if name == DRIVING or index == 0 else 0  # among references the primary decides
    background = None if not counts[WHITE] + counts[BLACK] else WHITE if counts[WHITE] > counts[BLACK] else BLACK
    mask_set = MaskSet(tuple(MaskTrack(tuple(masks), *size) for _, masks in sorted(by_label.items())), count, *size)
    return Source(name, mask_set, tuple(sorted(by_label)), background, snapped / pixels)


def from_masks(masks: Sequence[Tensor], name: str) -> Source:
    """Read plain masks [T, H, W], float in 0..1, one per person.

    Raises ValueError if they differ in size or number of frames.
    """
    count, height, width = masks[0].shape
    for number, mask in enumerate(masks, 1):
        if mask.shape != masks[0].shape:
            raise ValueError(f"Person {number} of the {name} mask has {_form(mask)}, but person 1 has "
                             f"{_form(masks[0])}: make all masks from the same pictures.")
    frames = ([(mask[index] > 0.5).cpu().numpy() for mask in masks] for index in range(count))
    return Source(name, pack_frames(frames, count, len(masks), height, width))


def from_white(frames: Iterable[Tensor], name: str) -> Source:
    """Read masks of one person in white on black, [H, W, 3 or more], uint8 or float in 0..1; there is at least one."""
    masks: list[PackedMask] = []
    size = (0, 0)
    for frame in frames:
        white = _levels(frame).min(-1) > 127
        append(masks, packed(white))
        size = (white.shape[0], white.shape[1])
    return Source(name, MaskSet((MaskTrack(tuple(masks), *size),), len(masks), *size))


def is_colour_mask(picture: Tensor) -> bool:
    """Whether a picture [H, W, 3] shows people in the colours of masks, and nothing else."""
    try:
        _, counts, _ = _snap(_levels(picture), 0, "")
    except ValueError:
        return False
    return bool(counts[1:WHITE].any())


def whole_pictures(count: int, size: tuple[int, int], name: str) -> Source:
    """A source of one person who is all of `count` pictures of a size (height, width)."""
    height, width = size
    mask = pack(packed(np.ones((height, width), bool)))
    return Source(name, MaskSet((MaskTrack((mask,) * count, height, width),), count, height, width))


def from_tracks(track: Mapping[str, Any], name: str) -> Source:
    """Read ComfyUI's SAM3 tracks: packed_masks uint8 [T, n, h, w/8], enlarged to orig_size as core does.

    Objects that are never seen are left out. Raises ValueError if none remains.
    """
    bits = track["packed_masks"]
    tracks = [] if bits is None else _tracks(bits, *map(int, track["orig_size"]))
    shown = tuple(track for track in tracks if track.extent.seen.any())
    if bits is None or not shown:
        raise ValueError(f"The SAM3 track of the {name} mask contains no person: lower its threshold, change the "
                         "prompt, or give it a first mask.")
    return Source(name, MaskSet(shown, len(bits), shown[0].height, shown[0].width))


def pictures(source: Source) -> list[Source]:
    """Split the masks of several reference pictures, the primary first, into one source per picture."""
    return [replace(source, mask_set=replace(source.mask_set, frames=1, tracks=tuple(
        track[index : index + 1] for track in source.mask_set.tracks))) for index in range(len(source.mask_set))]


def _tracks(bits: Tensor, height: int, width: int) -> list[MaskTrack]:
    """uint8 [T, n, h, w/8] -> n tracks of height x width; frame by frame, to avoid a second copy of the whole."""
    small = bits.shape[2], 8 * bits.shape[3]
    rows, columns = _nearest(small[0], height), _nearest(small[1], width)
    made: list[list[PackedMask]] = [[] for _ in range(bits.shape[1])]
    for frame in bits:
        for masks, mask in zip(made, frame.cpu().numpy(), strict=True):
            if small != (height, width):
                mask = packed(unpacked(mask, small[1])[rows][:, columns])
            append(masks, mask)
    return [MaskTrack(tuple(masks), height, width) for masks in made]


def _levels(frame: Tensor) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return to_levels(frame[..., :3]).cpu().numpy()


@dataclass(frozen=True)
class _Frame:
    """One frame of a colour mask. masks: by label. counts: pixels per label [8]. snapped: number of pixels."""

    size: tuple[int, int]
    masks: dict[int, PackedMask]
    counts: np.ndarray
    snapped: int


def _in_threads(read: Callable[[int, np.ndarray], _Frame], frames: Iterable[Tensor]) -> Iterator[_Frame]:
    """`read` every frame's number and levels, a few in parallel: numpy releases Python's lock while it computes."""
    numbered = enumerate(map(_levels, frames))
    with ThreadPoolExecutor(_THREADS) as threads:
        while stretch := list(islice(numbered, _THREADS)):
            yield from threads.map(read, *zip(*stretch, strict=True))


def _read_frame(index: int, levels: np.ndarray, name: str) -> _Frame:
    labels, counts, impure = _snap(levels, index, name)
    labels, counts, moved = _without_seams(labels, counts)
    masks = {int(label): pack(packed(labels == label)) for label in np.flatnonzero(counts[1:WHITE]) + 1}
    height, width = labels.shape
    return _Frame((height, width), masks, counts, impure + moved)


def _snap(levels: np.ndarray, index: int, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """uint8 [H, W, 3] -> label map uint8 [H, W], pixels per label [8], number of pixels that were not a pure colour."""
    flags = _FLAGS_BY_LEVEL[0].take(levels[..., 0])
    for component in (1, 2):
        flags |= _FLAGS_BY_LEVEL[component].take(levels[..., component])
    histogram = np.bincount(flags.ravel(), minlength=32)
    share = histogram[_FLAGS & _UNCLEAR > 0].sum() / flags.size
    if share > _UNCLEAR_LIMIT or share > _PATCH_LIMIT and _patches(flags & _UNCLEAR > 0) > _PATCH_LIMIT:
        whole = ""
        if name == DRIVING or REFERENCE in name:
            whole = "; or, if there is no mask and this is the picture itself, set whole_picture"
        raise ValueError(f"Frame {index} of the {name} mask contains other colours ({share:.1%} of the pixels): use "
                         f"pure black, white, {', '.join(NAMES)}, and save it without heavy compression{whole}.")
    counts = np.array([histogram[label == _LABELS].sum() for label in range(8)])
    return _LABELS.take(flags), counts, int(histogram[_FLAGS & _IMPURE > 0].sum())


def _without_seams(labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Remove seams between people: label map, pixels per label [8], number of pixels that changed."""
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
    rows, columns = np.asarray(ndimage.distance_transform_edt(seams, return_distances=False, return_indices=True))
    labels = labels[rows, columns]
    return labels, np.bincount(labels.ravel(), minlength=8), int(seams.sum())


def _patches(unclear: np.ndarray) -> float:
    """Share of the pixels whose whole neighbourhood is unclear (an erosion)."""
    inverse = -torch.from_numpy(unclear)[None].float()
    return float((-F.max_pool2d(inverse, _PATCH, stride=1, padding=_PATCH // 2)).mean())


def _nearest(size: int, to: int) -> np.ndarray:
    """Source index of each of `to` places, as torch's nearest interpolation picks it from `size`."""
    places = F.interpolate(torch.arange(size, dtype=torch.float32)[None, None], to, mode="nearest")
    return places[0, 0].long().numpy()


def _form(mask: Tensor) -> str:
    return f"{mask.shape[0]} frames of {mask.shape[2]}x{mask.shape[1]}"
