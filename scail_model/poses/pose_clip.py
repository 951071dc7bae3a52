"""Poses as a driving video: rendered as it is read, a few frames at a time."""

from __future__ import annotations

import copy
import hashlib
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction

import numpy as np
from torch import Tensor

from ..media.clips import Clip, Tick
from ..media.sound import Form, Track
from .scene import Scene
from .value import MESH, Poses

_RENDERER = "capsules 1"  # another one would make other pixels of the same poses


class PoseClip(Clip):
    """The pictures of poses, at their own size, with the rate, time stamps and sound of the video that was filmed.

    They are rendered on the CPU, and are the same to the bit on every machine. Raises ValueError for poses with a mesh
    as their look.
    """

    def __init__(self, poses: Poses, tick: Tick = lambda: None) -> None:
        if poses.look.style == MESH:
            raise ValueError("The poses have the look mesh, which only Render SCAIL-2 Poses can make a picture of: "
                             "connect its driving output, or choose the official look.")
        self.poses, self.tick = poses, tick
        self._scene = Scene.of(poses, device="cpu")
        self.height, self.width = poses.size
        filmed = poses.filmed
        self.rate = filmed.rate if filmed else poses.rate
        # a video with other frames than the poses says how fast they are, but not when each is shown
        self._timed = filmed if filmed and len(filmed) == poses.frames else None
        self.variable = self._timed.variable if self._timed else False
        self.warnings = list(self._timed.warnings) if self._timed else []

    def __len__(self) -> int:
        return self.poses.frames

    @property
    def filmed(self) -> Clip:
        return self._timed.ticking(self.tick) if self._timed else self

    def read(self, start: int, stop: int) -> Tensor:
        return self._scene.frames(start, stop, self.tick)[0]

    def times(self) -> np.ndarray:
        return self._timed.times() if self._timed and self._timed.rate else super().times()

    def sound(self, seconds: Fraction, form: Form | None = None) -> AbstractContextManager[Track | None]:
        filmed = self.poses.filmed
        return filmed.sound(seconds, form) if filmed else nullcontext()

    def digest(self) -> str:
        filmed = self.poses.filmed
        values = _RENDERER, self.poses.digest(), self.rate, filmed and filmed.ticking(self.tick).digest()
        return hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()

    def ticking(self, tick: Tick) -> PoseClip:
        other = copy.copy(self)
        other.tick = tick
        return other
