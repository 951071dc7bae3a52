"""What moves in the driving video, if it is not filmed people: rendered poses, or an animal; and what to expect.

The authors' own words (README of zai-org/SCAIL-2): pose-driven is better at 704p; animals as drivers are zero-shot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from ..identity.identities import Identities
from ..media.clips import Clip
from ..media.retiming import PickedClip
from ..poses.pose_clip import PoseClip
from ..poses.pose_masks import driving_source
from ..poses.value import Poses
from .findings import Finding, error, fact, warning

_LOOKED_AT = 4  # frames
_WIDER = 2.0  # times the skeleton; a person's outline is about three times as large
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


def comparable(findings: Sequence[Finding], driving: Clip) -> list[Finding]:
    """Findings without those that compare the sizes of a skeleton and of a person's outline."""
    posed = poses_of(driving) is not None
    return [finding for finding in findings if not (posed and finding.code == "scale")]


def pose_masks(driving: Clip, identities: Identities) -> Iterator[Finding]:
    """Masks of filmed people where those of their skeletons belong. The masks fit the driving video."""
    shown = poses_of(driving)
    if shown is None:
        return
    frames = np.flatnonzero(shown.seen.any(-1).numpy())
    if not len(frames):
        return  # other checks say it
    frames = frames[np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).astype(int)]
    skeletons = driving_source(shown.picked(frames.tolist())).mask_set
    drawn = float(np.mean([skeletons.frame(index).any(0).mean() for index in range(len(frames))]))
    masked = float(np.mean([identities.driving.frame(int(frame)).any(0).mean() for frame in frames]))
    if masked > _WIDER * drawn:
        yield warning("poses_masks", f"The driving masks cover {masked / drawn:.1f} times the area of the rendered "
                                     "poses, but the official masks of poses are as narrow as these: connect the poses "
                                     "to driving_masks of Bind SCAIL-2 Identities too.")


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
