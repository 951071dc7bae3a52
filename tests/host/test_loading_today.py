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
    assert facts["rotated_int8"]["fused"] in (None, 4)  # two blocks for each of two prompts


def test_attention_to_the_image_is_never_in_few_bits(facts):
    """SageAttention can give NaN there. Keys: 114 tokens, 512 of text, 257 of the image."""
    assert facts["precision_of_attention"] == {"114": True, "512": True, "257": False}


def test_an_attention_that_the_user_has_started_comfyui_with_stays(facts):
    """PyTorch's is replaced by what is exact and faster; xformers, which ComfyUI takes if it is installed, by
    FlashAttention 4."""
    for fastest in ("cudnn", "flash_attn_4"):
        chosen = {key.removeprefix(f"{fastest} "): found for key, found in facts["automatic_attention"].items()
                  if key.startswith(fastest)}
        taken = [fastest, "the fastest for exact here"]
        assert chosen == {
            "pytorch None": taken, "pytorch use_pytorch_cross_attention": taken,
            "xformers None": ["xformers", "ComfyUI computes with xformers"] if fastest == "cudnn" else taken,
            "sage use_sage_attention": ["sage", "ComfyUI was started with --use-sage-attention"],
            "flash use_flash_attention": ["flash", "ComfyUI was started with --use-flash-attention"],
            "split use_split_cross_attention": ["split", "ComfyUI was started with --use-split-cross-attention"],
            "sub_quad use_quad_cross_attention": ["sub_quad", "ComfyUI was started with --use-quad-cross-attention"],
            "comfy_kitchen_int8 use_ck_attention": ["comfy_kitchen_int8",
                                                    "ComfyUI was started with --use-ck-attention"]}


def test_our_own_check_is_no_part_of_a_jobs_key(facts):
    assert facts["job_key"] == [True, False]
