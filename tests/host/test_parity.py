"""Inside ComfyUI and outside of it the same video comes out: the nodes against the command line's pipeline.

Both get the drawn pictures, the same tiny transformer and VAE file, text embeddings, CLIP features and seed; each
prepares, encodes and samples in its own way, ComfyUI's VAE here and diffusers' there.
"""

from dataclasses import replace
from fractions import Fraction

import golden
import pytest
import torch
from graphs import add_inputs, add_motion, load
from safetensors.torch import load_file

from scail_model.headless import encoders, pipeline
from scail_model.headless.inputs import Inputs
from scail_model.identity import identities as ids
from scail_model.identity import mask_sources
from scail_model.identity.binding import bind
from scail_model.segments import Segment

SEED, STEPS, FRAMES, SIZE = 11, 3, 9, 64


def sampled_in_comfyui(comfy, graph, tensors, tmp_path, mode, additional):
    """(inputs of the first model call, normalised latent)."""
    add_inputs(graph, mode=mode, frames=FRAMES, additional=additional, width=SIZE, height=SIZE)
    add_motion(graph, length=FRAMES)
    model = graph.add("recorded", "TestRecord", model=load(graph), folder=str(tmp_path))
    graph.add("schedule", "SCAIL2Schedule", solver="unipc", steps=STEPS, shift=3.0)
    latent = graph.add("sampled", "SamplerCustom", model=model, add_noise=True, noise_seed=SEED, cfg=1.0,
                       positive=["motion", 0], negative=["motion", 1], sampler=["schedule", 0],
                       sigmas=["schedule", 1], latent_image=["motion", 2])
    found = tensors(graph, latent=latent, model=model)["samples"]
    return load_file(tmp_path / "0000.safetensors"), found


def headless_inputs(comfy, mode, additional):
    images = load_file(comfy.images)
    background = ("driving_mask1", "reference_mask1") if mode == ids.ANIMATION else ("driving_mask1_white",
                                                                                   "reference_mask1_black")
    references, masks = images["reference1"], images[background[1]]
    if additional:
        references, masks = images["references"], images["reference_masks"]
    driving, reference = (mask_sources.from_colours(clip, len(clip), name) for clip, name in (
        (images[background[0]][:FRAMES], "driving"), (masks, "reference")))
    bound = bind(mode, driving, mask_sources.pictures(reference))
    return Inputs([image.float() / 255 for image in references], images["driving1"][:FRAMES], bound, Fraction(16),
                  SIZE, SIZE, swapped=False)


@pytest.fixture
def vae(comfy, tmp_path):
    """The VAE file of the ComfyUI run, read by the command line's loader."""
    path = tmp_path / "Wan2.1_VAE.pth"
    torch.save(load_file(comfy.base / "models/vae/wan_tiny.safetensors"), path)
    return encoders.VAE(encoders.EncoderFiles(path, path, path, path), torch.device("cpu"))


@pytest.mark.parametrize(("mode", "additional"), [("animation", False), ("replacement", False), ("animation", True)])
@torch.inference_mode()
def test_both_ways_give_the_same_latent(comfy, graph, tensors, tmp_path, vae, mode, additional):
    seen, latent = sampled_in_comfyui(comfy, graph, tensors, tmp_path, mode, additional)
    inputs = headless_inputs(comfy, mode, additional)
    references = pipeline.encode_references(vae, inputs, cut_out=mode == ids.REPLACEMENT)
    driving = pipeline.encode_driving(vae, inputs, Segment(0, FRAMES, FRAMES, 0))

    extra = 1 if additional else 0
    for ours, comfyuis in (
        (references["reference_latents"], seen["reference_latent"][:, :16, extra:]),
        (references["reference_masks"], seen["ref_mask_latents"][:, :, extra : extra + 1]),
        (driving["driving_latents"], seen["pose_latents"][:, :16]), (driving["driving_masks"], seen["sam_latents"]),
    ):
        torch.testing.assert_close(ours, comfyuis, rtol=0, atol=2e-5)

    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(SEED))
    conditions = {**references, **driving, "replacement": mode == ids.REPLACEMENT}
    sampling = replace(pipeline.Sampling(), steps=STEPS, guidance=1.0)
    headless = pipeline.sample_segment(golden.tiny_transformer(), pipeline.Texts(seen["context"], None), seen["clip"],
                                       conditions, noise, None, sampling)
    torch.testing.assert_close(headless, latent, rtol=0, atol=1e-4)
    assert latent.std() > 0.5
