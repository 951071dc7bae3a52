"""What ComfyUI 0.33 and newer brought for loaders. The facts are collected in testpack/loading.py, in one graph."""

import json

import pytest
from graphs import Graph

pytestmark = pytest.mark.node("SCAIL2LoadModel")


@pytest.fixture(scope="module")
def facts(comfy):
    graph = Graph(comfy.images)
    graph.add("facts", "TestLoading", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"))
    graph.add("text", "PreviewAny", source=["facts", 0])
    return json.loads(comfy.run(graph)["text"]["text"][0])


def test_without_dynamic_memory_everything_has_the_dtype_of_the_run(facts):
    """On a GPU it was "Half and BFloat16": ComfyUI 0.33 gives linears their parameters from the file."""
    assert facts["legacy_memory"] == ["torch.float16"]


def test_a_fast_disk_is_known_to_the_patcher(facts):
    assert facts["fast_disk"] == [True]


def test_attention_named_by_a_file_is_left_to_the_node(facts):
    assert facts["attention_preferences"] == [
        "SCAIL-2: the file asks for attention functions of its own in 2 layers, which are not used: choose one for the "
        "whole model with attention in Load SCAIL-2 Model."]


def test_rotated_int8_computes_as_core_does(facts):
    """In one kernel with GELU, where ComfyUI has that."""
    assert facts["rotated_int8"]["from core"] < 0.01
    assert facts["rotated_int8"]["fused"] in (None, 2)


def test_attention_to_the_image_is_never_in_few_bits(facts):
    """SageAttention can give NaN there. Keys: 114 tokens, 512 of text, 257 of the image."""
    assert facts["precision_of_attention"] == {"114": True, "512": True, "257": False}


def test_an_attention_that_the_user_has_started_comfyui_with_stays(facts):
    assert facts["automatic_attention"] == {"pytorch": "cudnn", "sage": "sage"}


def test_our_own_check_is_no_part_of_a_jobs_key(facts):
    assert facts["job_key"] == [True, False]
