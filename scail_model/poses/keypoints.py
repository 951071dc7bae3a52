"""Points of faces, hands and bodies in pictures, from detectors of other packs.

POSE_KEYPOINT is OpenPose's JSON: a dict for each frame, with flat lists x, y, confidence, in pixels or in 0..1. DWPOSES
is a dict of frames with arrays in 0..1. Both become the 134 points of `Poses`.

Neither says reliably which hand is whose: core's SDPose names the left hand right, DWPose lists all left hands and then
all right ones, and other packs list pairs, right hand first or left hand first. A hand's first point is its wrist, so
the order that lies nearest to the bodies' wrists in the whole clip is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from .detections import Detail, numbers
from .value import FACE, LEFT_HAND, POINTS, RIGHT_HAND

_BODY, _FEET = slice(0, 18), slice(18, 24)
_HAND = 21
_NOSE, _RIGHT_WRIST, _LEFT_WRIST = 0, 4, 7
_NOSE_TIP = 30  # of a face
# OpenPose's 25 body points without the middle of the hips, and then its feet
_OF_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24)
_FACES = {68: slice(0, 68), 70: slice(0, 68), 69: slice(1, 69)}  # pupils last; or a point of the foot first
_PARTS = {"body": ("pose_keypoints_2d", (18, 25)), "feet": ("foot_keypoints_2d", (6,)),
          "face": ("face_keypoints_2d", tuple(_FACES)), "left": ("hand_left_keypoints_2d", (_HAND,)),
          "right": ("hand_right_keypoints_2d", (_HAND,))}
_NORMALISED = 2.0  # points of a picture in 0..1 stay below, with some outside

_FURTHEST = 1e6  # pixels

Points = np.ndarray  # float64 [n, 3]: x, y, score; all 0 for an unknown point


def read_keypoints(value: Any, size: tuple[int, int]) -> Detail:
    """Read POSE_KEYPOINT or DWPOSES. size: (height, width) of the pictures, where the value does not say it.

    Raises ValueError for another value, without frames, and for numbers of points that nobody draws.
    """
    if isinstance(value, Mapping) and "poses" in value:
        return _read_dwposes(value, size)
    frames = [{} if frame is None else frame for frame in ([value] if isinstance(value, Mapping) else _flat(value))]
    if not frames or not all(isinstance(frame, Mapping) for frame in frames):
        raise ValueError("There are no frames of key points: give POSE_KEYPOINT or DWPOSES.")
    if any("animals" in frame and "people" not in frame for frame in frames):
        raise ValueError("The key points are of animals, but faces and hands of people are drawn: give "
                         "people's key points, or nothing.")
    return _read_openpose(frames, size)


def _flat(frames: Any) -> Iterable[Any]:
    """Lists in a list as one list."""
    listed = frames if isinstance(frames, list | tuple) else []
    return chain.from_iterable(frame if isinstance(frame, list | tuple) else [frame] for frame in listed)


def _read_openpose(frames: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Detail:
    canvases = [(_side(frame, "canvas_height"), _side(frame, "canvas_width")) for frame in frames]
    canvas = next((canvas for canvas in canvases if all(canvas)), size)
    people = [[_openpose_person(person, index) for person in _people(frame, index)]
              for index, frame in enumerate(frames)]
    seen = [points[points[:, 2] > 0, :2] for listed in people for points in listed]
    pixels = bool(seen) and bool((np.abs(np.concatenate(seen)) > _NORMALISED).any())
    for listed, own in zip(people, canvases, strict=True):
        height, width = own if all(own) else canvas
        factors = (canvas[1] / width, canvas[0] / height) if pixels else (canvas[1], canvas[0])
        for points in listed:
            points[:, :2] *= factors
    whole = [np.stack(listed) if listed else np.zeros((0, POINTS, 3)) for listed in people]
    named, swapped = (sum(_wrist_distance(points, *hands) for points in whole)
                      for hands in ((LEFT_HAND, RIGHT_HAND), (RIGHT_HAND, LEFT_HAND)))
    if swapped < named:
        for points in whole:
            points[:, LEFT_HAND], points[:, RIGHT_HAND] = points[:, RIGHT_HAND].copy(), points[:, LEFT_HAND].copy()
    return _detail(whole, canvas)


def _side(frame: Mapping[str, Any], name: str) -> int:
    """A side of the picture, 0 where it is not said."""
    side = frame.get(name)
    pixels = float(side) if isinstance(side, int | float | np.number) else 0
    return int(pixels) if 0 < pixels < _FURTHEST else 0


def _people(frame: Mapping[str, Any], index: int) -> Sequence[Mapping[str, Any]]:
    people = frame.get("people") or []
    if not isinstance(people, list | tuple) or not all(isinstance(person, Mapping) for person in people):
        raise ValueError(f"people in frame {index} of the key points is not a list of people: give OpenPose's or "
                         "DWPose's key points.")
    return people


def _openpose_person(person: Mapping[str, Any], frame: int) -> Points:
    """One person of OpenPose's JSON -> [134, 3]."""
    parts = {name: _part(person, name, frame) for name in _PARTS}
    made = np.zeros((POINTS, 3))
    if len(parts["body"]) == 25:
        made[: _FEET.stop] = parts["body"][list(_OF_25)]
    elif len(parts["body"]):
        made[_BODY] = parts["body"]
    for name, places in (("feet", _FEET), ("left", LEFT_HAND), ("right", RIGHT_HAND)):
        if len(parts[name]):
            made[places] = parts[name]
    if len(parts["face"]):
        made[FACE] = parts["face"][_FACES[len(parts["face"])]]
    return made


