"""Inside ComfyUI and outside of it the same video comes out: the nodes against the command line's pipeline.

Both get the drawn pictures, the same tiny transformer and VAE file, text embeddings, CLIP features and seed; each
prepares, encodes and samples in its own way, ComfyUI's VAE here and diffusers' there.
"""

import golden
import pytest
import torch
from graphs import add_inputs, add_motion, load
from safetensors.torch import load_file

from scail_model.headless import encoders
from scail_model.headless.host import _reference_conditions
from scail_model.headless.sampling import sample_latent
from scail_model.identity import identities as ids
from scail_model.identity import mask_sources
from scail_model.identity.binding import bind
from scail_model.inputs import driving as driving_side
from scail_model.inputs.reference import encode_reference
from scail_model.media.clips import TensorClip
from scail_model.segments import Segment
from scail_model.video.task import Settings

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
    return [image.float() / 255 for image in references], TensorClip(images["driving1"][:FRAMES]), bound


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
    pictures, clip, bound = headless_inputs(comfy, mode, additional)

    def encode(frames):
        return vae.encode(frames.movedim(-1, 1))

    references = _reference_conditions(encode_reference(
        pictures, bound, SIZE, SIZE, encode, lambda pixels: seen["clip"], cut_out=mode == ids.REPLACEMENT), vae.device)
    segment, size = Segment(0, FRAMES, FRAMES, 0), (SIZE, SIZE)
    pixels = driving_side.segment_pixels(clip, bound, segment, size, black_background=False)
    driving = {"driving_latents": encode(pixels.movedim(1, -1)),
               "driving_masks": driving_side.segment_mask(bound, segment, size, clip.tick)[None]}

    extra = 1 if additional else 0
    for ours, comfyuis in (
        (references["reference_latents"], seen["reference_latent"][:, :16, extra:]),
        (references["reference_masks"], seen["ref_mask_latents"][:, :, extra : extra + 1]),
        (driving["driving_latents"], seen["pose_latents"][:, :16]), (driving["driving_masks"], seen["sam_latents"]),
    ):
        torch.testing.assert_close(ours, comfyuis, rtol=0, atol=2e-5)

    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(SEED))
    conditions = {**references, **driving, "replacement": mode == ids.REPLACEMENT}
    settings = Settings("unipc", STEPS, 3.0, 1.0, SEED, 81, 5, False)
    headless = sample_latent(golden.tiny_transformer(), seen["context"], None, seen["clip"], conditions, noise,
                             settings, guidance=1.0)
    torch.testing.assert_close(headless, latent, rtol=0, atol=1e-4)
    assert latent.std() > 0.5
