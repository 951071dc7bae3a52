"""SCAIL2ReframeReference in a real ComfyUI: picture, masks and everything after them fit together."""

import pytest
import torch
from graphs import add_inputs, add_motion
from safetensors.torch import load_file

pytestmark = pytest.mark.node("SCAIL2ReframeReference")


def add_reframe(graph, **inputs):
    graph.add("reframed", "SCAIL2ReframeReference", image=["reference_image", 0], identities=["identities", 0],
              width=96, height=64, **inputs)
    return graph


def rows(mask):
    """First and last row with anybody of [H, W]."""
    found = mask.any(1).nonzero()
    return found.min().item(), found.max().item()


@pytest.mark.parametrize("mode", ["animation", "replacement"])
@pytest.mark.parametrize("people", [1, 2])
def test_the_person_gets_the_drivers_height_and_ground_line(comfy, tensors, graph, mode, people):
    add_reframe(add_inputs(graph, mode=mode, people=people), driving=["driving", 0])
    found = tensors(graph, image=["reframed", 0])["image"]
    graph.add("mask_image", "MaskToImage", mask=["reframed", 1])
    mask = tensors(graph, image=["mask_image", 0])["image"][0, ..., 0] > 0.5
    driver = load_file(comfy.images)[f"driving_mask{people}"][0].amax(-1) > 127  # 96x64, as the result
    assert found.shape == (1, 64, 96, 3)
    assert rows(mask) == pytest.approx(rows(driver), abs=1)
    columns = [side.any(0).nonzero().float().mean() for side in (mask, driver)]
    assert columns[0] == pytest.approx(columns[1], abs=2)
    outside = found[0, 2, 2]  # the portrait is narrower than the result
    assert (outside.max() < 0.01) == (mode == "replacement")


def test_the_rest_of_the_graph_takes_the_new_picture_and_masks(tensors, graph):
    """The reference's blue channel covers what the mask covers, and the latent is another than before."""
    add_reframe(add_inputs(graph, width=96))
    motion = add_motion(graph)
    before = tensors(graph, conditioning=motion)["ref_mask_28ch"]
    graph.set("reference", image=["reframed", 0], identities=["reframed", 2])
    graph.set("motion", identities=["reframed", 2])
    after = tensors(graph, conditioning=motion)["ref_mask_28ch"]
    graph.add("mask_image", "MaskToImage", mask=["reframed", 1])
    mask = tensors(graph, image=["mask_image", 0])["image"][0, ..., 0]
    cells = torch.nn.functional.avg_pool2d(mask[None], 8)[0]
    torch.testing.assert_close(after[0, 0, 3], cells)
    assert not torch.equal(before, after)


def test_scale_stands_on_the_same_spot(tensors, graph):
    add_reframe(add_inputs(graph))
    heights = {}
    for scale in (1.0, 0.5):
        graph.set("reframed", scale=scale)
        graph.add("mask_image", "MaskToImage", mask=["reframed", 1])
        heights[scale] = rows(tensors(graph, image=["mask_image", 0])["image"][0, ..., 0] > 0.5)
    (top, bottom), (half_top, half_bottom) = heights[1.0], heights[0.5]
    assert half_bottom == pytest.approx(bottom, abs=1)
    assert half_bottom - half_top == pytest.approx((bottom - top) / 2, abs=1.5)


def test_preview_shows_before_after_and_the_driving_frame(tensors, graph):
    add_reframe(add_inputs(graph), driving=["driving", 0])
    panels = tensors(graph, image=["reframed", 3])["image"]
    graph.add("reframed2", "SCAIL2ReframeReference", image=["reference_image", 0], identities=["identities", 0],
              width=96, height=64)
    two = tensors(graph, image=["reframed2", 3])["image"]
    assert panels.shape[1] == two.shape[1]
    assert panels.shape[2] > 1.4 * two.shape[2]


def test_additional_references_come_along(tensors, graph):
    add_reframe(add_inputs(graph, additional=True, width=96))
    graph.set("reference", image=["reframed", 0], identities=["reframed", 2])
    motion = add_motion(graph)
    graph.set("motion", identities=["reframed", 2])
    assert tensors(graph, image=["reframed", 0])["image"].shape == (2, 64, 96, 3)
    assert tensors(graph, conditioning=motion)["ref_mask_28ch"][:, 0].any()
