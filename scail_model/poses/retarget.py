"""Poses moved to where the people of a reference picture stand: v1's `--use_align`, for any number of people.

The joints stay as they are. Each person gets a camera of their own (`alignment.py`) under which their first frame comes
as close as possible to their reference. Points of the picture follow: face and head are scaled to the reference's face
and move with the head, hands are scaled as the camera scales and move with their wrists.

Original: `process_pose.py` and `nlf_render.py` (`shift_dwpose_according_to_nlf`) of SCAIL-Pose. Other than there,
points that were not seen do not count in the size of a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import check_shape, cover_map
from ..identity.identities import Identities
from ..masks import NAMES
from .alignment import STRETCH, ZOOM, solve_alignment
from .detections import LEAST_SCORE, Camera, Detail, project
from .keypoints import read_keypoints
from .matching import points_in_masks
from .value import FACE, JOINTS, LEFT_HAND, RIGHT_HAND, Poses

ERROR_LIMIT = 0.25
FACE_LIMITS = (0.8, 1.5)

_NECK, _HEAD, _NOSE_OF_FACE = 1, 0, 30
_LOWER, _UPPER = (9, 10, 12, 13), (0, 2, 3, 5, 6)  # knees and ankles; head, shoulders and elbows
_WRISTS = ((LEFT_HAND, 7), (RIGHT_HAND, 4))
_BODY = slice(0, 24)  # with the feet
_FEWEST = 3  # joints; two could be met exactly, and say nothing of how well they fit
_FACE_FEWEST = 10  # points


@dataclass(frozen=True)
class Fit:
    """How a person was aligned. frame: of the driving video. feet: by knees and ankles, or by the upper body. m, s, p,
    q: of `solve_alignment`. error, share: median distance of joints and reference in pixels, and as a share of the size
    of the reference's joints. face: by how much the face grows."""

    person: int
    frame: int
    feet: bool
    m: float
    s: float
    p: float
    q: float
    error: float
    share: float
    face: float

    def limits(self, height: int, width: int) -> list[str]:
        """Names of the values that are at a bound."""
        bounds = {"m": (self.m, ZOOM), "s": (self.s, STRETCH), "p": (self.p, (-width, width)),
                  "q": (self.q, (-height, height))}
        return [name for name, (value, ends) in bounds.items() if min(abs(value - end) for end in ends) < 1e-4]


def reference_points(points: Tensor, size: tuple[int, int], poses: Poses, result: tuple[int, int] | None) -> Tensor:
    """Points of the reference picture, [..., 2] in pixels (x, y), as pixels of the driving video.

    Picture and driving video are both scaled and cropped to the result's size, (height, width), before they are used;
    None is the driving video's own.
    """
    there, here = cover_map(size, *(result or poses.size)), cover_map(poses.size, *(result or poses.size))
    placed = points.double() * torch.tensor(there[0]) - torch.tensor(there[1])
    return (placed + torch.tensor(here[1])) / torch.tensor(here[0])


def retargeted_to(poses: Poses, keypoints: Any, size: tuple[int, int], identities: Identities | None = None, *,
                  result: tuple[int, int] | None = None, limit: float = ERROR_LIMIT) -> tuple[Poses, tuple[Fit, ...]]:
    """`retargeted` to key points as detectors give them, POSE_KEYPOINT or DWPOSES.

    The first frame of key points counts, as the first picture of a batch does.

    size: (height, width) of the primary reference picture. identities: its masks say which person is which; None for a
    single person. Raises ValueError as `retargeted` does, for other values, and for masks of another shape.
    """
    detail = read_keypoints(keypoints, size)
    detail = replace(detail, frames=detail.frames[:1]).resized(size)
    if identities is None:
        points, scores = detail.frames[0]
        return retargeted(poses, points, scores, size, result=result, limit=limit)
    check_shape("mask of reference 1", identities.references[0].size, "picture", size)
    points, scores, labels = _people_in_masks(detail, identities)
    return retargeted(poses, points, scores, size, labels=labels, result=result, limit=limit)


def _people_in_masks(detail: Detail, identities: Identities) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Points [n, 134, 2], scores and labels of the people in the primary reference's masks, by their points inside."""
    chosen = points_in_masks(detail, identities.references[0])[0]  # [people]
    found = [person for person, index in enumerate(chosen.tolist()) if index >= 0]
    points, scores = detail.frames[0]
    return points[chosen[found]], scores[chosen[found]], tuple(identities.labels[person] for person in found)


