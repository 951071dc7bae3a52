"""One folder that is prepared: its pictures, videos and masks, opened, bound and checked against each other."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from PIL import ExifTags, Image
from torch import Tensor

from ..geometry import size_of
from ..identity.binding import bind, numbered_pairs, numbers
from ..identity.binding_text import BY_OVERLAP, BY_POSITION, pairs_text
from ..identity.identities import ANIMATION, REPLACEMENT, Identities
from ..identity.mask_sources import REFERENCE, Source
from ..identity.overlap import by_centre, left_to_right
from ..media.pictures import read_picture
from ..media.video_file import FileClip
from ..poses.value import Poses
from .mask_files import driving_masks, reference_mask
from .posed import posed
from .prepare_files import Files, Say

_ASSUMED_RATE = Fraction(16)  # of a single picture, as where videos are made


@dataclass(frozen=True)
class Example:
    """made: the reference if it was made of the driving video, uint8 [h, w, 3], else None. poses: None if the model
    sees the driving video itself. notes: sentences about all of it."""

    files: Files
    driving: FileClip
    identities: Identities
    made: Tensor | None
    poses: Poses | None
    notes: list[str]


def read_example(files: Files, arguments: argparse.Namespace, say: Say) -> Example:
    """Open everything. Raises ValueError or RuntimeError, in one sentence, for the first thing that is wrong. say: is
    told what is being read, and how far."""
    say("reading the driving video")
    notes = list(files.notes)
    driving = FileClip(files.driving)
    driving.rate = driving.rate or _ASSUMED_RATE
    picture = None if files.reference is None else read_picture(files.reference, "reference", notes)
    if files.reference is not None and _turned(files.reference):
        notes.append(f"{files.reference.name} says that it lies on its side or its head, and the official generate.py "
                     "does not look: save it upright for that.")
    people, tracked = (None, None) if files.masks is None else driving_masks(files.masks, driving, notes, say)
    made = poses = None
    if picture is None:
        assert people is not None  # only poses know people without masks, and they have a reference
        people, reference, made = _first_frame(_largest(people, arguments.max_persons, notes), driving)
    else:
        reference = reference_mask(files.reference_mask, tracked, picture, notes)

    def bound(people: Source) -> Identities:
        people = _largest(people, arguments.max_persons, notes)
        return bind(files.mode, people, [reference], binding=_binding(people, reference, arguments, notes))

    if files.posed:
        assert picture is not None  # in animation there is one
        poses, identities = posed(people if files.people_from_masks else None, bound, size_of(picture), driving, files,
                                  arguments, say)
    else:
        assert people is not None  # they are needed without poses
        identities = bound(people)
    return Example(files, driving, identities, made, poses, [*driving.warnings, *notes, *identities.notes])


def _largest(people: Source, limit: int | None, notes: list[str]) -> Source:
    """Those who take most of the first frame."""
    count = people.mask_set.people
    if limit is None or count <= limit:
        return people
    by_size = sorted(range(count), key=lambda person: -people.mask_set.tracks[person].masks[0].area)
    kept = sorted(by_size[:limit])
    left_out = ", ".join(str(number) for person, number in enumerate(numbers(people)) if person not in kept)
    notes.append(f"driving mask: person {left_out} left out, as --max_persons {limit} asks for")
    return _selected(people, kept)


def _selected(source: Source, kept: list[int]) -> Source:
    return replace(source, mask_set=source.mask_set.select(kept),
                   labels=source.labels and tuple(source.labels[person] for person in kept),
                   names=source.names and tuple(source.names[person] for person in kept),
                   front=tuple(kept.index(person) for person in source.front if person in kept))


def _first_frame(people: Source, driving: FileClip) -> tuple[Source, Source, Tensor]:
    """The driving video's people who are in its first frame, there as a reference, and it cut out on black."""
    masks = people.mask_set
    there = [person for person, track in enumerate(masks.tracks) if track.masks[0].area]
    if not there:
        raise ValueError("Nobody is in the first frame of the driving mask, which --test_mode makes the reference of: "
                         "cut the video to where the person is, or give a reference without --test_mode.")
    people = _selected(people, there)
    first = people.mask_set.picked([0])
    if masks.size != driving.size:
        raise ValueError(f"The driving mask ({masks.width}x{masks.height} pixels) has another size than the driving "
                         f"video ({driving.width}x{driving.height}), and --test_mode cuts the reference out with it: "
                         "make the mask at the video's size.")
    cut_out = driving.read(0, 1)[0] * torch.from_numpy(first.frame(0).any(0))[..., None]
    return people, replace(people, name=REFERENCE, mask_set=first, background=None), cut_out


def _binding(people: Source, reference: Source, arguments: argparse.Namespace, notes: list[str]) -> str:
    """The text of a binding: as given; empty for equal colours; else, as officially, from left to right, or in
    animation, where the video shows more people, those nearest to the reference's."""
    if arguments.binding:
        return arguments.binding
    if arguments.matchnearest:
        return BY_OVERLAP
    wanted, found = reference.mask_set.people, people.mask_set.people
    pairs: list[tuple[int, int]] = []
    if wanted == found and not _common(people, reference):
        pairs = list(zip(left_to_right(reference.mask_set), left_to_right(people.mask_set), strict=True))
    elif wanted < found and arguments.mode == ANIMATION:
        pairs = by_centre(people.mask_set, reference.mask_set)
    if len(pairs) < wanted:
        _refuse_counts(people, reference, arguments.mode)
        return ""
    text = pairs_text(sorted((numbers(reference)[left], numbers(people)[right]) for left, right in pairs))
    if found > 1:
        how = "from left to right" if wanted == found else "by the nearest centre in the first frame"
        notes.append(f"bound {text} (reference:driving), {how}; --binding chooses otherwise")
    return text


def _refuse_counts(people: Source, reference: Source, mode: str) -> None:
    """Raise ValueError for sides of different numbers of people."""
    wanted, found = reference.mask_set.people, people.mask_set.people
    if wanted == found:
        return
    ways = f"--matchnearest, --max_persons {wanted} or " if mode == REPLACEMENT and wanted < found else ""
    example = pairs_text(numbered_pairs(people, reference, BY_POSITION))
    raise ValueError(f"The driving mask has {found} {'person' if found == 1 else 'people'}, but the reference mask "
                     f'has {wanted}: say who is who with {ways}--binding, for example --binding "{example}", which is '
                     "nearest by position.")


def _common(people: Source, reference: Source) -> bool:
    return bool(set(people.labels or ()) & set(reference.labels or ()))


def _turned(path: Path) -> bool:
    with Image.open(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
