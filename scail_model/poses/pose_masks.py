"""Poses as driving masks: who is seen where in their pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ..identity.mask_set import pack_frames
from ..identity.mask_sources import DRIVING, Source
from ..media.clips import Tick
from .mesh import render_mesh_people
from .scene import Scene
from .value import MESH, Poses

_STRETCH = 16  # frames


def driving_source(poses: Poses, tick: Tick = lambda: None) -> Source:
    """The masks of everybody in the poses, with labels and names: what their picture shows of each person, capsules or
    mesh, and their face and hands. Together they are the picture's silhouette, and no two of them overlap.

    Where capsules overlap, the nearest person has the pixel. Faces and hands are drawn over all capsules, and where
    those of two people overlap, they are whose body is nearer. tick is called for each frame.
    """
    numbers = np.arange(1, poses.people + 1, dtype=np.uint8)[:, None, None]

    def frames() -> Iterator[np.ndarray]:
        for people in _people(poses, tick):
            for frame in people.numpy():
                yield frame == numbers  # [P, H, W]

    masks = pack_frames(frames(), poses.frames, poses.people, *poses.size)
    return Source(DRIVING, masks, labels=poses.labels, names=poses.given_names, rendered=True)


def _people(poses: Poses, tick: Tick) -> Iterator[Tensor]:
    """Stretches of frames, uint8 [n, H, W]: 0 nobody, else 1 + the person."""
    scene = None if poses.look.style == MESH else Scene.of(poses, device="cpu")
    for start in range(0, poses.frames, _STRETCH):
        stop = min(start + _STRETCH, poses.frames)
        if scene is not None:
            yield scene.frames(start, stop, tick)[1]
        else:
            for frame in range(start, stop):
                tick()
                yield render_mesh_people(poses, frame, frame + 1)