def retargeted(poses: Poses, points: Tensor, scores: Tensor, size: tuple[int, int], *,
               labels: Sequence[int] | None = None, result: tuple[int, int] | None = None,
               limit: float = ERROR_LIMIT) -> tuple[Poses, tuple[Fit, ...]]:
    """Poses with the cameras and the points that fit them to a reference picture, and how well they do.

    points: [n, 134, 2] pixels of the reference, (height, width) = size, with scores [n, 134]. labels: palette index of
    each of its n people; without labels it must be one person on both sides. result: (height, width) of the finished
    video, the driving video's if None. People of the poses without one in the reference stay where they are. limit:
    the largest median error, as a share of the size of the reference's joints.

    Raises ValueError if nobody is in both, if somebody has too few joints in common with their reference, or if the
    error is larger than the limit.
    """
    placed, fits = reference_points(points, size, poses, result).numpy(), []
    cameras = poses.cameras.clone()
    moved = None if poses.points is None else poses.points.clone()
    for person, reference in _pairs(poses, len(points), labels):
        target, seen = placed[reference], scores[reference].numpy() >= LEAST_SCORE
        fit = _fit(poses, person, target, seen & np.isfinite(target).all(-1))
        _check(poses, fit, limit)
        cameras[person] = torch.tensor(_camera(poses, fit), dtype=torch.float64)
        if moved is not None:
            moved[:, person] = torch.from_numpy(_moved(poses, fit)).float()
        fits.append(fit)
    notes = (*poses.notes, *(_sentence(poses, fit) for fit in fits), *_left(poses, fits))
    return replace(poses, cameras=cameras, points=moved, notes=notes), tuple(fits)


def _pairs(poses: Poses, people: int, labels: Sequence[int] | None) -> list[tuple[int, int]]:
    """(person of the poses, person of the reference)."""
    if not people and labels is None:
        raise ValueError("The reference's keypoints show nobody: find them in the picture of the character.")
    if labels is None:
        if poses.people != 1 or people != 1:
            raise ValueError(f"Nothing says who is who (people of the poses: {poses.people}, in the reference's "
                             f"keypoints: {people}): connect the identities, whose reference masks show which person "
                             "is which.")
        return [(0, 0)]
    pairs = [(person, list(labels).index(label)) for person, label in enumerate(poses.labels) if label in labels]
    if not pairs:
        given, wanted = (", ".join(NAMES[label - 1] for label in of) for of in (labels, poses.labels))
        raise ValueError(f"Nobody of the poses ({wanted}) is among the reference's keypoints "
                         f"({given or 'nobody in a mask'}): find them in the picture that the masks belong to, and "
                         "give poses and masks the same colours.")
    return pairs


def _fit(poses: Poses, person: int, target: np.ndarray, seen: np.ndarray) -> Fit:
    """target: [134, 2] pixels of the driving video, seen: bool [134]."""
    joints = poses.joints[:, person].double().numpy()  # [T, 18, 3]
    known = np.isfinite(joints).all(-1) & (joints != 0).any(-1) & (joints[..., 2] > 0) & seen[:JOINTS]  # [T, 18]
    feet = known[:, _LOWER].all(1)
    chosen = np.zeros_like(known)
    chosen[:, _NECK] = known[:, _NECK]
    chosen[np.ix_(feet, _LOWER)] = True
    chosen[np.ix_(~feet, _UPPER)] = known[np.ix_(~feet, _UPPER)]
    enough = chosen.sum(1) >= _FEWEST
    if not enough.any():
        raise ValueError(f"The person {poses.title(person)} cannot be retargeted, because no frame shares {_FEWEST} "
                         "joints of neck, head, shoulders and elbows, or neck, knees and ankles, with the reference: "
                         "use a reference that shows more of the body.")
    frame = int(enough.argmax())
    used = np.flatnonzero(chosen[frame])
    weights = np.where(used == _NECK, *((1.0, 4.0) if feet[frame] else (8.0, 1.0)))
    camera: Camera = tuple(poses.cameras[person].tolist())
    m, s, p, q = solve_alignment(joints[frame, used], target[used], weights, *poses.size, camera)
    after = project(poses.joints[frame, person, used].double(),
                    (camera[0] * m, camera[1] * m * s, camera[2] + p, camera[3] + q)).numpy()
    error = float(np.median(np.linalg.norm(after - target[used], axis=-1)))
    extent = float(np.ptp(target[used], axis=0).max())
    face = _face_scale(poses, person, frame, target, seen)
    return Fit(person, frame, bool(feet[frame]), m, s, p, q, error, error / max(extent, 1e-9), face)


