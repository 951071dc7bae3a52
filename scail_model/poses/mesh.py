"""Body surfaces of people: read from SAM3D Body's answer, and rasterised to who is seen at which pixel.

Conventions are those of ComfyUI's `SAM3DBody_Render`, so that its picture and these masks lie on each other: pixels are
sampled at their centres, (x + 0.5, y + 0.5); a triangle counts with its edges, from both sides; one with a corner
nearer than 5 cm is left out. Other than there, sums are in float64, depth is exact in perspective, and a triangle is
never lost for being small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .detections import numbers
from .footprint import pick
from .mhr import focal_of
from .value import Poses

NEAREST = 50.0  # millimetres

# Pixels of triangles' boxes that are looked at together, at about 150 bytes each. On a CPU as many as torch computes
# without threads: they would wait for each other, which on a busy machine takes ten times as long.
_CPU_STRETCH, _GPU_STRETCH = 1 << 14, 1 << 20


@dataclass(frozen=True)
class _Surface:
    """One person in one frame. vertices: [V, 3] in metres, before the offset (3,), in metres too. depth: what z is
    multiplied by, for a focal length other than the person's camera has."""

    vertices: Any
    offset: np.ndarray
    depth: float

    def millimetres(self) -> Tensor:
        placed = numbers(self.vertices).reshape(-1, 3) + self.offset
        placed[:, 2] *= self.depth
        return torch.from_numpy((placed * 1000).astype(np.float32))


@dataclass(frozen=True)
class BodyMesh:
    """Surfaces of P people in T frames with the same triangles. faces: int64 [F, 3], indices of vertices."""

    faces: Tensor
    surfaces: tuple[tuple[_Surface | None, ...], ...]

    def vertices(self, frame: int) -> list[Tensor | None]:
        """Of each person, float32 [V, 3] in millimetres before the camera; None who is not there."""
        return [surface and surface.millimetres() for surface in self.surfaces[frame]]

    def picked(self, frames: Sequence[int]) -> BodyMesh:
        return replace(self, surfaces=tuple(self.surfaces[frame] for frame in frames))

    def select(self, people: Sequence[int]) -> BodyMesh:
        kept = tuple(tuple(frame[person] for person in people) for frame in self.surfaces)
        return replace(self, surfaces=kept)

    def digest(self) -> str:
        """Hexadecimal hash of triangles and vertices."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        hashed = hashlib.blake2b(self.faces.numpy().tobytes(), digest_size=16)
        for surface in (each for frame in self.surfaces for each in frame):
            values = (None,) if surface is None else (surface.vertices, surface.offset, surface.depth)
            for value in values:
                hashed.update(b"none" if value is None else numbers(value).astype(np.float32).tobytes())
        return hashed.hexdigest()


def mhr_mesh(data: Mapping[str, Any], chosen: Tensor, focal: float, shown: Tensor) -> BodyMesh | None:
    """Surfaces out of MHR_POSE_DATA, or None if it holds joints only.

    chosen: int64 [T, P], which detection is which person, or -1; in the frame that `shown`, int64 [T, P], names: an
    earlier one where a pose is held. focal: focal length in pixels of the camera that all are brought to, by their
    depth: seen from it, they lie where they were.
    """
    frames, faces = data["frames"], data.get("faces")
    if faces is None or not all("pred_vertices" in detection for frame in frames for detection in frame):
        return None

    def surface(detection: Mapping[str, Any]) -> _Surface:
        offset = numbers(detection["pred_cam_t"]).reshape(3)
        return _Surface(detection["pred_vertices"], offset, focal / focal_of(detection))

    people = tuple(tuple(surface(frames[frame][detection]) if detection >= 0 else None
                         for detection, frame in zip(*row, strict=True))
                   for row in zip(chosen.tolist(), shown.tolist(), strict=True))
    return BodyMesh(torch.from_numpy(numbers(faces).astype(np.int64)), people)


def render_mesh_people(poses: Poses, start: int, stop: int, device: torch.device | str | None = None) -> Tensor:
    """Who is seen at which pixel in frames start..stop: uint8 [stop - start, H, W], 0 for nobody, else 1 + the index of
    the nearest person.

    Raises ValueError if the poses have no mesh.
    """
    mesh = poses.mesh
    if mesh is None:
        raise ValueError("The poses have no body mesh: read them from SAM3D Body (MHR_POSE_DATA), or use the official "
                         "style.")
    (height, width), cameras, faces = poses.size, poses.cameras.to(device), mesh.faces.to(device)
    people = torch.zeros(stop - start, height * width, dtype=torch.uint8, device=device)
    for row, frame in zip(people, range(start, stop), strict=True):
        nearest = torch.zeros(height * width, dtype=torch.float64, device=device)
        for person, vertices in enumerate(mesh.vertices(frame)):
            if vertices is not None:
                closeness = _closeness(vertices.to(device).double(), faces, cameras[person], height, width)
                row.copy_(torch.where(closeness > nearest, person + 1, row))
                nearest = torch.maximum(nearest, closeness)
    return people.view(-1, height, width)


def _closeness(vertices: Tensor, faces: Tensor, camera: Tensor, height: int, width: int) -> Tensor:
    """1 / z of the surface at every pixel, float64 [height * width]; 0 where there is none."""
    x, y, depth = vertices.unbind(1)
    corners = torch.stack([x / depth * camera[0] + camera[2] - 0.5, y / depth * camera[1] + camera[3] - 0.5, 1 / depth])
    usable = (depth > NEAREST) & corners[0].isfinite() & corners[1].isfinite()
    closeness = torch.zeros(height * width, dtype=torch.float64, device=faces.device)
    on_cpu = faces.device.type == "cpu"
    for part in faces.split(_CPU_STRETCH // 9 if on_cpu else len(faces)):
        part = pick(part, pick(usable, part.flatten()).view(-1, 3).all(1).nonzero()[:, 0])
        triangles = pick(corners, part.flatten(), 1).view(3, -1, 3).permute(1, 2, 0)  # [F, 3 corners, 3]
        first, boxes = _boxes(triangles, height, width)
        counts = boxes[:, 0] * boxes[:, 1]
        kept = counts.nonzero()[:, 0]  # many small triangles hold no pixel's centre
        triangles, first, boxes, counts = (pick(values, kept) for values in (triangles, first, boxes, counts))
        for some in _parts(counts, _CPU_STRETCH if on_cpu else _GPU_STRETCH):
            _fill(closeness, width, triangles[some], first[some], boxes[some], counts[some])
    return closeness


def _boxes(triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The first column and row whose pixel centres lie in a triangle's box, and how many do: int64 [F, 2] each."""
    size = torch.tensor([width, height], dtype=torch.float64, device=triangles.device)
    low, high = triangles[..., :2].amin(1), triangles[..., :2].amax(1)
    # ceil and floor, without the threads that they start; a box may be larger than needed
    first = size.long() - (size - torch.minimum(low, size).clamp(min=0)).long()
    last = (torch.minimum(high, size - 1).clamp(min=-1) + 1).long() - 1
    return first, (last - first + 1).clamp(min=0)


