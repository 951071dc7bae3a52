"""The plate held while ComfyUI samples, whoever loads the model and whoever samples. The facts are collected in
testpack/plate_lock.py, in one graph; what Build makes of inputs goes through core's KSampler."""

import json

import pytest
import torch
from graphs import Graph, add_inputs, add_ksampler, add_motion, load

pytestmark = pytest.mark.node("SCAIL2MotionTransfer")


@pytest.fixture(scope="module")
def facts(comfy):
    graph = Graph(comfy.images)
    graph.add("facts", "TestPlateLock", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"))
    graph.add("text", "PreviewAny", source=["facts", 0])
    return json.loads(comfy.run(graph)["text"]["text"][0])


def is_held(found):
    return found["held"] < 0.02 < 0.2 < found["free"] and found["soft"] > 0.02


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "heun", "uni_pc", "dpmpp_2m_sde", "lcm",
                                     "res_multistep"])
def test_any_sampler_ends_at_the_plate_where_it_is_held(facts, sampler):
    assert is_held(facts["samplers"][sampler])


@pytest.mark.parametrize("fact", ["guidance", "context_windows", "other_loader"])
def test_guidance_windows_and_models_of_other_loaders(facts, fact):
    assert is_held(facts[fact])
    assert facts["other_loader"]["network"] == "SCAIL2WanModel"


def test_history_stays_what_it_is(facts):
    assert facts["history"]["given"] < 1e-6
    assert facts["history"]["held"] < 0.01


def test_every_sampling_looks_for_the_made_people_anew(facts):
    assert facts["measured"]["again"]
    assert facts["measured"]["held"] > 0.2  # all of it differs from the plate, so all of it may be a person


def test_nothing_is_left_on_the_model(facts):
    assert facts["without"]


def test_every_gpu_asks_the_same_lock(facts):
    assert facts["several_gpus"]


def test_a_conditioning_that_is_kept_holds_no_copy_of_the_plate(facts):
    assert facts["released"]


def test_a_latent_of_another_size_is_refused(facts):
    assert facts["another_size"] == (
        "The latent has 3 frames of 64x32 cells, but the plate that is held has 3 of 32x32: sample the latent that "
        "Build SCAIL-2 Motion Latent gives, or set plate to off there.")


def test_build_holds_what_was_filmed_under_a_ksampler(graph, tensors):
    """Far from the person the sampled latent is the driving video's, at full size."""
    add_inputs(graph, mode="replacement", frames=9)
    add_motion(graph, plate="lock", plate_grow=0, plate_feather=0, plate_person="driven")
    add_ksampler(graph, load(graph))
    graph.add("filmed", "ImageScale", image=["driving", 0], upscale_method="bicubic",
              width=64, height=64, crop="center")
    graph.add("plate", "VAEEncode", pixels=["filmed", 0], vae=["vae", 0])
    locked = tensors(graph, latent=["sampled", 0])["samples"]
    plate = tensors(graph, latent=["plate", 0])["samples"]
    graph.set("motion", plate="off")
    free = tensors(graph, latent=["sampled", 0])["samples"]
    apart, apart_free = ((each - plate).abs().mean(1) for each in (locked, free))
    kept = apart < 0.05 * plate.std()
    assert 0.2 < float(kept.float().mean()) < 0.95
    assert float((apart_free[kept] < 0.05 * plate.std()).float().mean()) < 0.2
    assert not torch.equal(locked, free)
