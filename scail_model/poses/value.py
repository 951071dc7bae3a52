"""Poses: where the joints of several people are, frame by frame, and how they are drawn.

Detectors give them (`nlf.py`, `mhr.py`, `keypoints.py`), and a driving video and its masks are rendered from them
(`scene.py`). Joints are in the order of OpenPose's 18 body points:

    0 nose (of NLF and SAM3D Body: the head)   1 neck
    2, 3, 4 right shoulder, elbow, wrist       5, 6, 7 left shoulder, elbow, wrist
    8, 9, 10 right hip, knee, ankle            11, 12, 13 left hip, knee, ankle
    14, 15 right and left eye                  16, 17 right and left ear
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from ..geometry import cover_map
from ..masks import NAMES, PEOPLE_LIMIT, given_name, title
from ..media.clips import Clip

JOINTS = 18
# Points of a picture: 18 of the body, 6 of the feet, 68 of the face, 21 of the left hand and 21 of the right hand.
POINTS = 134
FACE, LEFT_HAND, RIGHT_HAND = slice(24, 92), slice(92, 113), slice(113, 134)
SMPL_JOINTS = 24
# SMPL's joint of each of the first 14 joints here. It has no eyes and no ears.
_FROM_SMPL = (15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7)

FIELD_OF_VIEW = 55.0  # degrees over the longer side: NLF's, and so the official renderer's

OFFICIAL, MESH = "official", "mesh"


class Mesh(Protocol):
    """Body surfaces of the same people (`mesh.py`). faces: int64 [F, 3]."""

    faces: Tensor

    def vertices(self, frame: int) -> Sequence[Tensor | None]:
        """Of each person, float32 [V, 3] in millimetres before the camera; None who is not there."""
        ...

    def digest(self) -> str:
        """Hexadecimal; another one for other surfaces."""
        ...

    def select(self, people: Sequence[int]) -> Mesh: ...

    def picked(self, frames: Sequence[int]) -> Mesh: ...


@dataclass(frozen=True)
class Look:
    """How poses are drawn. style: OFFICIAL capsules, or a MESH. face, hands: whether their points are drawn on it."""

    style: str = OFFICIAL
    face: bool = True
    hands: bool = True


@dataclass(frozen=True)
class Poses:
    """People before a camera in T frames, sorted by label.

    joints: float32 [T, P, 18, 3], millimetres, x right, y down, z away from the camera. An unknown joint is all zero,
    and so is a person who is not in a frame. size: (height, width) of the pictures, in pixels. cameras: float64 [P, 4],
    for each person focal lengths and centre (fx, fy, cx, cy) in pixels; they differ only after retargeting. labels:
    palette index of each person, 1..6. points: float32 [T, P, 134, 2], pixels (x, y), with scores [T, P, 134] in 0..1,
    0 for unknown ones; both None without detail. filmed: the driving video, which gives rate, time stamps and sound;
    rate: frames per second of poses without one. notes: remarks for reports.
    """

    joints: Tensor
    size: tuple[int, int]
    cameras: Tensor
    labels: tuple[int, ...]
    names: tuple[str, ...]
    points: Tensor | None = None
    scores: Tensor | None = None
    mesh: Mesh | None = None
    look: Look = Look()
    filmed: Clip | None = None
    notes: tuple[str, ...] = ()
    rate: Fraction | None = None

    @classmethod
    def of(cls, joints: Tensor, size: tuple[int, int], *, labels: Sequence[int] = (), names: Sequence[str] = (),
           camera: tuple[float, float, float, float] | None = None) -> Poses:
        """Poses from joints alone. labels: 1, 2, ... if empty. camera: the official one if None, the same for all.

        Raises ValueError for another shape of joints, and for more people than there are colours.
        """
        if joints.ndim != 4 or joints.shape[2:] != (JOINTS, 3):
            raise ValueError(f"The joints have shape {list(joints.shape)}, but it must be [frames, people, {JOINTS}, "
                             "3]: convert them first.")
        people = joints.shape[1]
        if people > PEOPLE_LIMIT:
            raise ValueError(f"There are {people} people in the poses, but only {PEOPLE_LIMIT} have colours: bind "
                             "fewer.")
        labels = tuple(labels) or tuple(range(1, people + 1))
        row = official_camera(*size) if camera is None else camera
        return cls(joints.float(), size, torch.tensor([row] * people, dtype=torch.float64).reshape(people, 4), labels,
                   tuple(names) or tuple(NAMES[label - 1] for label in labels))

    @property
    def frames(self) -> int:
        return len(self.joints)

    @property
    def people(self) -> int:
        return self.joints.shape[1]

    @property
    def seen(self) -> Tensor:
        """Who is in which frame, bool [T, P]: with a joint or a point."""
        seen = (self.joints != 0).any(-1).any(-1)
        return seen if self.scores is None else seen | (self.scores > 0).any(-1)

    @property
    def given_names(self) -> tuple[str, ...]:
        """Names that somebody chose; empty for people named after their colour."""
        return tuple(map(given_name, self.labels, self.names))

    def title(self, person: int) -> str:
        """Display name of a person: "blue", or "Anna (blue)" if it has a name."""
        return title(self.labels[person], self.names[person])

    def picked(self, frames: Sequence[int]) -> Poses:
        """The frames with these numbers, in this order. `filmed` stays as it is."""
        index = torch.as_tensor(frames, dtype=torch.long)
        return replace(self, joints=self.joints[index], points=None if self.points is None else self.points[index],
                       scores=None if self.scores is None else self.scores[index],
                       mesh=None if self.mesh is None else self.mesh.picked(frames))

    def select(self, people: Iterable[int]) -> Poses:
        """The people with these indices, in this order."""
        kept = list(people)
        return replace(self, joints=self.joints[:, kept], cameras=self.cameras[kept],
                       labels=tuple(self.labels[person] for person in kept),
                       names=tuple(self.names[person] for person in kept),
                       points=None if self.points is None else self.points[:, kept],
                       scores=None if self.scores is None else self.scores[:, kept],
                       mesh=None if self.mesh is None else self.mesh.select(kept))

    def covering(self, height: int, width: int) -> Poses:
        """The same people in pictures of another size, scaled and cropped as `geometry.cover_crop` does it."""
        (across, down), (left, top) = cover_map(self.size, height, width)
        scale, shift = torch.tensor([across, down]), torch.tensor([left, top])
        cameras = self.cameras * torch.cat([scale, scale]) - torch.cat([torch.zeros(2), shift])
        points = None if self.points is None else self.points * scale - shift
        return replace(self, size=(height, width), cameras=cameras, points=points)

    def digest(self) -> str:
        """Hexadecimal hash of everything that decides the pixels; rate, names, notes and `filmed` do not count."""
        hashed = hashlib.blake2b(repr((self.joints.shape, self.size, self.labels, self.look)).encode(), digest_size=16)
        for values in (self.joints, self.cameras, self.points, self.scores):
            hashed.update(b"none" if values is None else values.cpu().contiguous().numpy().tobytes())
        hashed.update(b"" if self.mesh is None else self.mesh.digest().encode())
        return hashed.hexdigest()


def official_camera(height: int, width: int) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) in pixels of the official renderer: 55 degrees over the longer side, looking at the centre."""
    focal = max(height, width) / (2 * math.tan(math.radians(FIELD_OF_VIEW / 2)))
    return focal, focal, width / 2, height / 2


def from_smpl(joints: Tensor) -> Tensor:
    """SMPL's 24 joints [..., 24, 3] -> 18 joints [..., 18, 3]; eyes and ears are unknown."""
    made = joints.new_zeros((*joints.shape[:-2], JOINTS, 3))
    made[..., : len(_FROM_SMPL), :] = joints[..., list(_FROM_SMPL), :]
    return made
