"""Pictures, videos and masks of one video: opened and checked against each other."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..geometry import check_shape, check_size, size_of
from ..identity.binding import bind, bind_whole, refuse_other_mode
from ..identity.identities import ANIMATION, REPLACEMENT, Identities
from ..identity.mask_set import MaskSet
from ..identity.mask_sources import DRIVING, Source, from_colours
from ..media.clips import Clip
from ..media.pictures import read_picture
from ..media.video_file import FileClip
from ..plate.person_crop import PersonCrop
from ..poses.pose_clip import PoseClip
from ..poses.pose_masks import driving_source
from ..poses.poses_file import is_poses_file, load_poses
from ..video.options import VideoOptions
from .mask_files import plate_masks

_USUAL = VideoOptions()


@dataclass(frozen=True)
class Files:
    """The files of one video; the primary reference first, masks in the same order. driving: a video, or poses, which
    are their own driving_mask. driving_mask: None, as no masks of references, for one person, the whole picture.
    plan_references: further ones, each by itself, that the plan can choose for a segment. plate_masks: of the made
    people, from a first pass; a file or a folder."""

    references: list[Path]
    reference_masks: list[Path]
    driving: Path
    driving_mask: Path | None
    plan_references: list[Path] = field(default_factory=list)
    plan_reference_masks: list[Path] = field(default_factory=list)
    plate_masks: Path | None = None


@dataclass(frozen=True)
class Inputs:
    """What a video is made from. references: [h, w, 3] in 0..1. width, height: of the result; swapped: whether they
    were for the reference's orientation. plan_references: pictures that the plan can choose, with their identities.
    warnings: what was done to pictures to read them. plate_masks: of the made people, None without.
    crop: where the one person lies that all this is of, None for whole pictures; crop_report,
    crop_doubts: what is said of it."""

    references: list[Tensor]
    driving: Clip
    identities: Identities
    width: int
    height: int
    swapped: bool
    plan_references: list[tuple[Tensor, Identities]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plate_masks: MaskSet | None = None
    crop: PersonCrop | None = None
    crop_report: list[str] = field(default_factory=list)
    crop_doubts: list[str] = field(default_factory=list)


def read_inputs(files: Files, width: int, height: int, replacement: bool,
                options: VideoOptions = _USUAL, *, turned: bool = True) -> Inputs:
    """Open everything. Raises ValueError or RuntimeError, in one sentence, for the first thing that is wrong.

    width, height: pixels of the result as asked for; swapped if the primary reference has the other orientation, unless
    `turned` is false. The driving video stays in its file, and is read at the rate that the options ask for.
    """
    check_size(width, height)
    _check_files(files)
    mode = REPLACEMENT if replacement else ANIMATION
    warnings: list[str] = []
    references = [read_picture(path, _reference_name(index), warnings) for index, path in enumerate(files.references)]
    swapped = turned and _other_orientation(references[0], width, height)
    if swapped:
        width, height = height, width
    further = [read_picture(path, f"reference {number}", warnings)
               for number, path in enumerate(files.plan_references, 2)]
    stored = _driving(files.driving)
    identities, *others = (_masked(files, mode, references, further, stored, options) if files.driving_mask else
                           _whole(mode, references, further, stored))
    driving, identities = options.timed(stored, identities)
    made = plate_masks(files.plate_masks, warnings) if files.plate_masks else None
    return Inputs([image / 255 for image in references], driving, identities, width, height, swapped,
                  [(image / 255, bound) for image, bound in zip(further, others, strict=True)], warnings, made)


def _driving(path: Path) -> Clip:
    """A driving video, or poses in a file, which are rendered."""
    return PoseClip(load_poses(path)) if is_poses_file(path) else FileClip(path)


def _masked(files: Files, mode: str, references: list[Tensor], further: list[Tensor], driving: Clip,
            options: VideoOptions) -> list[Identities]:
    """Identities of the references together, and of each further one, from mask files."""
    masks = [_reference_mask(path, _reference_name(index), references[index])
             for index, path in enumerate(files.reference_masks)]
    refuse_other_mode(mode, masks[0])
    people = _people(files, driving, options)
    others = [_reference_mask(path, f"reference {number}", picture) for number, (path, picture) in enumerate(
        zip(files.plan_reference_masks, further, strict=True), 2)]
    return [bind(mode, people, pictures, repaint=False) for pictures in (masks, *([other] for other in others))]


def _people(files: Files, driving: Clip, options: VideoOptions) -> Source:
    """The driving video's masks: of a file, or what poses show of each person."""
    assert files.driving_mask is not None
    if isinstance(driving, PoseClip) and files.driving_mask == files.driving:
        return driving_source(driving.poses)
    mask = FileClip(files.driving_mask, name="driving mask")
    if isinstance(driving, FileClip):
        mask = mask.shaped_like(driving)
    options.check_masks(driving, len(mask))  # before all of them are read
    check_shape("driving mask", mask.size, "driving video", driving.size)
    return from_colours(iter(mask), len(mask), DRIVING)


def _whole(mode: str, references: list[Tensor], further: list[Tensor], driving: Clip) -> list[Identities]:
    """The same without masks: one person, the whole picture."""
    return [bind_whole(mode, len(driving), driving.size, list(map(size_of, pictures)))
            for pictures in (references, *([picture] for picture in further))]


def _check_files(files: Files) -> None:
    named = {"driving video": files.driving} | ({"driving mask": files.driving_mask} if files.driving_mask else {})
    for kind, names, pictures, masks in (
            ("additional references", _reference_name, files.references, files.reference_masks),
            ("references for the plan", lambda i: f"reference {i + 2}", files.plan_references,
             files.plan_reference_masks)):
        if files.driving_mask and len(pictures) != len(masks):
            primary = 1 if pictures is files.references else 0
            raise ValueError(f"There are {len(pictures) - primary} {kind} and {len(masks) - primary} masks for them: "
                             "give one mask for each.")
        named |= {names(i): path for i, path in enumerate(pictures)}
        named |= {f"mask of the {names(i)}": path for i, path in enumerate(masks)}
    if files.plate_masks and not files.plate_masks.exists():
        raise RuntimeError(f"The plate mask {files.plate_masks} (--plate_mask) does not exist: check the path.")
    for name, path in named.items():
        if not os.path.isfile(path):  # also of a name that is too long
            wrong = "is not a file" if os.path.exists(path) else "does not exist"
            raise RuntimeError(f"The {name} {path} {wrong}: check the path.")


def _reference_name(index: int) -> str:
    return f"additional reference {index}" if index else "reference"


def _other_orientation(reference: Tensor, width: int, height: int) -> bool:
    # official rule: a square reference, or a square result, never swaps
    source_height, source_width = reference.shape[:2]
    return (source_height - source_width) * (height - width) < 0


def _reference_mask(path: Path, name: str, reference: Tensor) -> Source:
    mask = read_picture(path, f"mask of the {name}")
    check_shape(f"mask of the {name}", size_of(mask), name, size_of(reference))
    return from_colours([mask], 1, name)