def _parts(counts: Tensor, most: int) -> list[slice]:
    """Stretches of triangles with at most about `most` pixels together, at least one triangle each."""
    groups = (counts.cumsum(0) - 1) // most
    sizes = torch.unique_consecutive(groups, return_counts=True)[1].tolist()
    ends = np.cumsum(sizes)
    return [slice(end - size, end) for end, size in zip(ends.tolist(), sizes, strict=True)]


def _fill(closeness: Tensor, width: int, corners: Tensor, first: Tensor, boxes: Tensor, counts: Tensor) -> None:
    """Raise 1 / z at every pixel whose centre lies in a triangle. corners: [F, 3, 3], first, boxes: [F, 2]."""
    stops = counts.cumsum(0)
    begins = stops - counts
    owner = counts.new_zeros(int(stops[-1]))
    owner = owner.scatter(0, begins[1:], 1).cumsum(0)  # [n]; repeat_interleave would start a thread on every core
    place = torch.arange(len(owner), device=counts.device) - pick(begins, owner)
    across = pick(boxes[:, 0], owner)
    x, y = pick(first[:, 0], owner) + place % across, pick(first[:, 1], owner) + place // across
    right = [pick(corners[:, corner, 0], owner) - x for corner in range(3)]  # [n] each, from the pixel to each corner
    down = [pick(corners[:, corner, 1], owner) - y for corner in range(3)]
    # The areas opposite to each corner. Seen from the pixel, an edge of two triangles gives both the same value but for
    # its sign, so that no pixel falls between them.
    a, b, c = (right[j] * down[k] - down[j] * right[k] for j, k in ((1, 2), (2, 0), (0, 1)))
    whole = a + b + c
    inside = (((a >= 0) & (b >= 0) & (c >= 0)) | ((a <= 0) & (b <= 0) & (c <= 0))) & (whole != 0)
    hit = inside.nonzero()[:, 0]
    near, shares = pick(corners[..., 2], pick(owner, hit)), pick(torch.stack([a, b, c], 1), hit)  # [m, 3] each
    value = (shares * near).sum(1) / pick(whole, hit)
    closeness.scatter_reduce_(0, pick(y * width + x, hit), value, "amax")
