"""Wan's VAE in fewer passes gives ComfyUI's bits, and what is not ComfyUI's is left to it."""

import json

import pytest


@pytest.fixture(scope="module")
def found(comfy):
    from graphs import Graph

    graph = Graph(comfy.images)
    vae = graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
    graph.add("text", "PreviewAny", source=graph.add("found", "TestVae", vae=vae))
    return json.loads(comfy.run(graph)["text"]["text"][0])


def test_frames_and_latents_are_comfyuis(found):
    assert all(found["decoded"].values()), found["decoded"]
    assert all(found["encoded"].values()), found["encoded"]


def test_a_vae_that_somebody_changed_is_comfyuis_business(found):
    assert found["known"]
    assert not found["known when patched"]
    assert found["unchanged"]


def test_where_bits_differ_comfyui_computes(found):
    """The first clip of a size tells, once in each direction."""
    assert found["fallen back"]
    assert found["noted"][-2:] == [False, False]


def test_several_gpus_decode_together(found):
    """The devices that worked are as many as there are, the VAE's own counted once."""
    assert found["together"] == found["again"] == [True, [3]]
    assert found["one without memory"] == [True, [2]]


def test_whoever_waits_for_frames_can_end_it(found):
    assert found["ended by the caller"] == [True, True]


def test_a_gpu_that_cannot_leaves_the_others_with_nothing(found):
    """One GPU decodes where memory runs out on several, or where their bits differ."""
    assert found["no room"] == [True, [1]]
    assert found["differs"] == [True, [1]]
    assert found["interrupted after"] < 5
    assert not found["more threads"]
