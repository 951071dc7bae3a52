"""Limbs, their colours, and the light on them, as in SCAIL-Pose's `nlf_render.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .capsules import Hits
from .footprint import Axes, Limbs, dot, pick

# Joints at the ends of each limb, in drawing order. The official joints have no eyes and ears: no limbs lead there.
LIMBS = ((1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0))

# RGB of each limb. A lone person has the strong colours; several have the pale and the strong ones in turn.
PALE = ((255, 150, 150), (255, 180, 140), (255, 215, 150), (180, 230, 240), (160, 200, 255), (100, 120, 255),
        (200, 255, 100), (100, 255, 100), (140, 255, 180), (120, 140, 255), (180, 90, 255), (190, 120, 255),
        (210, 210, 210))
STRONG = ((255, 20, 20), (255, 60, 0), (255, 110, 0), (0, 230, 255), (0, 130, 255), (0, 70, 255), (160, 255, 40),
          (0, 255, 50), (0, 255, 100), (0, 0, 255), (80, 0, 255), (160, 0, 255), (130, 130, 130))

_AMBIENT, _DIFFUSE, _SPECULAR = 0.3, 0.7, 0.5
_SQUARINGS = 5  # the exponent of the highlight is 32

_NEAREST, _FARTHEST, _DEEPER = 0.1, 20_000.0, 6_000.0  # mm
_SHORTEST_RAY, _LONGEST_RAY = 10_000.0, 25_000.0  # mm


@dataclass(frozen=True)
class DepthRange:
    """Depths in mm, of all limbs of a clip: between near and far, colours fade to black. A ray longer than stop meets
    nothing."""

    near: float
    far: float
    stop: float

    @classmethod
    def of(cls, limbs: Limbs) -> DepthRange:
        if not len(limbs):
            return cls(_NEAREST, _FARTHEST, _SHORTEST_RAY)
        depth = torch.cat((limbs.start[:, 2], limbs.end[:, 2]))
        least, most = depth.min().item(), depth.max().item()
        return cls(max(least, _NEAREST), min(most + _DEEPER, _FARTHEST),
                   max(min(most, _LONGEST_RAY), _SHORTEST_RAY))


def limb_colours(people: int) -> Tensor:
    """The colour of each limb of each person, float64 [P, 13, 3], as the light meets it."""
    palettes = (STRONG,) if people == 1 else (PALE, STRONG)
    levels = torch.tensor([palettes[person % len(palettes)] for person in range(people)], dtype=torch.float64)
    return levels.reshape(people, len(LIMBS), 3) / 300 + 0.15


def shaded(limbs: Limbs, hits: Hits, base: Tensor, depths: DepthRange, height: int, width: int) -> Tensor:
    """The pixels of the hits, uint8 [n, 3]: light from the camera, with a highlight, darker with depth.

    base: the colour of each hit's limb, float64 [n, 3].
    """
    place = hits.pixel % (height * width)
    fx, fy, cx, cy = pick(limbs.camera, hits.limb).unbind(-1)
    u, v = (place % width - cx) / fx, (place // width - cy) / fy
    shrink = (u * u + (v * v + 1)).rsqrt()
    depth = torch.where(hits.depth < 0, 0.1 * shrink, hits.depth)
    normal = _normals(limbs.axis, hits.limb, torch.stack((u * depth, v * depth, depth), -1))
    half = torch.stack((-u * shrink, -v * shrink, -shrink - 1), -1)
    highlight = (dot(normal, half) * dot(half, half).rsqrt()).clamp(min=0)
    for _ in range(_SQUARINGS):
        highlight = highlight * highlight
    diffuse = _AMBIENT + _DIFFUSE * (-normal[:, 2]).clamp(min=0)
    fade = (1 - (depth - depths.near) / (depths.far - _NEAREST)).clamp(0, 1)
    light = (base * diffuse[:, None] + (_SPECULAR * highlight)[:, None]) * fade[:, None]
    return (light.clamp(0, 1) * 255).to(torch.uint8)  # cut off, not rounded


def _normals(axis: Axes, which: Tensor, point: Tensor) -> Tensor:
    """Away from the axis of each point's capsule, float64 [n, 3] of length 1."""
    away, direction = point - pick(axis.start, which), pick(axis.direction, which)
    along = dot(away, direction).clamp(min=0).minimum(pick(axis.length, which))
    away = away - along[:, None] * direction
    return away * dot(away, away).clamp(min=1e-300).rsqrt()[:, None]