def _part(person: Mapping[str, Any], name: str, frame: int) -> Points:
    """A part's points [n, 3], [0, 3] where it is missing."""
    key, counts = _PARTS[name]
    found = person.get(key) if isinstance(person, Mapping) else None
    try:
        flat = numbers([] if found is None else found).ravel()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} in frame {frame} of the key points is not a list of numbers ({error}): give "
                         "OpenPose's or DWPose's key points.") from error
    if flat.size and (flat.size % 3 or flat.size // 3 not in counts):
        raise ValueError(f"{key} in frame {frame} of the key points has {flat.size} numbers, but "
                         f"{' or '.join(str(3 * count) for count in counts)} (x, y and confidence of each point) are "
                         "known: give OpenPose's or DWPose's key points.")
    return _valid(flat.reshape(-1, 3).copy())


def _valid(points: Points) -> Points:
    """Points [..., 3] with zeros for those that are missing: no confidence, not finite, negative, or in the corner."""
    inside = (points[..., :2] >= 0) & (points[..., :2] < _FURTHEST)  # not of NaN either
    there = inside.all(-1) & (points[..., :2] > 0).any(-1) & (points[..., 2] > 0) & np.isfinite(points[..., 2])
    points[~there] = 0
    points[..., 2] = points[..., 2].clip(max=1)
    return points


def _wrist_distance(people: np.ndarray, left: slice, right: slice) -> float:
    """How far hands at these places are from the wrists of their bodies, summed up over people [n, 134, 3]."""
    total = 0.0
    for hand, wrist in ((left, _LEFT_WRIST), (right, _RIGHT_WRIST)):
        root, end = people[:, hand.start], people[:, wrist]
        there = (root[:, 2] > 0) & (end[:, 2] > 0)
        total += float(np.linalg.norm(root[there, :2] - end[there, :2], axis=-1).sum())
    return total


def _read_dwposes(value: Mapping[str, Any], size: tuple[int, int]) -> Detail:
    frames = [{} if frame is None else frame for frame in _flat(value["poses"])]
    if not frames or not all(isinstance(frame, Mapping) for frame in frames):
        raise ValueError("There are no frames of key points: give POSE_KEYPOINT or DWPOSES.")
    bodies, hands = zip(*map(_dw_frame, frames, range(len(frames))), strict=True)
    orders = _hand_orders(bool(value.get("swap_hands")))
    costs = [sum(_wrist_distance(_with_hands(body, hand, order), LEFT_HAND, RIGHT_HAND)
                 for body, hand in zip(bodies, hands, strict=True) if len(hand) == 2 * len(body)) for order in orders]
    order = orders[int(np.argmin(costs))]  # the first, which the value declares, where nothing tells
    whole = [_with_hands(body, hand, order) if len(hand) == 2 * len(body) else _with_nearest_hands(body, hand)
             for body, hand in zip(bodies, hands, strict=True)]
    for points in whole:
        points[..., :2] *= size[::-1]
    return _detail(whole, size)


def _hand_orders(right_first: bool) -> list[tuple[bool, bool]]:
    """(in pairs, right hand first): ways to list the hands of several people, the declared one first."""
    return [(True, right_first), (False, right_first), (True, not right_first), (False, not right_first)]


def _dw_frame(frame: Mapping[str, Any], index: int) -> tuple[np.ndarray, np.ndarray]:
    """Bodies and hands of a frame of DWPOSES."""
    try:
        return _dw_bodies(frame), _dw_hands(frame)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Frame {index} of the key points is not one of DWPose ({error}): give DWPOSES with 18 points "
                         f"of the body, 68 of the face and {_HAND} of each hand.") from error