def _face_scale(poses: Poses, person: int, frame: int, target: np.ndarray, seen: np.ndarray) -> float:
    """How much larger the reference's face is, by the mean distance of its points from the tip of the nose, in
    fractions of width and height as in the original. Measured with the points that both faces show, in the first frame
    from `frame` on that has enough of them."""
    if poses.points is None or poses.scores is None or not seen[FACE][_NOSE_OF_FACE]:
        return 1.0
    both = (poses.scores[:, person, FACE].numpy() >= LEAST_SCORE) & seen[FACE]  # [T, 68]
    usable = both[:, _NOSE_OF_FACE] & (both.sum(1) > _FACE_FEWEST)
    usable[:frame] = False
    if not usable.any():
        return 1.0
    first = int(usable.argmax())
    sizes = []
    for face in (target[FACE], poses.points[first, person, FACE].double().numpy()):
        distances = np.linalg.norm((face - face[_NOSE_OF_FACE]) / poses.size[::-1], axis=-1)
        sizes.append(np.delete(distances, _NOSE_OF_FACE)[np.delete(both[first], _NOSE_OF_FACE)].mean())
    return float(np.clip(sizes[0] / sizes[1], *FACE_LIMITS)) if sizes[1] > 1e-6 else 1.0


def _moved(poses: Poses, fit: Fit) -> np.ndarray:
    """The person's points under the new camera, float64 [T, 134, 2]."""
    assert poses.points is not None
    assert poses.scores is not None
    points = poses.points[:, fit.person].double().numpy()  # [T, 134, 2]
    seen = poses.scores[:, fit.person].numpy() >= LEAST_SCORE
    joints = poses.joints[:, fit.person].double().numpy()
    scale, made = np.array([fit.m, fit.m * fit.s]), points.copy()
    centres = ((_BODY, _HEAD, 0, fit.face), (FACE, _HEAD, _NOSE_OF_FACE, fit.face),
               *((hand, wrist, 0, scale) for hand, wrist in _WRISTS))
    for part, joint, root, factor in centres:
        middle, found = points[:, part][:, root], seen[:, part][:, root]  # [T, 2], [T]
        middle = np.where(found[:, None], middle, _mean(points[:, part], seen[:, part]))
        shift = _shift(poses, fit, joints[:, joint], middle)
        made[:, part] = (points[:, part] - middle[:, None]) * factor + (middle + shift)[:, None]
    return made


def _mean(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[T, n, 2] -> [T, 2]: the middle of the points that are seen."""
    return np.where(seen[..., None], points, 0).sum(1) / seen.sum(1).clip(min=1)[:, None]


def _shift(poses: Poses, fit: Fit, joints: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """How far a joint [T, 3] moves in the picture, [T, 2]; where it is unknown, how far a point [T, 2] of it does."""
    before, after = tuple(poses.cameras[fit.person].tolist()), _camera(poses, fit)
    place = project(torch.from_numpy(joints), before).numpy()
    place = np.where(np.isfinite(place), place, middle)
    scale, centre = np.array([fit.m, fit.m * fit.s]), np.array(before[2:])
    return (place - centre) * scale + np.array(after[2:]) - place


def _camera(poses: Poses, fit: Fit) -> Camera:
    fx, fy, cx, cy = poses.cameras[fit.person].tolist()
    return fx * fit.m, fy * fit.m * fit.s, cx + fit.p, cy + fit.q


def _check(poses: Poses, fit: Fit, limit: float) -> None:
    if fit.share <= limit:
        return
    remedy = ("use a reference in a pose more like that frame, or begin the driving video at a frame more like the "
              "reference")
    limits = [name for name in fit.limits(*poses.size) if name != "s"]  # s goes there for another pose, too
    if limits:
        remedy = (f"because {' and '.join(limits)} would go beyond a limit, give the person in the reference a similar "
                  "size and place")
    raise ValueError(f"The person {poses.title(fit.person)} does not fit the reference (after alignment its joints "
                     f"are {fit.error:.0f} pixels off in frame {fit.frame}, {fit.share:.0%} of the reference's size, "
                     f"and at most {limit:.0%} is allowed): {remedy}, or raise error_limit.")


def _sentence(poses: Poses, fit: Fit) -> str:
    limits = fit.limits(*poses.size)
    at = f"; at a limit: {', '.join(limits)} (a reference of similar size and place fits better)" if limits else ""
    return (f"{poses.title(fit.person)}: retargeted, frame {fit.frame} aligned by "
            f"{'neck, knees and ankles' if fit.feet else 'the upper body'}: size m {fit.m:.3f}, stretch s {fit.s:.3f}, "
            f"moved by p {fit.p:+.1f} and q {fit.q:+.1f} pixels; face times {fit.face:.3f}; median error "
            f"{fit.error:.1f} pixels, {fit.share:.1%} of the reference's size{at}")


def _left(poses: Poses, fits: Sequence[Fit]) -> list[str]:
    done = {fit.person for fit in fits}
    return [f"{poses.title(person)}: not in the reference's keypoints, so left in place"
            for person in range(poses.people) if person not in done]
