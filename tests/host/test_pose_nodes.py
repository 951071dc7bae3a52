"""Retarget SCAIL-2 Poses and Render SCAIL-2 Poses in a real ComfyUI."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

HEIGHT, WIDTH = 256, 448  # of the golden case
CASE = Path(__file__).parents[1] / "golden/poses/P4_05_feet_small_face.npz"
SQUARE = torch.tensor([[-0.25, -0.6, 0], [0.25, -0.6, 0], [0.25, 0.6, 0], [-0.25, 0.6, 0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])

render = pytest.mark.node("SCAIL2RenderPoses")
retarget = pytest.mark.node("SCAIL2RetargetPoses")


@pytest.fixture(scope="module")
def golden():
    return np.load(CASE)


@pytest.fixture(scope="module")
def files(comfy, golden, tmp_path_factory):
    """Poses: one person with face and hands; two people, of whom the first leaves; both with flat bodies."""
    folder = tmp_path_factory.mktemp("poses")
    joints = torch.from_numpy(golden["joints"])[:, None]
    beside = joints + (joints != 0).any(-1, keepdim=True) * torch.tensor([700.0, 0, 400])
    two = torch.cat([joints, beside], 1)
    two[1, 0] = 0
    bodies = torch.stack([SQUARE + torch.tensor([-0.2, 0, 2.6]), SQUARE + torch.tensor([0.2, 0.1, 3])])
    bodies = bodies.repeat(2, 1, 1, 1)
    bodies[1, 0] = 0
    save_file({"joints": joints, "points": torch.from_numpy(golden["drive_kp134"])[:, None].contiguous(),
               "scores": torch.from_numpy(golden["drive_score134"])[:, None].contiguous()}, folder / "one.safetensors")
    right = (torch.arange(WIDTH) > 130).float().expand(1, HEIGHT, WIDTH)  # blue, the first person; the other is red
    save_file({"image": torch.zeros(1, HEIGHT, WIDTH, 3),
               "masks": torch.stack([1 - right, torch.zeros_like(right), right], -1)}, folder / "reference.safetensors")
    save_file({"joints": two, "vertices": bodies, "faces": FACES}, folder / "two.safetensors")
    return folder


@pytest.fixture
def images(comfy, graph, tmp_path):
    """Run the graph, and read the images of links by name."""
    def run(**links):
        for name, link in links.items():
            graph.save(tmp_path / f"{name}.safetensors", f"saved {name}", image=link)
        comfy.run(graph)
        return {name: load_file(tmp_path / f"{name}.safetensors")["image"] for name in links}

    return run


def add_poses(graph, files, name, labels="1"):
    return graph.add("poses", "TestPoses", path=str(files / f"{name}.safetensors"), width=WIDTH, height=HEIGHT,
                     labels=labels)


def add_render(graph, style="official", face=True, hands=True, **inputs):
    graph.add("rendered", "SCAIL2RenderPoses", poses=["poses", 0], style=style, face=face, hands=hands, **inputs)
    return {"driving": ["rendered", 0], "masks": ["rendered", 1]}


def key_points(*people, canvas=(HEIGHT, WIDTH)):
    """POSE_KEYPOINT of bodies [18 points, 3] in pixels."""
    return json.dumps([{"canvas_height": canvas[0], "canvas_width": canvas[1],
                        "people": [{"pose_keypoints_2d": np.asarray(person).ravel().tolist()} for person in people]}])


def reference(golden, shift=0.0):
    points, scores = golden["ref_kp134"][0, :18], golden["ref_score134"][0, :18]
    return np.concatenate([points + (shift, 0), scores[:, None]], 1)


def colours(image):
    return {tuple(colour) for colour in (image * 255).round().int().flatten(0, -2).unique(dim=0).tolist()}


@render
def test_masks_lie_on_the_picture_in_the_colours_of_the_labels(images, graph, files):
    add_poses(graph, files, "two", labels="2 5")
    found = images(**add_render(graph))
    driving, masks = found["driving"], found["masks"]
    assert driving.shape == masks.shape == (2, HEIGHT, WIDTH, 3)
    assert colours(masks[0]) == {(0, 0, 0), (255, 0, 0), (0, 255, 255)}
    assert colours(masks[1]) == {(0, 0, 0), (0, 255, 255)}
    assert torch.equal(driving.amax(-1) > 0, masks.amax(-1) > 0)


@render
def test_face_hands_frames_and_size_are_as_asked(images, graph, files):
    add_poses(graph, files, "one")
    whole = images(**add_render(graph))["driving"]
    bare = images(**add_render(graph, face=False, hands=False, start=1, frames=5))["driving"]
    assert len(bare) == 1
    assert (bare[0].amax(-1) > 0).sum() < (whole[1].amax(-1) > 0).sum()
    assert (bare[0].amax(-1) > 0)[whole[1].amax(-1) == 0].sum() == 0
    square = images(**add_render(graph, face=False, hands=False, width=128, height=128))["driving"]
    there, here = (square[1].amax(-1) > 0).nonzero().float(), (bare[0].amax(-1) > 0).nonzero().float()
    middle = (here + 0.5).mean(0) / 2 - torch.tensor([0, (224 - 128) / 2])  # halved, then cut to the middle
    torch.testing.assert_close((there + 0.5).mean(0), middle, atol=0.5, rtol=0)


@render
def test_the_output_poses_is_drawn_where_it_is_connected(images, graph, files):
    """The same frames once more, drawn by the node that they drive."""
    add_poses(graph, files, "one")
    links = add_render(graph, hands=False)
    graph.add("again", "SCAIL2RenderPoses", poses=["rendered", 2], style="official", face=True, hands=False)
    found = images(**links, again=["again", 0])
    assert torch.equal(found["driving"], found["again"])


@render
def test_mesh_masks_lie_on_the_picture_of_comfyuis_node(images, graph, files):
    add_poses(graph, files, "two", labels="1 2")
    found = images(**add_render(graph, style="mesh"))
    driving, masks = found["driving"], found["masks"]
    assert torch.equal(driving.amax(-1) > 0, masks.amax(-1) > 0)
    assert colours(masks[0]) == {(0, 0, 0), (0, 0, 255), (255, 0, 0)}
    assert len(driving[0].unique()) == 3
    second = masks[..., 0] == 1
    assert driving[second].unique().numel() == 1, "the second person keeps the tint when the first has left"
    assert not masks[1, ..., 2].any()


@render
def test_a_mesh_look_gives_masks_where_it_is_connected_but_no_picture(comfy, graph, files):
    add_poses(graph, files, "two", labels="1 2")
    add_render(graph, style="mesh")
    graph.add("reference", "TestImages", path=str(files / "reference.safetensors"), name="masks")
    graph.add("bound", "SCAIL2Identities", mode="animation", driving_masks=["rendered", 2],
              reference_masks=["reference", 0])
    graph.add("shown", "PreviewImage", images=["bound", 1])
    comfy.run(graph)
    graph.set("bound", driving=["rendered", 2])
    with pytest.raises(RuntimeError, match="look mesh, which only Render SCAIL-2 Poses .* connect its driving output"):
        comfy.run(graph)


@render
def test_sam3d_bodies_lie_on_their_skeletons(images, graph, golden, tmp_path):
    """From the detector's answer on: the limbs of the mesh are where the capsules of the same people are."""
    joints = torch.from_numpy(golden["joints"])[:, None]
    save_file({"joints": joints, "image": torch.zeros(2, HEIGHT, WIDTH, 3)}, tmp_path / "video.safetensors")
    graph.add("video", "TestImages", path=str(tmp_path / "video.safetensors"), name="image")
    graph.add("bodies", "TestDrawnBodies", image=["video", 0], path=str(tmp_path / "video.safetensors"))
    graph.add("poses", "SCAIL2Poses", poses=["bodies", 0], driving=["video", 0])
    skeletons = images(**add_render(graph, face=False, hands=False))["masks"].amax(-1) > 0
    bodies = images(**add_render(graph, style="mesh"))
    silhouettes = bodies["masks"].amax(-1) > 0
    assert torch.equal(silhouettes, bodies["driving"].amax(-1) > 0)
    assert (silhouettes & skeletons).sum() > 0.8 * skeletons.sum()
    assert (silhouettes & skeletons).sum() > 0.2 * silhouettes.sum()


