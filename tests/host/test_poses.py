"""The nodes that read poses in a real ComfyUI: bodies of other packs, of NLF and of files, matched to any masks."""

import json
import math

import assets
import numpy as np
import pytest
import torch
from drawn_bodies import SMPL, openpose
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.node("SCAIL2Poses", "SCAIL2LoadNLF", "SCAIL2SavePoses", "SCAIL2LoadPoses")

HEIGHT, WIDTH, FRAMES = assets.HEIGHT, assets.WIDTH, 9
FOCAL = WIDTH / (2 * math.tan(math.radians(27.5)))
DEPTH = 6000.0


def boxes(graph):
    """By person and frame: the middle column of the drawn people's masks, [2, 9]."""
    masks = load_file(graph.images)["driving_mask2"][:FRAMES]
    found = []
    for colour in assets.COLOURS.values():
        mask = (masks == torch.tensor(colour)).all(-1)  # [T, H, W]
        found.append([frame.any(0).nonzero().float().mean() + 0.5 for frame in mask])
    return torch.tensor(found)


def body(column, row=HEIGHT / 2):
    joints = torch.cat((torch.tensor(SMPL, dtype=torch.float32) * 0.5, torch.full((24, 1), DEPTH)), 1)
    joints[:, :2] += torch.tensor([column - WIDTH / 2, row - HEIGHT / 2]) * DEPTH / FOCAL
    return joints


@pytest.fixture
def bodies(graph, tmp_path):
    """NLFPRED of two people in the drawn people's masks, the second first, and of a bystander in frame 3."""
    joints = torch.zeros(FRAMES, 3, 24, 3)
    for frame, (first, second) in enumerate(boxes(graph).T):
        joints[frame, :2] = torch.stack((body(second), body(first)))
    joints[3, 2] = body(WIDTH + 40)
    save_file({"joints": joints}, tmp_path / "joints.safetensors")
    return graph.add("bodies", "TestBodies", path=str(tmp_path / "joints.safetensors"), name="joints")


@pytest.fixture
def read(comfy, graph, tmp_path):
    """Run Read SCAIL-2 Poses: what is in the poses, the report, and the preview's size."""

    def run(**inputs):
        graph.add("read", "SCAIL2Poses", **inputs)
        graph.add("report", "PreviewAny", source=["read", 2])
        graph.add("poses_file", "TestSavePoses", path=str(tmp_path / "poses.safetensors"), poses=["read", 0])
        graph.save(tmp_path / "preview.safetensors", image=["read", 1])
        text = comfy.run(graph)["report"]["text"][0]
        return load_file(tmp_path / "poses.safetensors"), text, load_file(tmp_path / "preview.safetensors")["image"]

    return run


def columns(found):
    """By person and frame: where the middle of the hips is."""
    hips = found["joints"][:, :, [8, 11]].mean(2)
    return (hips[..., 0] / hips[..., 2] * FOCAL + WIDTH / 2).T


def test_bodies_find_the_people_of_the_masks(graph, bodies, read):
    """Every kind of mask gives the same people, in the colours of the masks; size and rate are the driving video's."""
    graph.add("file", "LoadVideo", file="driving.mp4")
    video = graph.add("clip", "Video Slice", video=["file", 0], start_time=0.0, duration=0.72, strict_duration=False)
    track = graph.add("track", "TestTrack", path=graph.images, name="driving_mask2", frames=FRAMES)
    colours = graph.pictures("colours", "driving_mask2", frames=FRAMES)
    first, second = (graph.add(f"mask{person}", "SAM3_TrackToMask", track_data=track, object_indices=str(person))
                     for person in range(2))
    for masks in ({"masks": track}, {"masks": colours}, {"masks": first, "more_masks.person_2": second}):
        found, text, preview = read(poses=bodies, driving=video, preview_frames=2, **masks)
        assert (columns(found) - boxes(graph)).abs().max() < 1e-2
        assert found["labels"].tolist() == [1, 2]
        assert found["size"].tolist() == [HEIGHT, WIDTH]
        assert float(found["rate"]) == 12.5
        assert text.startswith(f"2 people in {FRAMES} frames of {WIDTH}x{HEIGHT} pixels\nblue: body in {FRAMES} frames")
        assert preview.shape == (2, HEIGHT, 2 * WIDTH, 3)
        assert preview[:, :, WIDTH:].amax() > 0.5
        del graph["read"]


def test_detail_comes_with_the_bodies(graph, bodies, read):
    """POSE_KEYPOINT in other packs' form, here with one of the two people."""
    people = [[{"pose_keypoints_2d": [value for number in range(18) for value in (float(column), 20.0 + number, 1.0)],
                "face_keypoints_2d": [float(column), 20.0, 1.0] * 70, "hand_left_keypoints_2d": None}]
              for column in boxes(graph)[1]]
    detail = graph.add("detail", "TestAnything", text=json.dumps(openpose(*people, size=(HEIGHT, WIDTH))))
    masks = graph.pictures("colours", "driving_mask2", frames=FRAMES)
    found, text, _ = read(poses=bodies, detail=detail, masks=masks)
    assert not found["scores"][:, 0].any()
    assert found["scores"][:, 1, 24:92].all()
    assert (found["points"][:, 1, 24:92, 0] - boxes(graph)[1][:, None]).abs().max() < 1e-3
    assert f"red: body in {FRAMES} frames; points of head or hands in {FRAMES} frames" in text


