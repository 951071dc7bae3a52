"""Pictures, videos and masks of one video: opened and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..geometry import check_frame_count, check_shape, check_size, size_of
from ..identity.binding import bind, refuse_other_mode
from ..identity.identities import ANIMATION, REPLACEMENT, Identities
from ..identity.mask_sources import DRIVING, Source, from_colours
from ..media.clips import Clip
from ..media.pictures import read_picture
from ..media.video_file import FileClip


@dataclass(frozen=True)
class Files:
    """The files of one video; the primary reference first, masks in the same order."""

    references: list[Path]
    reference_masks: list[Path]
    driving: Path
    driving_mask: Path


@dataclass(frozen=True)
class Inputs:
    """What a video is made from. references: [h, w, 3] in 0..1. width, height: of the result; swapped: whether they
    were for the reference's orientation."""

    references: list[Tensor]
    driving: Clip
    identities: Identities
    width: int
    height: int
    swapped: bool


def read_inputs(files: Files, width: int, height: int, replacement: bool) -> Inputs:
    """Open everything. Raises ValueError or RuntimeError, in one sentence, for the first thing that is wrong.

    width, height: pixels of the result as asked for; swapped if the primary reference has the other orientation. The
    driving video stays in its file.
    """
    check_size(width, height)
    _check_files(files)
    mode = REPLACEMENT if replacement else ANIMATION
    references = [read_picture(path, _reference_name(index)) for index, path in enumerate(files.references)]
    swapped = _other_orientation(references[0], width, height)
    if swapped:
        width, height = height, width
    masks = [_reference_mask(path, index, references[index]) for index, path in enumerate(files.reference_masks)]
    refuse_other_mode(mode, masks[0])
    driving = FileClip(files.driving)
    mask = FileClip(files.driving_mask, name="driving mask").shaped_like(driving)
    check_frame_count(len(driving), len(mask))
    check_shape("driving mask", mask.size, "driving video", driving.size)
    people = from_colours(iter(mask), len(mask), DRIVING)
    return Inputs([image / 255 for image in references], driving, bind(mode, people, masks, repaint=False),
                  width, height, swapped)


def _check_files(files: Files) -> None:
    if len(files.references) != len(files.reference_masks):
        raise ValueError(f"There are {len(files.references) - 1} additional references and "
                         f"{len(files.reference_masks) - 1} masks for them: give one mask for each.")
    named = {**{_reference_name(i): path for i, path in enumerate(files.references)},
             **{f"mask of the {_reference_name(i)}": path for i, path in enumerate(files.reference_masks)},
             "driving video": files.driving, "driving mask": files.driving_mask}
    for name, path in named.items():
        if not path.is_file():
            wrong = "is not a file" if path.exists() else "does not exist"
            raise RuntimeError(f"The {name} {path} {wrong}: check the path.")


def _reference_name(index: int) -> str:
    return f"additional reference {index}" if index else "reference"


def _other_orientation(reference: Tensor, width: int, height: int) -> bool:
    # official rule: a square reference, or a square result, never swaps
    source_height, source_width = reference.shape[:2]
    return (source_height - source_width) * (height - width) < 0


def _reference_mask(path: Path, index: int, reference: Tensor) -> Source:
    name = _reference_name(index)
    mask = read_picture(path, f"mask of the {name}")
    check_shape(f"mask of the {name}", size_of(mask), name, size_of(reference))
    return from_colours([mask], 1, name)
