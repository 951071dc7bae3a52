"""Faces and hands of the drawn people, as a detector of key points finds them: 134 points for each person."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Point = tuple[float, float]
# angles of the fingers round the direction of the forearm, thumb first, in radians
_FINGERS = (-0.9, -0.4, -0.13, 0.13, 0.4)


def points(body: Tensor, head: tuple[float, float, float]) -> Tensor:
    """One person's points [134, 2] in pixels. body: [24, 2], SMPL's joints in pixels; head: x, y and radius."""
    x, y, radius = head
    eyes = [(x + side * radius * 0.34, y) for side in (-1, 1)]
    ears = [(x + side * radius, y + radius * 0.1) for side in (-1, 1)]
    order = (12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7)
    found = [(x, y + radius * 0.25), *map(tuple, body[list(order)].tolist()), *eyes, *ears]
    found += [tuple(body[joint].tolist()) for joint in (10, 10, 7, 11, 11, 8)]
    found += _face(x, y, radius, eyes)
    for elbow, wrist in ((18, 20), (19, 21)):
        found += _hand(body[elbow].tolist(), body[wrist].tolist())
    return torch.tensor(found, dtype=torch.float32)


def _face(x: float, y: float, radius: float, eyes: list[Point]) -> list[Point]:
    """68 points: jaw, brows, nose, eyes, mouth."""
    jaw = _arc(x, y, radius * 0.85, radius, math.pi, 0.0, 17)
    brows = [point for eye_x, eye_y in eyes
             for point in _arc(eye_x, eye_y, radius * 0.25, -radius * 0.3, math.pi, 0.0, 5)]
    nose = [(x, y + radius * step) for step in (0.0, 0.1, 0.2, 0.3)]
    nose += [(x + radius * step, y + radius * 0.36) for step in (-0.14, -0.07, 0.0, 0.07, 0.14)]
    looks = [point for eye_x, eye_y in eyes for point in _ring(eye_x, eye_y, radius * 0.16, radius * 0.08, 6)]
    mouth = y + radius * 0.6
    return [*jaw, *brows, *nose, *looks, *_ring(x, mouth, radius * 0.3, radius * 0.12, 12),
            *_ring(x, mouth, radius * 0.22, radius * 0.05, 8)]


def _arc(x: float, y: float, wide: float, high: float, first: float, last: float, count: int) -> list[Point]:
    angles = [first + (last - first) * step / (count - 1) for step in range(count)]
    return [(x + wide * math.cos(angle), y + high * math.sin(angle)) for angle in angles]


def _ring(x: float, y: float, wide: float, high: float, count: int) -> list[Point]:
    return _arc(x, y, wide, high, math.pi, 3 * math.pi * (1 - 2 / (3 * count)), count)


def _hand(elbow: list[float], wrist: list[float]) -> list[Point]:
    """21 points: the wrist, then four of each finger."""
    length = math.dist(elbow, wrist) * 0.5
    direction = math.atan2(wrist[1] - elbow[1], wrist[0] - elbow[0])
    return [(wrist[0], wrist[1]), *((wrist[0] + length * part * math.cos(direction + finger),
                                     wrist[1] + length * part * math.sin(direction + finger))
                                    for finger in _FINGERS for part in (0.45, 0.65, 0.85, 1.0))]