def test_sam3d_bodies_are_read(graph, read, tmp_path):
    """MHR_POSE_DATA without masks: linked over time, before its own camera, with the hands it comes with."""
    joints = torch.stack([torch.stack([body(30 + frame)]) for frame in range(FRAMES)])
    save_file({"joints": joints}, tmp_path / "drawn.safetensors")
    data = graph.add("data", "TestDrawnBodies", image=graph.pictures("driving", "driving1", frames=FRAMES),
                     path=str(tmp_path / "drawn.safetensors"))
    found, text, _ = read(poses=data)
    assert columns(found)[0].tolist() == pytest.approx([30 + frame for frame in range(FRAMES)], abs=1e-2)
    assert "scores" in found
    assert "without masks, people were linked over time" in text


def test_what_is_missing_is_said(graph, bodies, read):
    with pytest.raises(RuntimeError, match=r"SCAIL2Poses: NLF's poses do not say how large the pictures were: connect"):
        read(poses=bodies)
    with pytest.raises(RuntimeError, match="The poses have 9 frames, but the driving video has 8"):
        read(poses=bodies, driving=graph.pictures("driving", "driving1", frames=8))
    mask = ["mask", 1]
    graph.pictures("mask", "driving_mask1", frames=FRAMES)
    with pytest.raises(RuntimeError, match="more_masks is connected, but masks is not"):
        read(poses=bodies, driving=["mask", 0], **{"more_masks.person_2": mask})


def test_poses_of_files(comfy, graph, bodies, read):
    """Saved and loaded they are the same; a file of another detector is read, and its people are matched to masks."""
    masks, driving = (graph.pictures(name, name, frames=FRAMES) for name in ("driving_mask2", "driving2"))
    expected, _, _ = read(poses=bodies, masks=masks, driving=driving)
    graph.add("file", "SCAIL2SavePoses", poses=["read", 0], name="shots/one")
    comfy.run(graph)
    with pytest.raises(RuntimeError, match="SCAIL2SavePoses: The poses file shots/one exists already"):
        comfy.run(graph.set("file", poses=["read", 0], overwrite=False, name="shots/one") | {"again": {
            "class_type": "SCAIL2SavePoses", "inputs": {"poses": ["file", 0], "name": "shots/one"}}})
    del graph["file"], graph["bodies"]
    loaded = graph.add("loaded", "SCAIL2LoadPoses", file="shots/one.safetensors", driving=driving)
    found, _, _ = read(poses=loaded)
    assert all(torch.equal(found[name], value) for name, value in expected.items())

    joints = torch.stack([torch.stack((body(second), body(first))) for first, second in boxes(graph).T])
    np.savez(comfy.base / "models/scail2_poses/other.npz", joints=joints.numpy())
    graph.set("loaded", file="other.npz")
    found, text, _ = read(poses=loaded, masks=masks)
    assert (columns(found) - boxes(graph)).abs().max() < 1e-2
    assert "without masks" not in text


class Middle(torch.nn.Module):
    """NLF in small: finds a body in the middle of what is not green."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def detect_smpl_batched(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        found: list[torch.Tensor] = []
        green = torch.tensor([0, 100, 0], dtype=torch.uint8)[:, None, None]
        for image in images:
            columns = torch.nonzero((image != green).any(0).any(0))[:, 0].float()
            joints = torch.zeros(columns.numel() // columns.numel(), 24, 3)
            joints[:, :, 0] = (columns.mean() + 0.5 - 48) / 92.2 * 6000
            joints[:, :, 1] = torch.arange(24) * 50.0 - 600
            joints[:, :, 2] = 6000
            found.append(joints)
        return {"joints3d_nonparam": found}


@pytest.fixture
def nlf_file(comfy):
    folder = comfy.base / "models/nlf"
    folder.mkdir(exist_ok=True)
    torch.jit.script(Middle()).save(str(folder / "tiny.torchscript"))
    (folder / "other.torchscript").write_text("nothing")
    (folder / "other_form.safetensors").write_text("nothing")


def test_nlf_is_run_over_the_driving_video(comfy, graph, read, nlf_file):
    """Person by person, in the masks; the file is chosen by name, and another one is refused."""
    model = graph.add("nlf", "SCAIL2LoadNLF", file="tiny.torchscript")
    masks = graph.pictures("colours", "driving_mask2", frames=FRAMES)
    found, text, _ = read(poses=model, driving=graph.pictures("driving", "driving2", frames=FRAMES), masks=masks)
    hips = found["joints"][:, :, 8]
    assert ((hips[..., 0] / hips[..., 2] * FOCAL + WIDTH / 2).T - boxes(graph)).abs().max() < 0.5
    files = comfy.get("/object_info/SCAIL2LoadNLF")["SCAIL2LoadNLF"]["input"]["required"]["file"]
    options = files[1]["options"]  # others share the server
    assert {"other.torchscript", "tiny.torchscript"} <= set(options)
    assert "other_form.safetensors" not in options
    with pytest.raises(RuntimeError, match="poses is an NLF model, but driving is not connected"):
        read(poses=model)
    graph.set("nlf", file="other.torchscript")
    with pytest.raises(RuntimeError, match="other.torchscript cannot be loaded as a torchscript file"):
        read(poses=model, driving=["driving", 0])