@render
@retarget
def test_mesh_masks_lie_on_the_picture_after_retargeting(images, graph, files, golden):
    add_poses(graph, files, "two", labels="1 2")
    wide = reference(golden) * (1.1, 1, 1)
    graph.add("points", "TestKeyPoints", text=key_points(wide, reference(golden, -130)))
    for name in ("image", "masks"):
        graph.add(name, "TestImages", path=str(files / "reference.safetensors"), name=name)
    graph.add("identities", "SCAIL2Identities", mode="animation", driving_masks=["masks", 0],
              reference_masks=["masks", 0])
    graph.add("moved", "SCAIL2RetargetPoses", poses=["poses", 0], image=["image", 0], keypoints=["points", 0],
              identities=["identities", 0], error_limit=1)
    before = images(**add_render(graph, style="mesh"))["masks"]
    graph.set("rendered", poses=["moved", 0])
    found = images(driving=["rendered", 0], masks=["rendered", 1], preview=["moved", 1])
    assert not torch.equal(before, found["masks"])
    differ = (found["driving"].amax(-1) > 0) != (found["masks"].amax(-1) > 0)
    assert differ.sum() <= 4, "float32 moves an edge over a pixel's centre now and then"
    assert found["preview"].shape == (1, HEIGHT, WIDTH, 3)


