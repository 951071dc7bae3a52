"""Kinds of poses as they are rendered: who is seen in each frame of the picture and of the masks.

Pictures of 96x160 pixels, frames of two people (A at column 28, B at column 68) unless a row says otherwise. A row
gives who is seen in each frame, as letters; in every row the masks are the silhouette of the picture.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_bodies import SIZE, body

from scail_model.poses.footprint import RADIUS
from scail_model.poses.pose_clip import PoseClip
from scail_model.poses.pose_masks import driving_source
from scail_model.poses.shading import LIMBS
from scail_model.poses.value import FACE, LEFT_HAND, Poses, from_smpl, official_camera

A, B, NOBODY = from_smpl(body(28)), from_smpl(body(68)), torch.zeros(18, 3)


def changed(joints: torch.Tensor, which: list[int] | slice, value: float | torch.Tensor) -> torch.Tensor:
    other = joints.clone()
    other[which] = value
    return other


def moved(joints: torch.Tensor, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    return torch.where((joints != 0).any(-1, keepdim=True), joints + torch.tensor((x, y, z)), 0.0)


def nearer(joints: torch.Tensor, times: float) -> torch.Tensor:
    """On the same rays."""
    return joints * times


HALF = changed(A, [8, 9, 10, 11, 12, 13], 0.0)
NAN, INFINITE = changed(A, slice(None), torch.nan), changed(A, slice(None), torch.inf)

# frames of (first person, second person), and who is seen in each
JOINTS = {
    "both in every frame": ([(A, B)] * 2, "AB AB"),
    "one frame": ([(A, B)], "AB"),
    "one person alone": ([(A,)] * 2, "A A"),
    "nobody in any frame": ([(NOBODY, NOBODY)] * 2, "- -"),
    "nobody in one frame": ([(A, B), (NOBODY, NOBODY), (A, B)], "AB - AB"),
    "somebody who enters late": ([(A, NOBODY), (A, NOBODY), (A, B)], "A A AB"),
    "only the second person": ([(NOBODY, B)] * 2, "B B"),
    "people who change places": ([(A, B), (nearer(B, 0.9), A), (B, A)], "AB AB AB"),
    "half a body": ([(HALF, B)], "AB"),
    "one arm and nothing else": ([(changed(NOBODY, [5, 6, 7], A[[5, 6, 7]]), B)], "AB"),
    "joints without limbs between them": ([(changed(NOBODY, [0, 4, 10], A[[0, 4, 10]]), B)], "B"),
    "a body out of the picture": ([(moved(A, x=50_000.0), B)], "B"),
    "a body behind the camera": ([(moved(A, z=-9000.0), B)], "B"),
    "a body beyond the longest ray": ([(moved(A, z=40_000.0), B)], "B"),
    "a body wholly behind another": ([(A, nearer(A, 0.9))], "B"),
    "a body partly behind another": ([(A, moved(A, x=150.0, z=-400.0))], "AB"),
    "one body twice": ([(A, A)], "A"),
    "the camera inside a limb": ([(changed(A, [3, 4], torch.tensor(((0.0, 0.0, -5.0), (0.0, 0.0, 5.0)))), B)], "A"),
    "all joints in one place": ([(A[1].expand(18, 3), B)], "AB"),
    "joints that are not numbers": ([(NAN, B)], "B"),
    "infinite joints": ([(INFINITE, B)], "B"),
    "huge numbers": ([(A * 1e30, B)], "B"),
    "six people": ([tuple(from_smpl(body(8 + 16 * number)) for number in range(6))], "ABCDEF"),
    "eyes and ears, which have no limbs": ([(changed(A, [14, 15, 16, 17], A[0]), B)], "AB"),
}


def seen(poses: Poses) -> str:
    """Letters of the people in each frame, after a check of picture and masks against each other."""
    pixels, source = PoseClip(poses).read(0, poses.frames), driving_source(poses)
    assert pixels.shape == (poses.frames, *poses.size, 3)
    frames = []
    for frame in range(poses.frames):
        masks = source.mask_set.frame(frame)
        assert (masks.any(0) == pixels[frame].any(-1).numpy()).all()
        assert masks.sum(0).max(initial=0) <= 1
        frames.append("".join("ABCDEF"[person] for person, mask in enumerate(masks) if mask.any()) or "-")
    return " ".join(frames)


@pytest.mark.parametrize(("frames", "expected"), JOINTS.values(), ids=JOINTS.keys())
def test_kinds_of_joints(frames, expected):
    joints = torch.stack([torch.stack(tuple(people)) for people in frames])
    assert seen(Poses.of(joints, SIZE)) == expected


def near_a_ray(joints: torch.Tensor, size: tuple[int, int]) -> bool:
    """Whether the ray of a pixel comes as near to a limb as a capsule is wide, by points along the limbs."""
    fx, fy, cx, cy = official_camera(*size)
    down, across = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in size), indexing="ij")
    rays = torch.stack(((across - cx) / fx, (down - cy) / fy, torch.ones_like(down)), -1).reshape(-1, 1, 3)
    rays = rays / rays.norm(dim=-1, keepdim=True)
    starts, ends = (joints[[limb[side] for limb in LIMBS]].double() for side in (0, 1))  # [13, 3]
    points = (starts[:, None] + torch.linspace(0, 1, 200)[:, None] * (ends - starts)[:, None]).reshape(1, -1, 3)
    return bool((points - (points * rays).sum(-1, keepdim=True) * rays).norm(dim=-1).min() < RADIUS)


@pytest.mark.parametrize("size", [(31, 17), (1, 1), (2, 300), (300, 2), (60, 40)])
def test_kinds_of_sizes(size):
    expected = "".join(letter for letter, body in (("A", A), ("B", B)) if near_a_ray(body, size))
    assert seen(Poses.of(torch.stack((A, B))[None], size)) == (expected or "-")


FACES = torch.full((1, 2, 134, 2), 20.0)
SURE = torch.ones(1, 2, 134)

# points and scores of two people of whom nothing else is known, and who is seen
POINTS = {
    "both, one over the other": (FACES, SURE, "B"),
    "the first only": (FACES, SURE * torch.tensor((1.0, 0.0))[:, None], "A"),
    "none is sure": (FACES, SURE * 0.29, "-"),
    "points that are not numbers": (FACES * torch.nan, SURE, "-"),
    "scores that are not numbers": (FACES, SURE * torch.nan, "-"),
    "points out of the picture": (FACES + 500, SURE, "-"),
    "points left of the picture": (FACES - 500, SURE, "-"),
    "points far beyond any picture": (FACES * 1e30, SURE, "-"),
    "side by side": (FACES + torch.tensor(((0.0, 0.0), (50.0, 0.0)))[:, None], SURE, "AB"),
}


@pytest.mark.parametrize(("points", "scores", "expected"), POINTS.values(), ids=POINTS.keys())
def test_kinds_of_points(points, scores, expected):
    poses = replace(Poses.of(torch.zeros(1, 2, 18, 3), SIZE), points=points, scores=scores)
    assert seen(poses) == expected


def test_a_face_over_another_body_is_the_faces_owner():
    points, scores = torch.zeros(1, 2, 134, 2), torch.zeros(1, 2, 134)
    points[0, 0, FACE], scores[0, 0, FACE] = torch.tensor((68.0, 60.0)), 1.0  # of A, in front of B's chest
    poses = replace(Poses.of(torch.stack((A, B))[None], SIZE), points=points, scores=scores)
    face, bodies = driving_source(poses).mask_set.numbers(0, (0, 1)), driving_source(
        replace(poses, points=None, scores=None)).mask_set.numbers(0, (0, 1))
    assert face[60, 68] == 1
    assert (PoseClip(poses).read(0, 1)[0, 60, 68] == 255).all()
    assert (face != bodies).sum() < 12


def test_of_two_hands_in_one_place_the_nearer_persons_is_seen():
    points, scores = torch.zeros(1, 2, 134, 2), torch.zeros(1, 2, 134)
    points[..., LEFT_HAND, :] = torch.rand(21, 2, generator=torch.Generator().manual_seed(0)) * 30 + 60
    scores[..., LEFT_HAND] = 1.0
    for near, front in ((nearer(A, 0.8), 1), (moved(A, z=500.0), 2)):
        poses = replace(Poses.of(torch.stack((near, B))[None], SIZE), points=points, scores=scores)
        numbers = driving_source(poses).mask_set.numbers(0, (0, 1))
        x, y = points[0, 0, LEFT_HAND][0].long().tolist()
        assert numbers[y, x] == front
