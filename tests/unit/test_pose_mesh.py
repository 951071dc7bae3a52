"""Who is seen at which pixel of body meshes, against rays cast one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scail_model.poses import mesh as meshes
from scail_model.poses.mesh import mhr_mesh, render_mesh_people
from scail_model.poses.value import Poses

HEIGHT, WIDTH, FOCAL = 40, 56, 60.0


def ball(rows=7, columns=9):
    """(vertices [V, 3] of radius 1 m, faces [F, 3])."""
    down, around = np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False)
    vertices = np.stack([np.outer(np.sin(down), np.cos(around)), np.outer(np.cos(down), np.ones(columns)),
                         np.outer(np.sin(down), np.sin(around))], -1).reshape(-1, 3)
    here = np.arange(rows - 1)[:, None] * columns + np.arange(columns)
    beside = np.arange(rows - 1)[:, None] * columns + (np.arange(columns) + 1) % columns
    below, across = here + columns, beside + columns
    return vertices, np.concatenate([np.stack(each, -1).reshape(-1, 3)
                                     for each in ((here, beside, below), (beside, across, below))])


def detection(vertices, place, focal=FOCAL):
    return {"pred_vertices": np.asarray(vertices, np.float32), "pred_cam_t": np.asarray(place, np.float32),
            "focal_length": np.float32(focal)}


def poses_of(frames, faces, people=None, size=(HEIGHT, WIDTH), focal=FOCAL):
    """frames: lists of detections; every one is the person of its place."""
    people = people or max(map(len, frames))
    chosen = torch.tensor([[index if index < len(frame) else -1 for index in range(people)] for frame in frames])
    shown = torch.arange(len(frames))[:, None].expand_as(chosen)
    data = {"frames": frames, "faces": faces, "image_size": size}
    camera = (focal, focal, size[1] / 2, size[0] / 2)
    return replace(Poses.of(torch.zeros(len(frames), people, 18, 3), size, camera=camera),
                   mesh=mhr_mesh(data, chosen, focal, shown))


def cast(frame, faces, camera=(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2), size=(HEIGHT, WIDTH)):
    """Rays through pixel centres against every triangle, in space: (people [H, W], how near an edge a ray passes)."""
    fx, fy, cx, cy = camera
    rows, columns = np.indices(size).reshape(2, -1)
    rays = np.stack([(columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, np.ones(len(rows))])  # [3, n]
    people, nearest, doubt = np.zeros(len(rows), np.uint8), np.full(len(rows), np.inf), np.full(len(rows), np.inf)
    for person, found in enumerate(frame):
        for corners in (found["pred_vertices"].astype(float) + found["pred_cam_t"])[faces]:
            volumes = np.stack([np.cross(corners[j], corners[k]) @ rays for j, k in ((1, 2), (2, 0), (0, 1))])
            shares = volumes / np.where(volumes.sum(0) == 0, np.nan, volumes.sum(0))  # [3, n]
            depths = corners[:, 2] @ shares
            hit = (shares >= 0).all(0) & (corners[:, 2] > 0.05).all() & (depths < nearest)
            nearest[hit], people[hit] = depths[hit], person + 1
            doubt = np.fmin(doubt, np.where((shares > -1e-6).all(0), np.abs(shares).min(0), np.inf))
    return people.reshape(size), doubt.reshape(size)


def scenes():
    vertices, faces = ball()
    lone = [detection(vertices * (0.4, 0.8, 0.4), (0.1, 0, 3))]
    return faces, {
        "one person": lone,
        "one in front of another": [*lone, detection(vertices * 0.5, (0.4, 0.1, 2))],
        "one before, one after, interleaved": [detection(vertices * 0.6, (-0.2, 0, 3)),
                                              detection(vertices * 0.6, (0.2, 0, 3.1)),
                                              detection(vertices * (0.9, 0.1, 0.2), (0, 0.2, 2.7))],
        "half out of the picture": [detection(vertices, (1.6, 1.2, 3))],
        "far away, smaller than a pixel": [detection(vertices * 0.1, (0.13, 0.2, 40))],
        "the camera within the body": [detection(vertices * 2, (0.1, 0.2, 1.5))],
        "after the camera": [detection(vertices, (0, 0, -3)), *lone],
        "inside out": [detection(vertices * (-0.5, 0.8, 0.5), (0.1, 0, 3))],
    }


@pytest.mark.parametrize("kind", scenes()[1])
def test_equals_rays_cast_one_by_one(kind):
    faces, frame = scenes()[0], scenes()[1][kind]
    people = render_mesh_people(poses_of([frame], faces), 0, 1)[0].numpy()
    expected, doubt = cast(frame, faces)
    certain = doubt > 1e-9
    assert certain.mean() > 0.98
    assert np.array_equal(people[certain], expected[certain])


def test_any_triangles_however_they_lie():
    random = np.random.default_rng(5)
    for _ in range(6):
        frame = [detection(random.normal(0, 0.8, (12, 3)) * (1, 1, 0.3), (0, 0, random.uniform(1, 4)))
                 for _ in range(2)]
        faces = random.integers(0, 12, (14, 3))
        people = render_mesh_people(poses_of([frame], faces), 0, 1)[0].numpy()
        expected, doubt = cast(frame, faces)
        assert np.array_equal(people[doubt > 1e-9], expected[doubt > 1e-9])


def test_pixels_are_sampled_at_their_centres_edges_included():
    """A rectangle of two triangles whose edges lie on the borders of pixels, then on their centres; a focal length and
    places that floats hold exactly."""
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    for start, covered in ((10.0, range(10, 18)), (10.5, range(10, 19)), (10.25, range(10, 18))):
        place = (start - WIDTH / 2) / 64, (start - HEIGHT / 2) / 64, 1
        frame = [detection(square * 8 / 64, place, focal=64)]
        people = render_mesh_people(poses_of([frame], faces, focal=64.0), 0, 1)[0]
        expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        expected[covered.start : covered.stop, covered.start : covered.stop] = 1
        assert torch.equal(people, expected)


def test_triangles_with_a_corner_at_the_camera_are_left_out_as_comfyui_does():
    """5 cm: a triangle that begins before is missing, one that begins after is there."""
    corners = np.array([[-1, -1, 1], [1, -1, 1], [0, 0, 0]])
    for nearest, there in ((0.049, False), (0.051, True)):
        frame = [detection(corners, (0, 0, nearest))]
        people = render_mesh_people(poses_of([frame], np.array([[0, 1, 2]])), 0, 1)
        assert people.any() == there


def test_no_pixel_falls_between_triangles():
    vertices, faces = ball(40, 40)
    people = render_mesh_people(poses_of([[detection(vertices * 0.5, (0, 0, 1.9))]], faces), 0, 1)[0]
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    within = (rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 2) ** 2 < 14**2
    assert people[within].all()


def test_frames_people_and_sizes_are_taken_as_asked():
    vertices, faces = ball()
    frames = [[detection(vertices * 0.5, (x, 0, 3)), detection(vertices * 0.4, (-x, 0, 2))] for x in (0.1, 0.4, 0.7)]
    frames[1] = frames[1][:1]
    poses = poses_of(frames, faces)
    whole = render_mesh_people(poses, 0, 3)
    assert torch.equal(torch.cat([render_mesh_people(poses, t, t + 1) for t in range(3)]), whole)
    assert torch.equal(render_mesh_people(poses.picked([2, 0]), 0, 2), whole[[2, 0]])
    assert set(whole[1].unique().tolist()) == {0, 1}
    alone = render_mesh_people(poses.select([1]), 0, 3)
    assert not alone[1].any()
    assert alone[0][whole[0] == 2].all()
    double = render_mesh_people(poses.covering(HEIGHT * 2, WIDTH * 2), 0, 3)
    assert (double[:, ::2, ::2] != whole).float().mean() < 0.03


def test_cameras_of_retargeting_move_people():
    vertices, faces = ball()
    poses = poses_of([[detection(vertices * 0.4, (0, 0, 3))]], faces)
    moved = replace(poses, cameras=poses.cameras + torch.tensor([0, 0, 9.0, -4.0]))
    plain = render_mesh_people(poses, 0, 1)[0]
    assert torch.equal(render_mesh_people(moved, 0, 1)[0], plain.roll((-4, 9), (0, 1)))


def test_a_focal_length_of_its_own_leaves_a_person_in_place():
    vertices, faces = ball()
    frame = [detection(vertices * 0.4, (0.3, 0, 3), focal=90)]
    seen = render_mesh_people(poses_of([frame], faces, focal=90), 0, 1)
    assert torch.equal(render_mesh_people(poses_of([frame], faces, focal=FOCAL), 0, 1), seen)


def test_little_memory_at_a_time(monkeypatch):
    vertices, faces = ball()
    poses = poses_of([[detection(vertices, (0, 0, 3))]], faces)
    whole = render_mesh_people(poses, 0, 1)
    monkeypatch.setattr(meshes, "_CPU_STRETCH", 9)
    assert torch.equal(render_mesh_people(poses, 0, 1), whole)


def broken(frame, value):
    damaged = [dict(each) for each in frame]
    damaged[0]["pred_vertices"] = damaged[0]["pred_vertices"].copy()
    damaged[0]["pred_vertices"][3] = value
    return damaged


def test_what_has_no_place_is_left_out():
    """NaN and infinity in a vertex: its triangles are missing, nothing else."""
    vertices, faces = ball()
    frame = [detection(vertices * 0.5, (0, 0, 3))]
    for value in (np.nan, np.inf, (0.1, np.nan, 0), (1e30, 0, 0)):
        people = render_mesh_people(poses_of([broken(frame, value)], faces), 0, 1)[0]
        assert people.any()
    assert not render_mesh_people(poses_of([[], []], faces, people=1), 0, 2).any()


def test_joints_only_make_no_mesh():
    chosen = torch.zeros(1, 1, dtype=torch.int64)
    bare = {"pred_cam_t": np.zeros(3), "focal_length": 1.0}
    assert mhr_mesh({"frames": [[bare]], "faces": np.zeros((1, 3), int)}, chosen, 1.0, chosen) is None
    assert mhr_mesh({"frames": [[detection(ball()[0], (0, 0, 3))]]}, chosen, 1.0, chosen) is None
    with pytest.raises(ValueError, match=r"no body mesh: read them from SAM3D Body .* or use the official style"):
        render_mesh_people(Poses.of(torch.zeros(1, 1, 18, 3), (HEIGHT, WIDTH)), 0, 1)


def test_held_poses_show_the_surface_of_their_frame():
    vertices, faces = ball()
    frames = [[detection(vertices * 0.4, (0, 0, 3))], []]
    data = {"frames": frames, "faces": faces}
    mesh = mhr_mesh(data, torch.tensor([[0], [0]]), FOCAL, torch.tensor([[0], [0]]))
    assert torch.equal(mesh.vertices(0)[0], mesh.vertices(1)[0])


def test_digests_tell_surfaces_apart():
    vertices, faces = ball()
    frames = [[detection(vertices * 0.4, (0, 0, z)), detection(vertices, (1, 0, z))] for z in (3, 4)]
    mesh = poses_of(frames, faces).mesh
    others = [mesh.picked([1, 0]), mesh.select([1, 0]), mesh.select([0]), mesh.picked([0]),
              poses_of([frames[0], broken(frames[1], 0.5)], faces).mesh, poses_of(frames, faces[:-1]).mesh]
    assert len({mesh.digest(), *(other.digest() for other in others)}) == 7
    assert poses_of(frames, faces).mesh.digest() == mesh.digest()
