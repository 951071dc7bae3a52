"""What the plate keeps of the driving video, what has to be invented, and where people would be cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..identity.packed_mask import unpacked
from ..inputs.uncovered import left_free
from ..media.clips import Clip
from ..media.retiming import PickedClip
from ..plate.choice import OFF, Choice
from ..plate.cropped import CroppedClip
from ..plate.plate import Plate, fitted
from . import driving_kinds
from .findings import Finding, fact, warning
from .job import Job

_LOOKED_AT = 24  # frames, and the one with the largest people
_LITTLE = 0.05  # of the picture
_NOTABLE = 0.005  # of the picture
_AROUND = 0.5  # of the place around the driven people, more of which no made people cover
_ENLARGED = 2.0
_STRAIGHT = {"left": 0.5, "top": 0.5, "right": 0.5, "bottom": 0.9}  # of a side of the box; skirts end wide
_STRAIGHT_FRAMES = 0.5  # of those that are looked at


def check(job: Job) -> Iterator[Finding]:
    """All findings about a plate that can be. The masks have the driving video's number of frames and its shape."""
    plate = made(job)
    if plate is None:
        yield from _off(job)
        return
    yield from found(plate, job.plate.kind, whole=job.plate.whole)
    if job.black_background:
        yield warning("plate_background", "driving_background hides the place from the model, but plate keeps it, so "
                                          "light and edges will not fit: set driving_background to keep.")


def made(job: Job) -> Plate | None:
    """The plate of a job, None without one. Raises ValueError for one that cannot be."""
    full = None if job.full is None else (job.full.height, job.full.width)
    return job.plate.plate(job.driving, job.identities, (job.height, job.width), halved_colours=not job.lossless,
                           full=full)


def found(plate: Plate, kind: str, *, whole: bool = True) -> Iterator[Finding]:
    """What a plate keeps, and what is doubtful about it. kind: a key of PLATES. whole: whether people are made, not
    heads, whose masks end at the neck and are as large as those of the new ones."""
    yield from _kept(plate, kind)
    yield from _exchanged(plate)
    if whole:
        yield from _invented(plate)
        yield from _straight(plate.identities)
    yield from _enlarged(plate)


def without_effect(plate: Choice) -> Iterator[Finding]:
    """Settings of the plate where there is none."""
    usual = Choice()
    for name, value, default in (("plate_grow", plate.grow, usual.grow),
                                 ("plate_feather", plate.feather, usual.feather),
                                 ("plate_person", plate.outline, usual.outline)):
        if value != default:
            yield warning(name, f"{name} is {value}, but plate is {OFF}, so it has no effect: set plate to composite "
                                f"or lock, or {name} to {default}.")
    if plate.given is not None:
        yield warning("plate_masks", f"There are plate_masks, but plate is {OFF}, so they have no effect: set plate to "
                                     "composite or lock, or take the masks away.")


def _off(job: Job) -> Iterator[Finding]:
    yield from without_effect(job.plate)
    if job.identities.replacement and driving_kinds.poses_of(job.driving) is None and not _cropped(job.driving):
        yield fact("plate", "plate: off, so the place around the people is made anew although it was filmed; composite "
                            "keeps it, lock also while sampling")


def _cropped(driving: Clip) -> bool:
    """Whether a person is made through a window, who will be put back into what was filmed."""
    return isinstance(driving, CroppedClip) or isinstance(driving, PickedClip) and _cropped(driving.clip)


def _kept(plate: Plate, kind: str) -> Iterator[Finding]:
    """How much of the plate stays as it was filmed."""
    areas = np.sum([extent.area for extent in plate.identities.driving.extents], axis=0)
    frames = np.unique([*_some(len(areas)), areas.argmax()])
    shares = np.array([np.mean(plate.share(frame) == 0) for frame in frames.tolist()])
    mean, least = shares.mean(), int(shares.argmin())
    yield fact("plate", f"plate: {kind}, {_size(plate.size)}; about {mean:.0%} of it stay as filmed, in frame "
                        f"{frames[least]} {shares[least]:.0%}; the people are made at {_size(plate.placement.size)}, "
                        f"with {plate.edge.grow} pixels around them and {plate.edge.feather} in which they fade")
    if mean < _LITTLE:
        yield warning("plate_little", f"plate keeps only {mean:.1%} of the picture, because the masks and what is "
                                      "grown around them cover the rest: check the driving masks, or lower plate_grow "
                                      "and plate_feather.")


