"""Poses -> pictures, and who is where in them.

What a frame takes from the whole clip, its depth range, is known before the first frame: so frames are rendered a few
at a time, in any order, and are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from . import shading
from .capsules import first_hits
from .footprint import Limbs
from .overlay import added, drawings
from .shading import LIMBS, DepthRange
from .value import Poses

_PIXELS, _GPU_PIXELS = 2**19, 2**23  # of the frames that are rendered at once


@dataclass(frozen=True)
class Scene:
    """All capsules of a clip, and its poses with cameras and points at the size of the pictures, height x width.
    colours: of each limb of each person, float64 [P, 13, 3]. begins: which capsule is the first of each frame, and how
    many there are."""

    poses: Poses
    height: int
    width: int
    limbs: Limbs
    depths: DepthRange
    colours: Tensor
    begins: tuple[int, ...]

    @classmethod
    def of(cls, poses: Poses, height: int, width: int, device: torch.device | str | None = None) -> Scene:
        """device: where capsules are rendered, None for where the joints are. The result does not depend on it."""
        poses = _scaled(poses, height, width)
        joints = poses.joints.to(device)
        limbs = limbs_of(joints, poses.cameras.to(joints.device))
        begins = (0, *limbs.frame.bincount(minlength=poses.frames).cumsum(0).tolist())
        return cls(poses, height, width, limbs, DepthRange.of(limbs), shading.colours(poses.people).to(joints.device),
                   begins)

    def frames(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Frames start..stop: pictures uint8 [n, H, W, 3], and uint8 [n, H, W] which person each pixel shows: 0 nobody,
        else 1 + index."""
        pixels = torch.empty(stop - start, self.height, self.width, 3, dtype=torch.uint8)
        people = torch.empty(pixels.shape[:-1], dtype=torch.uint8)
        on_cpu = self.limbs.frame.device.type == "cpu"
        stretch = max(1, (_PIXELS if on_cpu else _GPU_PIXELS) // (self.height * self.width))
        for first in range(start, stop, stretch):
            part = slice(first - start, min(first + stretch, stop) - start)
            self._render(first, pixels[part], people[part])
        return pixels, people

    def _render(self, start: int, pixels: Tensor, people: Tensor) -> None:
        """Fill pictures and people of the frames from `start` on."""
        limbs, size = self._part(start, start + len(pixels)), len(pixels) * self.height * self.width
        hits = first_hits(limbs, len(pixels), self.height, self.width, self.depths.stop)
        base = self.colours[limbs.person[hits.limb], limbs.limb[hits.limb]]
        flat = base.new_zeros(size, 3, dtype=torch.uint8)
        flat[hits.pixel] = shading.shaded(limbs, hits, base, self.depths, self.height, self.width)
        pixels.copy_(flat.view_as(pixels))
        flat = flat.new_zeros(size)
        flat[hits.pixel] = (limbs.person[hits.limb] + 1).to(torch.uint8)
        people.copy_(flat.view_as(people))
        for frame, (picture, shown) in enumerate(zip(pixels.numpy(), people.numpy(), strict=True), start):
            self._draw(frame, picture, shown)

    def _part(self, start: int, stop: int) -> Limbs:
        """The capsules of frames start..stop, with these frames counted from 0."""
        limbs, part = self.limbs, slice(self.begins[start], self.begins[stop])
        return Limbs(limbs.start[part], limbs.end[part], limbs.camera[part], limbs.frame[part] - start,
                     limbs.person[part], limbs.limb[part])

    def _draw(self, frame: int, picture: np.ndarray, people: np.ndarray) -> None:
        """Paste faces and hands over a frame, per channel where they are not 0."""
        points, scores = self.poses.points, self.poses.scores
        if points is None or scores is None:
            return
        drawn = dict(drawings(points[frame].numpy(), scores[frame].numpy(), self.height, self.width, self.poses.look))
        overlay = added(list(drawn.values()), self.height, self.width)
        for person in self._back_to_front(frame, drawn):
            rows, columns, own = drawn[person]
            part = overlay[rows, columns]
            np.copyto(picture[rows, columns], part, where=part != 0)
            people[rows, columns][own.any(-1)] = person + 1

    def _back_to_front(self, frame: int, people: Iterable[int]) -> list[int]:
        """People by the mean depth of their joints; those without joints are at the back."""
        joints = self.poses.joints[frame]  # [P, 18, 3]
        known = _known(joints)
        depth = torch.where(known, joints[..., 2], 0).sum(-1) / known.sum(-1)
        return sorted(people, key=lambda person: float(depth[person].nan_to_num(torch.inf)), reverse=True)


def limbs_of(joints: Tensor, cameras: Tensor) -> Limbs:
    """The capsules of joints [T, P, 18, 3] before cameras [P, 4]. A limb that lacks a joint is left out."""
    ends = torch.tensor(LIMBS, device=joints.device).T
    frame, person, limb = _known(joints)[..., ends].all(-2).nonzero(as_tuple=True)
    places = joints.double()
    return Limbs(places[frame, person, ends[0, limb]], places[frame, person, ends[1, limb]], cameras[person], frame,
                 person, limb)


def _known(joints: Tensor) -> Tensor:
    """Which joints [..., 3] are drawn: finite ones. The official renderer takes a joint for missing if its coordinates
    add up to 0; so does this one, to give the same picture."""
    return joints.isfinite().all(-1) & ((joints[..., 0] + joints[..., 1]) + joints[..., 2] != 0)


def _scaled(poses: Poses, height: int, width: int) -> Poses:
    """The same poses in pictures of another size."""
    down, across = height / poses.size[0], width / poses.size[1]
    points = None if poses.points is None else poses.points * poses.points.new_tensor((across, down))
    cameras = poses.cameras * poses.cameras.new_tensor((across, down, across, down))
    return replace(poses, size=(height, width), cameras=cameras, points=points)
