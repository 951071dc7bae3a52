"""Poses in files: the pack's own form comes back as it was, and plain arrays of other detectors are read."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from drawn_bodies import FOCAL, SIZE, body, box_masks, openpose, openpose_person
from safetensors import safe_open
from safetensors.torch import save_file

from scail_model.identity.mask_sources import from_masks
from scail_model.media.clips import TensorClip
from scail_model.poses.poses_file import load_detail, load_poses, save_poses
from scail_model.poses.value import Look, Poses, from_smpl

BODIES = torch.stack([torch.stack([body(70), body(30)]), torch.stack([body(70), torch.zeros(24, 3)])])  # [2, 2, 24, 3]


def clip_of(rate):
    return TensorClip(torch.zeros(2, *SIZE, 3), rate)


def plain(tmp_path, **entries):
    """The same entries as .npz and .json."""
    np.savez(tmp_path / "poses.npz", **entries)
    listed = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in entries.items()}
    (tmp_path / "poses.json").write_text(json.dumps(listed))
    return tmp_path / "poses.npz", tmp_path / "poses.json"


def test_own_files_come_back_equal(tmp_path):
    poses = Poses(from_smpl(BODIES), SIZE, torch.rand(2, 4, dtype=torch.float64), (1, 4), ("Anna", "magenta"),
                  torch.rand(2, 2, 134, 2), torch.rand(2, 2, 134), look=Look(hands=False), notes=("one note",))
    save_poses(poses, tmp_path / "a.safetensors")
    clip = TensorClip(torch.zeros(2, *SIZE, 3))
    loaded = load_poses(tmp_path / "a.safetensors", filmed=clip)
    assert loaded.digest() == poses.digest()
    assert (loaded.names, loaded.notes, loaded.look, loaded.filmed) == (poses.names, poses.notes, poses.look, clip)
    bare = Poses.of(from_smpl(BODIES), SIZE)
    for rate, filmed in ((None, None), (Fraction(30000, 1001), None), (None, clip_of(Fraction(25)))):
        save_poses(replace(bare, rate=rate, filmed=filmed), tmp_path / "b.safetensors")
        loaded = load_poses(tmp_path / "b.safetensors")
        assert loaded.digest() == bare.digest()
        assert loaded.rate == (filmed.rate if filmed else rate)


@pytest.mark.parametrize("ending", [0, 1])
def test_plain_arrays_keep_the_order_of_people(tmp_path, ending):
    points, scores = torch.rand(2, 2, 134, 2) * 90, torch.rand(2, 2, 134)
    path = plain(tmp_path, joints=BODIES.numpy(), size=np.array(SIZE), points=points.numpy(), scores=scores.numpy(),
                 names=["Anna"], rate=29.97)[ending]
    poses = load_poses(path)
    assert poses.rate == Fraction(2997, 100)
    assert torch.equal(poses.joints, from_smpl(BODIES))
    assert (poses.labels, poses.names, poses.size) == ((1, 2), ("Anna", "red"), SIZE)
    assert poses.cameras[0].tolist() == pytest.approx([FOCAL, FOCAL, 48, 80])
    assert torch.allclose(poses.points, points)
    assert torch.allclose(poses.scores, scores)


@pytest.mark.parametrize("ending", [0, 1])
def test_plain_arrays_of_18_joints_of_one_person(tmp_path, ending):
    path = plain(tmp_path, joints=from_smpl(BODIES)[:, 0].numpy(), focal=200.0)[ending]
    poses = load_poses(path, size=SIZE)
    assert torch.equal(poses.joints, from_smpl(BODIES)[:, :1])
    assert poses.cameras[0].tolist() == [200, 200, 48, 80]


def test_frames_of_different_people_are_linked(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text(json.dumps({"size": SIZE, "joints": [[body(30).tolist()], [body(70).tolist(), body(31).tolist()],
                                                         [body(71).tolist()]]}))
    poses = load_poses(path)
    assert (poses.joints[:, :, 1, 2] > 0).tolist() == [[True, False], [True, True], [False, True]]


def test_plain_people_are_matched_to_masks(tmp_path):
    """Bodies and points alike; here the second mask is around the first person of the file."""
    points = np.zeros((2, 2, 134, 2))
    points[:, :, :18] = [[[70, 80]], [[30, 80]]]
    points[:, :, 24:92] = [[[71, 40]], [[31, 40]]]
    path, _ = plain(tmp_path, joints=BODIES.numpy(), size=np.array(SIZE), points=points)
    poses = load_poses(path, masks=from_masks(box_masks([(20, 40)] * 2, [(60, 80)] * 2), "driving"))
    assert torch.equal(poses.joints, from_smpl(BODIES).flip(1))
    assert poses.points[:, :, 30, 0].tolist() == [[31, 71]] * 2


def test_detail_from_files_of_openpose(tmp_path):
    """A file for each frame, without the size of the pictures; or all frames in one list."""
    frames = openpose([openpose_person(30)], [])
    (tmp_path / "list.json").write_text(json.dumps(frames))
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames):
        (folder / f"{index:012}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": frame["people"]}))
    for path in (tmp_path / "list.json", folder):
        detail = load_detail(path, SIZE)
        assert detail.size == SIZE
        assert [len(points) for points, _ in detail.frames] == [1, 0]
        assert detail.frames[0][0][0, 0].tolist() == pytest.approx([30, 80 - 600 * FOCAL / 3000])


WRONG = {
    "no joints": ({"size": SIZE}, "has no joints: write an entry joints"),
    "joints of no frame": ({"size": SIZE, "joints": []}, "has joints of no frame: write one"),
    "joints that are a number": ({"size": SIZE, "joints": 5}, "has joints that are not a list of frames"),
    "joints by frame number": ({"size": SIZE, "joints": {"0": 1}}, "has joints that are not a list of frames"),
    "a size without an end": ({"size": [float("inf"), 96], "joints": [body().tolist()]}, "has no size"),
    "a focal length of 0": ({"size": SIZE, "joints": [body().tolist()], "focal": 0}, "has a focal length of 0: write"),
    "a focal length of nothing": ({"size": SIZE, "joints": [body().tolist()], "focal": []}, "focal length of nothing"),
    "points of fewer frames": ({"size": SIZE, "joints": [body().tolist()] * 2, "points": [[[[5, 5]] * 134]]},
                               "The poses have 2 frames, but the detail has 1"),
    "scores of fewer frames": ({"size": SIZE, "joints": [body().tolist()] * 2, "points": [[[[5, 5]] * 134]] * 2,
                                "scores": [[[1] * 134]]}, "has points of 2 frames, but scores of 1"),
    "joints of COCO": ({"size": SIZE, "joints": [[[[0, 0, 0]] * 17]]}, r"joints of shape \[1, 17, 3\]"),
    "nobody at all": ({"size": SIZE, "joints": [[[[0, 0, 0]] * 24]]}, "The poses show no body in any frame"),
    "metres": ({"size": SIZE, "joints": [(body() / 1000).tolist()]}, r"bodies in poses.json measure [0-9.]+ mm, so"),
    "a rate of nothing": ({"size": SIZE, "joints": [body().tolist()], "rate": 0}, "has a rate of 0: write frames per"),
    "no size": ({"joints": [body().tolist()]}, r"has no size: write an entry size, \[height, width\]"),
    "a size of one number": ({"joints": [body().tolist()], "size": [160]}, "has no size"),
    "people of different lengths": ({"size": SIZE, "joints": [[[[1, 2, 3]], [[1, 2, 3]] * 2]]}, "not a regular list"),
    "points of another number": ({"size": SIZE, "joints": [body().tolist()], "points": [[[1, 2]] * 133]},
                                 r"points of shape \[1, 133, 2\]"),
    "a rate of text": ({"size": SIZE, "joints": [body().tolist()], "rate": "fast"}, "rate that are not a regular list"),
    "two focal lengths": ({"size": SIZE, "joints": [body().tolist()], "focal": [150, 160]}, "length of 150 and 160"),
    "a focal length of text": ({"size": SIZE, "joints": [body().tolist()], "focal": {"x": 1}}, "focal that are not a"),
    "a number beyond any float": ({"size": SIZE, "joints": [[[[10**400, 0, 0]] * 24]]}, "not a regular list"),
    "points that are a number": ({"size": SIZE, "joints": [body().tolist()], "points": 5}, "points that are not a"),
    "points as shares of the picture": ({"size": SIZE, "joints": [body().tolist()], "points": [[[0.5, 0.9]] * 134]},
                                        "points up to 0.9, so they seem to be shares of the picture: multiply x"),
    "centimetres": ({"size": SIZE, "joints": [(body() / 10).tolist()]}, "so they seem to be in centimetres: multiply"),
    "OpenPose's points": ({"people": []}, "key points of pictures, but poses need joints in space"),
    "a list": ([], "key points of pictures"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_as_windows_writes_it(tmp_path, encoding):
    (tmp_path / "poses.json").write_text(json.dumps({"size": SIZE, "joints": [body().tolist()]}), encoding=encoding)
    assert load_poses(tmp_path / "poses.json").frames == 1


def test_a_file_with_code_is_not_run(tmp_path):
    ran = []

    class Code:
        def __reduce__(self):
            return ran.append, (1,)

    np.savez(tmp_path / "poses.npz", joints=body()[None].numpy(), size=SIZE, names=np.array([Code()], object))
    with pytest.raises(RuntimeError, match="cannot be read as an .npz archive of numbers"):
        load_poses(tmp_path / "poses.npz")
    assert not ran


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_entries_are_named(tmp_path, kind):
    entries, message = WRONG[kind]
    path = tmp_path / "poses.json"
    path.write_text(json.dumps(entries))
    with pytest.raises((RuntimeError, ValueError), match=message):
        load_poses(path)


def test_wrong_files_are_named(tmp_path):
    for name, text, message in (("a.npz", "nothing", "cannot be read as an .npz archive"),
                                ("b.npz", "", "cannot be read as an .npz archive"),
                                ("a.json", "{", "cannot be read as JSON"),
                                ("b.json", "[" * 100_000, "cannot be read as JSON"),
                                ("a.pkl", "", "is not a file of poses"),
                                ("a.safetensors", "", "cannot be read as poses")):
        (tmp_path / name).write_text(text)
        with pytest.raises(RuntimeError, match=message):
            load_poses(tmp_path / name)
    with (tmp_path / "c.npz").open("wb") as file:
        np.save(file, np.zeros((1, 1, 24, 3)))
    with pytest.raises(RuntimeError, match="cannot be read as an .npz archive"):
        load_poses(tmp_path / "c.npz")
    for entries in ("{", "[]", "{}"):
        metadata = {"format": "scail2-poses-1", "poses": entries}
        save_file({"joints": torch.zeros(1)}, tmp_path / "b.safetensors", metadata)
        with pytest.raises(RuntimeError, match="b.safetensors cannot be read as poses"):
            load_poses(tmp_path / "b.safetensors")
    save_poses(load_poses(plain(tmp_path, joints=BODIES.numpy(), size=np.array(SIZE))[0]), tmp_path / "own.safetensors")
    with safe_open(tmp_path / "own.safetensors", "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in ("joints", "cameras")}
    text = json.loads(metadata["poses"])
    for part, tensors_given, text_given in (("joints", {"joints": torch.zeros(2, 2, 5, 3)}, {}),
                                            ("cameras", {"cameras": torch.zeros(1, 4)}, {}),
                                            ("points", {"scores": torch.zeros(2, 2, 134)}, {}),
                                            ("labels", {}, {"labels": [1, 9]}), ("labels", {}, {"labels": [1, 1]}),
                                            ("names", {}, {"names": ["Anna"]}), ("size", {}, {"size": [5]})):
        save_file(tensors | tensors_given, tmp_path / "own.safetensors",
                  metadata | {"poses": json.dumps(text | text_given)})
        with pytest.raises(RuntimeError, match=f"own.safetensors cannot be read as poses, because its {part} do not"):
            load_poses(tmp_path / "own.safetensors")
    for people in (5, [5], {"a": 1}):
        (tmp_path / "detail.json").write_text(json.dumps([{"people": people, "canvas_width": "a"}]))
        with pytest.raises(ValueError, match="people in frame 0 of the key points is not a list of people"):
            load_detail(tmp_path / "detail.json", SIZE)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="holds no poses"):
        load_poses(tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="cannot be read as JSON"):
        load_detail(tmp_path / "missing.json", SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="has no .json files"):
        load_detail(tmp_path / "empty", SIZE)
