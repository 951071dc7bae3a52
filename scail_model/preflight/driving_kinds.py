"""What moves in the driving video, if it is not filmed people: rendered poses, or an animal; and what to expect.

The authors' own words (README of zai-org/SCAIL-2): pose-driven is better at 704p; animals as drivers are zero-shot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage

from ..identity.identities import Identities
from ..identity.mask_set import at_size
from ..media.clips import Clip
from ..media.retiming import PickedClip
from ..poses.pose_clip import PoseClip
from ..poses.pose_masks import driving_source
from ..poses.value import Poses
from .findings import Finding, error, fact, warning

_LOOKED_AT = 4  # frames
_WIDER = 2.0  # times the skeleton; a person's outline is about three times as large
_SAME = 0.3  # share of masks and skeletons; edited masks share less than 1
_THIN = 0.08  # radius in shares of height: skeletons have 0.02 to 0.055, outlines of people 0.13 and more
_BLACK = 8.0  # level of the background of a picture of poses, at most
_ADVISED = 704  # pixels of the shorter side


def poses(driving: Clip, identities: Identities, width: int, height: int) -> Iterator[Finding]:
    """What a driving video that is rendered from poses shows, and what does not go with it. width, height: of the
    result."""
    shown = poses_of(driving)
    if shown is None:
        return
    people = ", ".join(map(shown.title, range(shown.people)))
    yield fact("poses", f"the driving video is rendered from poses of {people}")
    yield from (fact("poses", note) for note in shown.notes)
    if identities.replacement:
        yield error("poses_mode", "The driving video is rendered from poses and shows no place, but in replacement "
                                  "its place is kept: set mode to animation, or connect the filmed video to driving.")
    if min(width, height) < _ADVISED:
        yield fact("poses_size", f"the result is {width}x{height}; the authors advise {_ADVISED}p for rendered poses")


def poses_of(driving: Clip) -> Poses | None:
    """The poses that a driving video is rendered from, the frames that are read; None for another video."""
    if isinstance(driving, PickedClip):
        found = poses_of(driving.clip)
        return None if found is None else found.picked(driving.indices)
    return driving.poses if isinstance(driving, PoseClip) else None


def comparable(findings: Sequence[Finding], driving: Clip, identities: Identities, *, whole: bool = True
               ) -> list[Finding]:
    """Findings without those on the size of a person where it is a skeleton's, not an outline's. whole: whether the
    model sees whole people, not a head alone, which the first reference shows smaller."""
    others = [finding for finding in findings if finding.code not in ("scale", "small")]
    if len(others) == len(findings):
        return others
    if not whole or poses_of(driving) is not None or identities.rendered:
        return others
    if _thin(identities):
        return [*others, fact("poses", "the driving masks are as thin as those of rendered poses: their size is not "
                                       "compared with the reference's")]
    return list(findings)


def _thin(identities: Identities) -> bool:
    """Whether masks are of skeletons, not of bodies: by the largest circles in a few of them."""
    masks = identities.driving
    shares = [share for frame in np.linspace(0, len(masks) - 1, _LOOKED_AT).astype(int)
              for mask in masks.frame(frame) if (share := _thickness(mask))]
    return bool(shares) and float(np.median(shares)) < _THIN


def _thickness(mask: np.ndarray) -> float:
    """Radius of the largest circle in a mask [H, W], as a share of the longer side of the box around it."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0.0
    inside = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    return float(np.asarray(ndimage.distance_transform_edt(inside)).max()) / (max(inside.shape) - 2)


def pose_masks(driving: Clip, identities: Identities) -> Iterator[Finding]:
    """Masks that are not those of what is driving: of filmed people or other poses for rendered poses, or of rendered
    poses for a filmed video. The masks have the driving video's number of frames and its shape."""
    shown = poses_of(driving)
    if shown is None:
        if identities.rendered and _background(driving, identities) > _BLACK:
            yield warning("poses_masks", "The driving masks are those of rendered poses, but the driving video shows "
                                         "more than these: connect the poses to driving too, or masks of the filmed "
                                         "people to driving_masks of Bind SCAIL-2 Identities.")
        return
    frames = np.flatnonzero(shown.seen.any(-1).numpy())
    if not len(frames):
        return  # other checks say it
    frames = frames[np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).astype(int)]
    skeletons = driving_source(shown.picked(frames.tolist())).mask_set
    size = identities.driving.size
    pairs = [(_anybody(skeletons.frame(index), size), _anybody(identities.driving.frame(int(frame)), size))
             for index, frame in enumerate(frames)]
    drawn, masked = (float(np.mean([pair[side] for pair in pairs])) for side in (0, 1))
    if masked > _WIDER * drawn:
        yield warning("poses_masks", f"The driving masks cover {masked / drawn:.1f} times the area of the rendered "
                                     "poses, but the official masks of poses are as narrow as these: connect the poses "
                                     "to driving_masks of Bind SCAIL-2 Identities too.")
        return
    both, either = (np.sum([join(*pair) for pair in pairs]) for join in (np.logical_and, np.logical_or))
    shared = float(both / either.clip(min=1))
    if shared < _SAME:
        yield warning("poses_masks", f"The driving masks are of other poses than those that are rendered (only "
                                     f"{shared:.0%} of the two is shared): connect the same poses to driving_masks of "
                                     "Bind SCAIL-2 Identities and to driving.")


def _anybody(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks bool [P, h, w] -> where anybody is, at another size (height, width): the nearest pixel of each."""
    return np.logical_or.reduce(at_size(masks, size))


def _background(driving: Clip, identities: Identities) -> float:
    """The mean level, in 0..255, of a few frames outside of the masks."""
    levels = []
    for frame in np.linspace(0, len(driving) - 1, _LOOKED_AT).astype(int).tolist():
        people = torch.from_numpy(_anybody(identities.driving.frame(frame), driving.size))
        levels.append(driving.read(frame, frame + 1)[0].float().mean(-1)[~people])
    return float(torch.cat(levels).mean().nan_to_num())


# What people call animals whose motion is followed. A name is all that is known of what somebody is.
_ANIMALS = frozenset({
    "animal", "dog", "puppy", "cat", "kitten", "horse", "pony", "foal", "donkey", "zebra", "cow", "bull", "calf",
    "sheep", "lamb", "goat", "pig", "deer", "fox", "wolf", "bear", "panda", "lion", "tiger", "leopard", "cheetah",
    "elephant", "giraffe", "camel", "monkey", "ape", "gorilla", "rabbit", "hare", "squirrel", "mouse", "rat",
    "hamster", "bird", "parrot", "duck", "goose", "swan", "chicken", "penguin", "eagle", "owl", "crow", "frog",
    "turtle", "lizard", "dinosaur", "dragon"})


def animals(identities: Identities) -> Iterator[Finding]:
    """People who are called an animal: the user has said that one moves here."""
    for person, name in enumerate(identities.given_names):
        if _ANIMALS & set(re.findall(r"[a-z]+", name.lower())):
            yield fact("animal", f"{identities.title(person)} has the name of an animal: if one drives here, the model "
                                 "was trained with people, and its authors call animals as drivers zero-shot, without "
                                 "figures; try a short part first, and let the prompt say how the legs move")
