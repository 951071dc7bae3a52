"""`--crop_to_person` and `--face_pass`: the inputs of a video through a window around one person."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from ..geometry import check_shape
from ..identity.identities import Identities
from ..plate.choice import COMPOSITE, OFF
from ..plate.close_up import own_references, with_close_up
from ..plate.heads import face_boxes
from ..plate.person_crop import FACE, PERSON, Faces, crop_person
from ..poses.poses_file import is_poses_file
from ..video.options import VideoOptions
from .inputs import Inputs
from .mask_files import masks_of


def crops(arguments: argparse.Namespace) -> bool:
    """Whether a person is to be cropped."""
    return arguments.crop_to_person is not None or arguments.face_pass


def check_crop(arguments: argparse.Namespace, options: VideoOptions) -> VideoOptions:
    """The settings of a video of a crop, which is put back into the plate; unchanged without a crop.

    Raises ValueError for flags that do not go together.
    """
    if not crops(arguments):
        for name in ("crop_margin", "face_mask"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"--{name} is given, but nothing is cropped: add --crop_to_person or --face_pass, or "
                                 "leave it out.")
        return options
    name = "crop_to_person" if arguments.crop_to_person is not None else "face_pass"
    if not arguments.replace_flag:
        raise ValueError(f"--{name} puts a person back into what was filmed, but the mode is animation, which shows "
                         "the reference's scene: add --replace_flag.")
    if arguments.whole_picture:
        raise ValueError(f"--{name} needs the person's mask, but --whole_picture says that there is none: give "
                         "--mask_video and --mask_image.")
    if is_poses_file(Path(arguments.pose)):
        raise ValueError(f"--{name} needs what was filmed, but --pose {arguments.pose} has poses: give the filmed "
                         "video.")
    if arguments.face_mask is not None and not arguments.face_pass:
        raise ValueError("--face_mask is given, but the whole person is cropped: add --face_pass, or leave it out.")
    if arguments.face_mask is not None and not os.path.exists(arguments.face_mask):
        raise ValueError(f"The face mask {arguments.face_mask} (--face_mask) does not exist: check the path.")
    if arguments.crop_margin is not None and not 0 <= arguments.crop_margin <= 2:
        raise ValueError(f"crop_margin is {arguments.crop_margin} (--crop_margin), but it must be 0 to 2: correct it.")
    return replace(options, plate=COMPOSITE) if options.plate == OFF else options


def cropped(arguments: argparse.Namespace, inputs: Inputs, cuts: tuple[int, ...]) -> Inputs:
    """The inputs as the model sees them through the window; unchanged without a crop. cuts: frames at which scenes
    begin. Raises ValueError and RuntimeError as `crop_person` does, and for masks of faces that do not fit."""
    if not crops(arguments):
        return inputs
    person = 1 if arguments.crop_to_person is None else arguments.crop_to_person
    margin = {} if arguments.crop_margin is None else {"margin": arguments.crop_margin}
    count = len(inputs.identities.labels)
    if not 1 <= person <= count:
        there = "one person is bound: give 1" if count == 1 else f"{count} people are bound: give 1 to {count}"
        raise ValueError(f"--crop_to_person is {person}, but {there}.")
    faces = None if arguments.face_mask is None else _faces(Path(arguments.face_mask), inputs, person)
    crop, seen, report, doubts = crop_person(
        inputs.driving, inputs.identities, person, (inputs.height, inputs.width), **margin, cuts=cuts,
        part=FACE if arguments.face_pass else PERSON, faces=faces)
    images, seen = own_references(inputs.references, seen, inputs.identities)
    if arguments.face_pass:
        images, seen = with_close_up(images, seen, (inputs.height, inputs.width))
    others = [(picture, _of_person(bound, seen, person - 1)) for picture, bound in inputs.plan_references]
    return replace(inputs, references=images, driving=crop.seen, identities=seen, plan_references=others, crop=crop,
                   crop_report=report, crop_doubts=doubts)


def _of_person(bound: Identities, seen: Identities, person: int) -> Identities:
    """The masks of a reference for the plan, of one person."""
    return replace(seen, references=tuple(masks.select([person]) for masks in bound.references))


def _faces(path: Path, inputs: Inputs, person: int) -> Faces:
    """Where the face of a person (from 1) is. One mask for each frame that is read, or for each stored one."""
    driving, people = inputs.driving, inputs.identities.driving
    masks = masks_of(path, FACE, inputs.warnings)
    check_shape("face mask", masks.size, "driving video", driving.size)
    if len(masks) == driving.stored:
        masks = masks.picked(list(driving.indices))
    if len(masks) != len(driving):
        raise ValueError(f"The face mask {path} (--face_mask) has {len(masks)} frames, but the driving video has "
                         f"{driving.stored}: make it from the same video.")
    return face_boxes(masks, people.select([person - 1]), driving.size), "from --face_mask"