def _dw_bodies(frame: Mapping[str, Any]) -> np.ndarray:
    """Bodies, feet and faces of a frame of DWPOSES, [n, 134, 3]; the hands are still missing."""
    bodies = frame.get("bodies") or {}
    candidates, faces = _array(bodies.get("candidate"), 2), _array(frame.get("faces"), 2)
    subset = _array(bodies.get("subset"), 1)
    count = len(subset) or (len(candidates) if candidates.ndim == 3 else len(faces))
    candidates = candidates.reshape(count, -1, 2) if candidates.size else np.zeros((count, 0, 2))
    made = np.zeros((count, POINTS, 3))
    points = min(candidates.shape[1], _FEET.stop)
    made[:, :points, :2] = candidates[:, :points]
    made[:, :points, 2] = _scores(frame, "body_score", (count, points))
    if subset.size:
        made[:, :points, 2] *= subset[:, :points] >= 0
    if faces.size:
        scored = np.concatenate((faces, _scores(frame, "face_score", faces.shape[:2])[..., None]), -1)
        face = _valid(scored[:, _FACES.get(faces.shape[1], slice(0, 68))])
        in_order = [(person, person) for person in range(count)]
        for person, index in in_order if len(face) == count else _nearest(made[:, _NOSE], face[:, _NOSE_TIP]):
            made[person, FACE] = face[index]
    return _valid(made)


def _dw_hands(frame: Mapping[str, Any]) -> np.ndarray:
    """Hands of a frame of DWPOSES in the order of their list, [m, 21, 3]."""
    hands = _array(frame.get("hands"), 2)
    if not hands.size:
        return np.zeros((0, _HAND, 3))
    scored = np.concatenate((hands, _scores(frame, "hand_score", hands.shape[:2])[..., None]), -1)
    return _valid(scored.reshape(-1, _HAND, 3))


def _array(value: Any, dimensions: int) -> np.ndarray:
    """Numbers in an array; without any, an empty one of so many dimensions."""
    found = numbers([] if value is None else value)
    return found if found.size else np.zeros((0,) * dimensions)


def _scores(frame: Mapping[str, Any], name: str, shape: Sequence[int]) -> np.ndarray:
    """Scores of a part; 1 where the frame has none, and where they are numbers of joints instead."""
    found = _array(frame.get(name, (frame.get("scores") or {}).get(name)), 1)
    if found.ndim != 2 or len(found) != shape[0] or found.shape[1] < shape[1] or found.max() > _NORMALISED:
        return np.ones(shape)
    return found[:, : shape[1]]


def _with_hands(bodies: np.ndarray, hands: np.ndarray, order: tuple[bool, bool]) -> np.ndarray:
    """People [n, 134, 3] with their hands out of a list of 2 n, in an order of `_hand_orders`."""
    pairs, right_first = order
    count = len(bodies)
    first, second = (hands[0::2], hands[1::2]) if pairs else (hands[:count], hands[count:])
    made = bodies.copy()
    made[:, RIGHT_HAND if right_first else LEFT_HAND] = first
    made[:, LEFT_HAND if right_first else RIGHT_HAND] = second
    return made


def _with_nearest_hands(bodies: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """The same where hands are missing from the list: each belongs to the nearest free wrist."""
    made, count = bodies.copy(), len(bodies)
    wrists = np.concatenate((bodies[:, _LEFT_WRIST], bodies[:, _RIGHT_WRIST]))
    for place, hand in _nearest(wrists, hands[:, 0]):
        made[place % count, LEFT_HAND if place < count else RIGHT_HAND] = hands[hand]
    return made


def _nearest(places: np.ndarray, found: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of a place and a point, [n, 3] each, that lie together as near as possible; unknown ones stay alone."""
    there, seen = np.flatnonzero(places[:, 2] > 0), np.flatnonzero(found[:, 2] > 0)
    distances = np.linalg.norm(places[there, None, :2] - found[None, seen, :2], axis=-1)
    rows, columns = linear_sum_assignment(distances)
    return [(int(there[row]), int(seen[column])) for row, column in zip(rows, columns, strict=True)]


def _detail(people: Sequence[np.ndarray], size: tuple[int, int]) -> Detail:
    tensors = [torch.from_numpy(points).float() for points in people]
    return Detail(tuple((points[..., :2], points[..., 2]) for points in tensors), size)
