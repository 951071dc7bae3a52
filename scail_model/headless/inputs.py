"""Pictures, videos and masks of one job: read, checked against each other, brought to the size of the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..geometry import check_shape, check_size, cover_crop
from ..identity.binding import bind, refuse_other_mode
from ..identity.identities import ANIMATION, REPLACEMENT, Identities
from ..identity.mask_sources import DRIVING, Source, from_colours
from .video import frame_rate, read_frames, read_image


@dataclass(frozen=True)
class Files:
    """The files of one job; the primary reference first, masks in the same order."""

    references: list[Path]
    reference_masks: list[Path]
    driving: Path
    driving_mask: Path


@dataclass(frozen=True)
class Inputs:
    """What the pipeline reads. references float [h, w, 3] in 0..1; driving uint8 [T, height, width, 3]."""

    references: list[Tensor]
    driving: Tensor
    identities: Identities
    fps: Fraction
    width: int
    height: int
    swapped: bool  # width and height were swapped for the reference's orientation


def read_inputs(files: Files, width: int, height: int, replacement: bool) -> Inputs:
    """Read everything. Raises ValueError or RuntimeError, in one sentence, for the first thing that is wrong.

    width, height: pixels of the result as asked for; swapped if the primary reference has the other orientation.
    """
    check_size(width, height)
    _check_files(files)
    mode = REPLACEMENT if replacement else ANIMATION
    references = [read_image(path, _reference_name(index)) for index, path in enumerate(files.references)]
    swapped = _other_orientation(references[0], width, height)
    if swapped:
        width, height = height, width
    masks = [_reference_mask(path, index, references[index]) for index, path in enumerate(files.reference_masks)]
    refuse_other_mode(mode, masks[0])

    driving, shape = _cropped(read_frames(files.driving, "driving video"), height, width)
    mask = from_colours(_as_many(read_frames(files.driving_mask, "driving mask"), len(driving)), len(driving), DRIVING)
    check_shape("driving mask", mask.mask_set.size, "driving video", shape)
    return Inputs([image / 255 for image in references], driving, bind(mode, mask, masks, repaint=False),
                  frame_rate(files.driving, "driving video"), width, height, swapped)


def _check_files(files: Files) -> None:
    if len(files.references) != len(files.reference_masks):
        raise ValueError(f"There are {len(files.references) - 1} additional references and "
                         f"{len(files.reference_masks) - 1} masks for them: give one mask for each.")
    named = {**{_reference_name(i): path for i, path in enumerate(files.references)},
             **{f"mask of the {_reference_name(i)}": path for i, path in enumerate(files.reference_masks)},
             "driving video": files.driving, "driving mask": files.driving_mask}
    for name, path in named.items():
        if not path.is_file():
            raise RuntimeError(f"The {name} {path} does not exist: check the path.")


def _reference_name(index: int) -> str:
    return f"additional reference {index}" if index else "reference"


def _other_orientation(reference: Tensor, width: int, height: int) -> bool:
    # official rule: a square reference, or a square result, never swaps
    source_height, source_width = reference.shape[:2]
    return (source_height - source_width) * (height - width) < 0


def _reference_mask(path: Path, index: int, reference: Tensor) -> Source:
    name = _reference_name(index)
    mask = read_image(path, f"mask of the {name}")
    check_shape(f"mask of the {name}", mask.shape[:2], name, reference.shape[:2])
    return from_colours([mask], 1, name)


def _as_many(masks: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """The first `count` of them; ValueError at the end if there were more or fewer."""
    total = 0
    for total, mask in enumerate(masks, 1):
        if total <= count:
            yield mask
    if total != count:
        raise ValueError(f"The driving video has {count} frames and its mask {total}: make both from the same frames.")


def _cropped(frames: Iterable[Tensor], height: int, width: int) -> tuple[Tensor, tuple[int, int]]:
    """Frames uint8 [h, w, 3] -> [T, height, width, 3] and (h, w); a clip is kept only at the size of the result."""
    cropped = []
    for frame in frames:
        shape = tuple(frame.shape[:2])
        cropped.append(cover_crop(frame.movedim(-1, 0)[None], height, width)[0].movedim(0, -1))
    return torch.stack(cropped), shape
