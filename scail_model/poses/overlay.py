"""Face, hands and cheeks, drawn over the capsules as SCAIL-Pose draws what DWPose has found.

By OpenCV itself, so that every pixel is equal. Each person is a small picture of flat colours, neither antialiased nor
blended.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..opencv import opencv
from .detections import LEAST_SCORE
from .value import FACE, LEFT_HAND, POINTS, RIGHT_HAND, Look

Colour = tuple[float, float, float]

_SURE = np.float32(LEAST_SCORE)
_FARTHEST = 2**14  # pixels: points farther out count as unknown; OpenCV's coordinates have 16 bits before the point

_THICK = 4  # pixels at every size: half the width of a cheek, and the radius of its discs
_CHEEKS: tuple[tuple[int, int, Colour], ...] = (  # dimmed to 0.6
    (0, 14, (51, 0, 153)), (14, 16, (102, 0, 153)), (0, 15, (153, 0, 153)), (15, 17, (153, 0, 102)))
_DISCS: dict[int, Colour] = {0: (255, 0, 0), 14: (170, 0, 255), 15: (255, 0, 255), 16: (255, 0, 170), 17: (255, 0, 85)}

# ends of each edge of a hand: the wrist, and four joints of each finger
_FINGERS = tuple((4 * finger + joint if joint else 0, 4 * finger + joint + 1)
                 for finger in range(5) for joint in range(4))
_EDGE_COLOURS = tuple(tuple(255 * level for level in colorsys.hsv_to_rgb(edge / 20, 1, 1)) for edge in range(20))
_JOINT_COLOUR: Colour = (0, 0, 255)

_BROWS_EYES_MOUTH = (*range(17, 27), *range(36, 68))  # of a face's 68 points: neither outline nor nose
_FACE_COLOUR: Colour = (255, 255, 255)

_MARGIN = 8  # pixels, more than a drawing reaches beyond its points


class Drawing(NamedTuple):
    """One person's drawing: pixels uint8 [h, w, 3], black where nothing is drawn, and where they are in the picture."""

    rows: slice
    columns: slice
    pixels: np.ndarray


def drawing(points: np.ndarray, scores: np.ndarray, height: int, width: int, look: Look) -> Drawing | None:
    """Points [134, 2] of one person in pixels, with scores [134]; None where nothing is to be drawn. Cheeks are part of
    the face."""
    known = np.all(np.abs(points) < _FARTHEST, axis=-1)  # NaN is not
    points = np.where(known[:, None], points, 0).astype(np.float64)
    places = points.astype(np.int64)  # cut off, not rounded
    sure = known & (scores >= _SURE) & (places >= 1).all(-1)
    cheeks = known & (scores > _SURE)
    shown = np.zeros(POINTS, bool)
    if look.face:
        shown[list(_DISCS)] = cheeks[list(_DISCS)]
        shown[FACE] = sure[FACE]
    if look.hands:
        for hand in (LEFT_HAND, RIGHT_HAND):
            shown[hand] = sure[hand]
    if not shown.any():
        return None
    left, top = (places[shown].min(0) - _MARGIN).clip(0)
    right, bottom = np.minimum(places[shown].max(0) + _MARGIN + 1, (width, height))
    if left >= right or top >= bottom:
        return None
    canvas = _Canvas(opencv(), np.zeros((bottom - top, right - left, 3), np.uint8), int(left), int(top))
    size, moved, certain = min(max(min(height, width) // 300, 1), 2), (places - (left, top)).tolist(), sure.tolist()
    if look.face:
        canvas.cheeks(points, moved, cheeks.tolist())
    for hand in (LEFT_HAND, RIGHT_HAND) if look.hands else ():
        canvas.hand(moved[hand], certain[hand], size)
    if look.face:
        canvas.face(moved[FACE], certain[FACE], size)
    return Drawing(slice(int(top), int(bottom)), slice(int(left), int(right)), canvas.pixels)


class _Canvas(NamedTuple):
    """A cut-out of the picture, whose corner is at `left` and `top`. It ends before the picture does only where nothing
    is drawn, so OpenCV cuts off what it would cut off there. Points are (x, y) in the cut-out."""

    cv2: ModuleType
    pixels: np.ndarray
    left: int
    top: int

    def disc(self, place: list[int], radius: int, colour: Colour) -> None:
        self.cv2.circle(self.pixels, place, radius, colour, -1)

    def cheeks(self, points: np.ndarray, moved: list[list[int]], known: list[bool]) -> None:
        """points: in the picture, with their fractions."""
        for one, other, colour in _CHEEKS:
            if known[one] and known[other]:
                across, down = points[one] - points[other]
                half, angle = int((across**2 + down**2) ** 0.5 / 2), int(math.degrees(math.atan2(down, across)))
                x, y = (points[one] + points[other]) / 2
                centre = int(x) - self.left, int(y) - self.top
                ellipse = self.cv2.ellipse2Poly(centre, (half, _THICK), angle, 0, 360, 1)
                self.cv2.fillConvexPoly(self.pixels, ellipse, colour)
        for point, colour in _DISCS.items():
            if known[point]:
                self.disc(moved[point], _THICK, colour)

    def hand(self, places: list[list[int]], known: list[bool], size: int) -> None:
        for (one, other), colour in zip(_FINGERS, _EDGE_COLOURS, strict=True):
            if known[one] and known[other]:
                self.cv2.line(self.pixels, places[one], places[other], colour, size)
        for place, sure in zip(places, known, strict=True):
            if sure:
                self.disc(place, size, _JOINT_COLOUR)

    def face(self, places: list[list[int]], known: list[bool], size: int) -> None:
        for point in _BROWS_EYES_MOUTH:
            if known[point]:
                self.disc(places[point], size, _FACE_COLOUR)


def drawings(points: np.ndarray, scores: np.ndarray, height: int, width: int,
             look: Look) -> Iterator[tuple[int, Drawing]]:
    """Index and drawing of each person of whom something is drawn; points [P, 134, 2], scores [P, 134]."""
    for person in range(len(points)):
        drawn = drawing(points[person], scores[person], height, width, look)
        if drawn is not None:
            yield person, drawn


def added(parts: Sequence[Drawing], height: int, width: int) -> np.ndarray:
    """Drawings on black, uint8 [H, W, 3]. Where two overlap, their levels are added modulo 256, as the original does
    it."""
    canvas = np.zeros((height, width, 3), np.uint8)
    for part in parts:
        canvas[part.rows, part.columns] += part.pixels
    return canvas
