"""People as detectors report them: in every frame some, in any order.

`matching.py` and `linking.py` find out who is who; `reading.py` makes poses of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .value import JOINTS, POINTS

# What a place in the list of a frame's people says.
ANY, STEADY, SETTLED = "nothing", "the same person in every frame", "the person of that number"

LEAST_SCORE = 0.3  # below, a point is a guess: it is not drawn, and tells nothing

# Other units of length, how large a body in them can be, and what makes millimetres of them.
_SMALL_UNITS = ("metres", 20.0, 1000), ("centimetres", 250.0, 10)
_TELLING = 5  # known joints: fewer may lie close together
_FURTHEST = 1e7  # millimetres

Camera = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


@dataclass(frozen=True)
class Detail:
    """Points of faces, hands and bodies. frames: for each frame, points float32 [n, 134, 2] in pixels (x, y) of
    pictures of a size (height, width), and scores [n, 134] in 0..1, 0 for unknown ones. Points as in `Poses`."""

    frames: tuple[tuple[Tensor, Tensor], ...]
    size: tuple[int, int]

    def resized(self, size: tuple[int, int]) -> Detail:
        """The same for pictures of another size."""
        if size == self.size:
            return self
        factors = torch.tensor([size[1] / self.size[1], size[0] / self.size[0]])
        return Detail(tuple((points * factors, scores) for points, scores in self.frames), size)


@dataclass(frozen=True)
class Bodies:
    """Bodies before one camera. frames: for each frame float32 [n, 18, 3], joints as in `Poses`. size: (height, width)
    of the pictures. order: what a place in the list says, ANY, STEADY or SETTLED. detail: points of the same people in
    the same order, where the detector gives some. given: what they were read from, if that has their surfaces. notes:
    remarks for reports."""

    frames: tuple[Tensor, ...]
    size: tuple[int, int]
    camera: Camera
    order: str = ANY
    detail: Detail | None = None
    given: Any = None
    notes: tuple[str, ...] = ()

    def resized(self, size: tuple[int, int]) -> Bodies:
        """The same before pictures of another size."""
        if size == self.size:
            return self
        across, down = size[1] / self.size[1], size[0] / self.size[0]
        fx, fy, cx, cy = self.camera
        return replace(self, size=size, camera=(fx * across, fy * down, cx * across, cy * down),
                       detail=self.detail and self.detail.resized(size))


def numbers(value: Any) -> np.ndarray:
    """A tensor on any device, in any precision, or an array, as float64. Raises TypeError or ValueError for others."""
    return np.asarray(value.detach().cpu().double() if isinstance(value, Tensor) else value, np.float64)


def known(joints: Tensor) -> Tensor:
    """Which joints [..., 3] are known, bool [...]."""
    return (joints != 0).any(-1)


def finite(joints: Tensor) -> Tensor:
    """Joints [..., 3] in float32 on the CPU; those that are nowhere become unknown."""
    joints = joints.detach().to("cpu", torch.float32)
    return torch.where(_somewhere(joints)[..., None], joints, torch.zeros(()))


def not_finite_note(frames: Iterable[Tensor]) -> tuple[str, ...]:
    """What a report says of joints [..., 3] that are nowhere."""
    count = sum(int((~_somewhere(joints)).sum()) for joints in frames)
    return (f"{count} joints are not finite, or kilometres away, and count as unknown",) if count else ()


def _somewhere(joints: Tensor) -> Tensor:
    """Which joints [..., 3] are finite and not absurdly far, bool [...]."""
    return (joints.abs() < _FURTHEST).all(-1)  # not of NaN either


def check_unit(frames: Iterable[Tensor], name: str) -> None:
    """Raise ValueError if most bodies, [n, J, 3] for each frame, are too small for millimetres. name: what has them."""
    spans = []
    for person in (person for people in frames for person in people):
        there = person[known(person) & torch.isfinite(person).all(-1)]
        if len(there) >= _TELLING:
            spans.append(float((there.amax(0) - there.amin(0)).norm()))
    for unit, largest, factor in _SMALL_UNITS:
        if spans and median(spans) < largest:
            raise ValueError(f"The bodies in {name} measure {median(spans):.2g} mm, so they seem to be in {unit}: "
                             f"multiply the joints by {factor}.")


def project(joints: Tensor, camera: Camera | Tensor) -> Tensor:
    """Joints [..., 3] in millimetres -> pixels (x, y) [..., 2]; NaN for unknown joints and those behind the camera.

    camera: fx, fy, cx, cy; or a tensor [..., 4] that broadcasts over the joints.
    """
    fx, fy, cx, cy = torch.as_tensor(camera, dtype=joints.dtype).unbind(-1)
    seen = known(joints) & (joints[..., 2] > 0)
    depth = torch.where(seen, joints[..., 2], torch.nan)
    return torch.stack((fx * joints[..., 0] / depth + cx, fy * joints[..., 1] / depth + cy), -1)


def gathered(frames: Sequence[Tensor], chosen: Tensor) -> Tensor:
    """Values of the chosen ones: frames [n, ...] each, chosen int64 [T, P], -1 for nobody -> [T, P, ...], 0 there."""
    made = torch.zeros((*chosen.shape, *frames[0].shape[1:]))
    for values, row, target in zip(frames, chosen, made, strict=True):
        there = row >= 0
        target[there] = values[row[there]]
    return made


def nobody() -> Tensor:
    """A frame without a body, [0, 18, 3]."""
    return torch.zeros(0, JOINTS, 3)


def no_points() -> tuple[Tensor, Tensor]:
    """A frame without points."""
    return torch.zeros(0, POINTS, 2), torch.zeros(0, POINTS)