def _invented(plate: Plate) -> Iterator[Finding]:
    """How much of the place has to be invented, where smaller people take the place of larger ones."""
    identities, driving = plate.identities, plate.identities.driving
    left = [uncovered.mean() for frame in _some(len(driving)) if (uncovered := plate.uncovered(frame)) is not None]
    if left:
        yield fact("uncovered", f"what the driven people leave free has to be invented: {np.mean(left):.1%} of the "
                                "picture, by plate_masks")
        return
    frame = driving.height * driving.width
    free = left_free(identities)
    areas = [extent.area.mean() * share for extent, share in zip(driving.extents, free, strict=True)]
    if sum(areas) < _NOTABLE * frame:
        return
    people = " and ".join(f"{share:.0%} of {identities.title(person)}" for person, share in enumerate(free) if share)
    yield fact("uncovered", f"what the driven people leave free has to be invented: about {sum(areas) / frame:.1%} of "
                            f"the picture ({people}), by the areas of the reference's people at the same height; "
                            "plate_masks from a first pass say it exactly")


def _exchanged(plate: Plate) -> Iterator[Finding]:
    """Given masks that show the place rather than people."""
    if plate.given is None:
        return
    covered, free = 0, 0
    for frame in _some(len(plate.identities.driving)):
        people = plate.made_people(frame)
        assert people is not None
        driven = fitted(next(plate.identities.driving_people(frame, frame + 1)), plate.size)
        around = ~plate.seen(frame, driven)
        covered, free = covered + (plate.seen(frame, people) & around).sum(), free + around.sum()
    if covered > _AROUND * free:
        yield warning("plate_masks", f"plate_masks cover {covered / free:.0%} of what is around the driven people, so "
                                     "little of it stays as filmed: check whether their black and white are exchanged, "
                                     "and give masks of the made people alone.")


def _straight(identities: Identities) -> Iterator[Finding]:
    """Masks that end in a straight line inside of the picture, as those that were cut off or drawn as boxes."""
    driving = identities.driving
    for person, extent in enumerate(driving.extents):
        frames = np.flatnonzero(extent.seen)
        if not len(frames):
            continue
        frames = frames[_some(len(frames))]
        found = [_straight_sides(driving, person, frame) for frame in frames.tolist()]
        sides = [side for side in _STRAIGHT
                 if sum(side in ones for ones in found) >= _STRAIGHT_FRAMES * len(frames)]
        if sides:
            yield warning("plate_straight", f"The mask of {identities.title(person)} ends in a straight line "
                                            f"({', '.join(sides)}), and what of the person lies outside stays as "
                                            "filmed: check whether the driving mask is cut off or a box.")


def _straight_sides(masks: MaskSet, person: int, frame: int) -> list[str]:
    """Sides of the box around a person that the mask fills to a large part, but for the picture's own."""
    mask = masks.tracks[person].masks[frame]
    left, top, right, bottom = mask.box
    inside = unpacked(masks.tracks[person][frame], masks.width)[top:bottom, left:right]
    ends = {"left": (left > 0, inside[:, 0]), "top": (top > 0, inside[0]),
            "right": (right < masks.width, inside[:, -1]), "bottom": (bottom < masks.height, inside[-1])}
    return [side for side, (within, line) in ends.items() if within and _longest(line) >= _STRAIGHT[side] * len(line)]


def _longest(line: np.ndarray) -> int:
    """Length of the longest run of set pixels."""
    unset = np.flatnonzero(~np.pad(line, 1, constant_values=False))
    return max(after - before - 1 for before, after in pairwise(unset.tolist()))


def _enlarged(plate: Plate) -> Iterator[Finding]:
    """People who are made with fewer pixels than they have in the plate."""
    factor = 1 / min(plate.placement.at(0).scale)
    if factor > _ENLARGED:
        yield warning("plate_size", f"The plate has {_size(plate.size)} pixels and the people are made at "
                                    f"{_size(plate.placement.size)}, so they are enlarged {factor:.1f} times and look "
                                    "softer than what stays around them: choose a larger width and height, or use Crop "
                                    "SCAIL-2 Person (--crop_to_person).")


def _some(frames: int) -> list[int]:
    """The frames that are looked at, spread over a video."""
    return np.linspace(0, frames - 1, min(_LOOKED_AT, frames)).astype(int).tolist()


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
