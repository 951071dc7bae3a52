"""Both ways: core's SCAIL-2 model under our conditioning nodes, and our model under core's conditioning node."""

import golden
import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, load
from recordings import forward, recorded
from safetensors.torch import load_file

from scail_model.transformer import SCAIL2Transformer

STREAMS = ("x", "timestep", "context", "clip", "reference_latent", "ref_mask_latents", "pose_latents", "sam_latents",
           "ref_mask_flag")


class UnitRotations(SCAIL2Transformer):
    """Our network with core's one difference: it turns the driving tokens by the mean position of a 2x2 cell, where
    the official code averages the four rotations, which also shortens the vectors."""

    def rotations(self, layout, device):
        cos, sin = super().rotations(layout, device)
        length = (cos**2 + sin**2).sqrt()
        return cos / length, sin / length


def core_network():
    network = UnitRotations(golden.TINY)
    network.load_state_dict(golden.tiny_weights())
    return network.requires_grad_(False)


def load_by_core(graph):
    return graph.add("core_model", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")


def add_core_motion(graph, mode="animation", length=9, **inputs):
    """Core's node on the same pictures; the pose video's size is the result's, as in its examples."""
    graph.add("clip_features", "CLIPVisionEncode", clip_vision=["clip", 0], image=["reference_image", 0], crop="none")
    return graph.add(
        "core_motion", "WanSCAILToVideo", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0], width=64,
        height=64, length=length, batch_size=1, pose_strength=1.0, pose_start=0.0, pose_end=1.0, video_frame_offset=0,
        previous_frame_count=5, replacement_mode=mode == "replacement", pose_video=["driving", 0],
        pose_video_mask=["driving_mask", 0], reference_image=["reference_image", 0],
        reference_image_mask=["reference_mask", 0], clip_vision_output=["clip_features", 0], **inputs)


@pytest.fixture
def calls(comfy, graph, tmp_path):
    """The one call of a model, and the latent, for a conditioning node and a loader."""

    def run(loader, motion, steps=1):
        folder = tmp_path / f"{loader.__name__}_{motion}_{steps}"
        folder.mkdir()
        model = graph.add("recorded", "TestRecord", model=loader(graph), folder=str(folder))
        path = tmp_path / "latent.safetensors"
        comfy.run(graph.save(path, latent=add_ksampler(graph, model, motion=motion, steps=steps)))
        return recorded(folder), load_file(path)["samples"]

    return run


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("additional", [False, True])
@pytest.mark.parametrize("mode", ["animation", "replacement"])
@pytest.mark.parametrize("motion", ["core_motion", "motion"])
def test_both_models_read_the_same_conditioning(graph, calls, motion, mode, additional):
    """Same tensors in; out of core's model the same velocity but for the length of the driving tokens' rotation."""
    add_inputs(graph, mode=mode, additional=additional)
    add_motion(graph)
    add_core_motion(graph, mode)
    (ours,), _ = calls(load, motion)
    (core,), _ = calls(load_by_core, motion)
    for name in STREAMS:
        assert torch.equal(ours[name], core[name]), name
    assert relative(core["velocity"], ours["velocity"]) < 1e-3
    assert relative(core["velocity"], forward(core_network(), core)) < 2e-5
    assert relative(ours["velocity"], forward(golden.tiny_transformer(), ours)) < 2e-6


@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_both_nodes_write_the_same_streams(graph, calls, mode):
    """Shapes and mode agree exactly; masks where both sides' resizing does. The pictures differ by the resizing."""
    add_inputs(graph, mode=mode)
    add_motion(graph)
    add_core_motion(graph, mode)
    (ours,), _ = calls(load, "motion")
    (core,), _ = calls(load, "core_motion")
    for name in STREAMS:
        assert ours[name].shape == core[name].shape, name
    assert torch.equal(ours["ref_mask_flag"], core["ref_mask_flag"])
    assert (ours["sam_latents"] - core["sam_latents"]).abs().mean() < 0.02
    assert (ours["ref_mask_latents"] - core["ref_mask_latents"]).abs().mean() < 0.02


@pytest.mark.parametrize("loader", [load, load_by_core])
@pytest.mark.parametrize("motion", ["core_motion", "motion"])
def test_whole_runs_are_finite(graph, calls, loader, motion):
    add_inputs(graph)
    add_motion(graph)
    add_core_motion(graph)
    _, latent = calls(loader, motion, steps=3)
    assert latent.shape == (1, 16, 3, 8, 8)
    assert latent.isfinite().all()
    assert latent.std() > 0.3


def test_history_is_pinned_in_both_models(graph, calls):
    """Our node's noise mask under core's model, and the other way round."""
    add_inputs(graph, frames=13)
    graph.pictures("previous", "driving1", frames=9)
    graph.add("fitted", "ImageScale", image=["previous", 0], upscale_method="bicubic", width=64, height=64,
              crop="center")
    add_motion(graph, start_frame=9, previous_frames=["fitted", 0])
    add_core_motion(graph, previous_frames=["fitted", 0])
    graph.set("core_motion", video_frame_offset=9)
    for loader, motion in ((load_by_core, "motion"), (load, "core_motion")):
        (first, _), latent = calls(loader, motion, steps=2)
        assert torch.equal(first["x"][:, 16:, :2], torch.ones(1, 4, 2, 8, 8))
        assert torch.equal(first["x"][:, 16:, 2:], torch.zeros(1, 4, 1, 8, 8))
