"""Poses -> pictures, and who is where in them.

What a frame takes from the whole clip, its depth range, is known before the first frame: so frames are rendered a few
at a time, in any order, and are the same to the bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..media.clips import Tick
from .capsules import first_hits
from .footprint import Limbs, pick
from .overlay import added, drawings
from .shading import LIMBS, DepthRange, limb_colours, shaded
from .value import Poses

_PIXELS, _GPU_PIXELS = 2**17, 2**23  # of the frames that are rendered at once
_THREADS = 8  # that draw faces and hands


@dataclass(frozen=True)
class Scene:
    """Poses, and all capsules of their clip. colours: of each limb of each person, float64 [P, 13, 3]. begins: which
    capsule is the first of each frame, and how many there are. distances: of each person in each frame, mm."""

    poses: Poses
    limbs: Limbs
    depths: DepthRange
    colours: Tensor
    begins: tuple[int, ...]
    distances: list[list[float]]

    @classmethod
    def of(cls, poses: Poses, device: torch.device | str | None = None) -> Scene:
        """device: where capsules are rendered, None for where the joints are. A GPU rounds roots in another way: a
        pixel may differ by a level there."""
        joints = poses.joints.to(device)
        limbs = limbs_of(joints, poses.cameras.to(joints.device))
        begins = (0, *limbs.frame.bincount(minlength=poses.frames).cumsum(0).tolist())
        return cls(poses, limbs, DepthRange.of(limbs), limb_colours(poses.people).to(joints.device), begins,
                   _distances(poses.joints))

    def frames(self, start: int, stop: int, tick: Tick = lambda: None) -> tuple[Tensor, Tensor]:
        """Frames start..stop: pictures uint8 [n, H, W, 3], and uint8 [n, H, W] which person each pixel shows: 0 nobody,
        else 1 + index. tick is called for each frame."""
        height, width = self.poses.size
        # numpy's zeros cost nothing before they are written
        pixels = torch.from_numpy(np.zeros((stop - start, height, width, 3), np.uint8))
        people = torch.from_numpy(np.zeros((stop - start, height, width), np.uint8))
        on_cpu = self.limbs.frame.device.type == "cpu"
        stretch = max(1, (_PIXELS if on_cpu else _GPU_PIXELS) // (height * width))
        with ThreadPoolExecutor(_THREADS) as threads:
            for first in range(start, stop, stretch):
                frames = range(first, min(first + stretch, stop))
                for _ in frames:
                    tick()
                part = slice(first - start, frames.stop - start)
                self._render(first, pixels[part], people[part])
                if self.poses.points is not None:
                    list(threads.map(self._draw, frames, pixels[part].numpy(), people[part].numpy()))
        return pixels, people

    def _render(self, start: int, pixels: Tensor, people: Tensor) -> None:
        """Draw the capsules of the frames from `start` on into black pictures, and who is where."""
        limbs = self.limbs[self.begins[start] : self.begins[start + len(pixels)]]
        limbs = replace(limbs, frame=limbs.frame - start)
        base, number = self.colours[limbs.person, limbs.limb], (limbs.person + 1).to(torch.uint8)
        flat, numbers = pixels.view(-1, 3).to(base.device), people.view(-1).to(base.device)
        for hits in first_hits(limbs, *self.poses.size, self.depths.stop):
            light = shaded(limbs, hits, pick(base, hits.limb), self.depths, *self.poses.size)
            flat.scatter_(0, hits.pixel[:, None].expand(-1, 3), light)
            lit = light.any(-1)  # 20 m beyond the nearest joint of the clip, all has faded
            numbers.scatter_(0, hits.pixel, pick(number, hits.limb) * lit)
        pixels.copy_(flat.view_as(pixels))  # nothing to copy on a CPU
        people.copy_(numbers.view_as(people))

    def _draw(self, frame: int, picture: np.ndarray, people: np.ndarray) -> None:
        """Paste faces and hands over a frame, per channel where they are not 0."""
        points, scores = self.poses.points, self.poses.scores
        if points is None or scores is None:
            return
        drawn = dict(drawings(points[frame].numpy(), scores[frame].numpy(), *self.poses.size, self.poses.look))
        overlay = added(list(drawn.values()), *self.poses.size)
        for person in sorted(drawn, key=lambda person: -self.distances[frame][person]):  # the farthest first
            rows, columns, own = drawn[person]
            part = overlay[rows, columns]
            np.copyto(picture[rows, columns], part, where=part != 0)
            people[rows, columns][(own[..., 0] | own[..., 1] | own[..., 2]) > 0] = person + 1


def _distances(joints: Tensor) -> list[list[float]]:
    """By frame and person, the mean depth of the joints [T, P, 18, 3]; inf without joints."""
    known = _known(joints)
    depths = torch.where(known, joints[..., 2], 0).sum(-1) / known.sum(-1)
    return depths.nan_to_num(torch.inf).tolist()


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