@render
def test_without_comfyuis_node_one_sentence_says_what_to_do(comfy, graph, files):
    add_poses(graph, files, "two", labels="1 2")
    graph.add("without", "TestWithoutBodyRender", poses=["poses", 0])
    with pytest.raises(RuntimeError, match="SAM3DBody_Render, which draws .* is missing in this ComfyUI: update"):
        comfy.run(graph)


@render
def test_one_sentence_for_wrong_wishes(comfy, graph, files):
    add_poses(graph, files, "one")
    for wishes, message in (({"style": "mesh"}, "The poses have no body mesh: read them from SAM3D Body"),
                            ({"start": 7}, "start is 7, but the poses have frames 0 to 1: lower it")):
        add_render(graph, **wishes)
        graph.add("shown", "PreviewImage", images=["rendered", 0])
        with pytest.raises(RuntimeError, match=message):
            comfy.run(graph)


@retarget
def test_a_person_is_retargeted_and_faults_are_told(comfy, images, graph, files, golden):
    add_poses(graph, files, "one")
    graph.add("points", "TestKeyPoints", text=key_points(reference(golden)))
    save_file({"image": torch.full((1, HEIGHT, WIDTH, 3), 0.5)}, files / "picture.safetensors")
    graph.add("image", "TestImages", path=str(files / "picture.safetensors"), name="image")
    graph.add("moved", "SCAIL2RetargetPoses", poses=["poses", 0], image=["image", 0], keypoints=["points", 0])
    before = images(**add_render(graph, face=False, hands=False))["driving"]
    graph.set("rendered", poses=["moved", 0])
    found = images(driving=["rendered", 0], preview=["moved", 1])
    tops = [(frames[0].amax(-1) > 0).any(1).nonzero()[0].item() for frames in (before, found["driving"])]
    m, s, _, q, _ = golden["exact"]
    assert tops[1] - HEIGHT / 2 == pytest.approx((tops[0] - HEIGHT / 2) * m * s + q, abs=1.5)
    assert found["preview"].amax() > 0.5
    graph.set("points", text=key_points(reference(golden), reference(golden, 50)))
    with pytest.raises(RuntimeError, match="who is who .people of the poses: 1, in the reference's keypoints: 2"):
        comfy.run(graph)
    graph.set("points", text=key_points(reference(golden)))
    graph.set("moved", width=100, height=64)
    with pytest.raises(RuntimeError, match="width is 100"):
        comfy.run(graph)
