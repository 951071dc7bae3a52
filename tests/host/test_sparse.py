"""Sparse attention in ComfyUI, whoever samples. The facts are collected in testpack/sparse.py, in one graph."""

import json

import pytest
from graphs import Graph

pytestmark = pytest.mark.node("SCAIL2LoadModel")


@pytest.fixture(scope="module")
def facts(comfy):
    graph = Graph(comfy.images)
    graph.add("facts", "TestSparse", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"))
    graph.add("text", "PreviewAny", source=["facts", 0])
    return json.loads(comfy.run(graph)["text"]["text"][0])


def test_any_sampler_has_a_run_for_each_sampling_and_tells_its_errors(facts):
    assert facts["any_sampler"]["equal"]
    assert len(facts["any_sampler"]["told"]) == 2


def test_a_run_that_is_given_is_taken_and_leaves_nothing_behind(facts):
    assert facts["given_run"] == {"steps": [0, 7], "layers": [0, 1], "left": [], "told": []}


def test_what_is_computed_decides_the_error(facts):
    distances = facts["density_acts"]
    assert distances["0.15"] > distances["0.4"] > 100 * distances["1.0"]


def test_both_prompts_in_one_batch_or_one_after_the_other(facts):
    assert facts["batched_or_not"] < 1e-4


@pytest.mark.parametrize("fact", ["context_windows", "lora_hook"])
def test_windows_and_hooks(facts, fact):
    assert facts[fact] == {"finite": True, "steps": [0]}


def test_compiled(facts):
    """Each sampling with its own run, although ComfyUI tells PyTorch not to look whether the options have changed."""
    for found in facts["compiled"]:
        assert found["places"]
        assert max(found["distance"], found["errors"]) < 1e-4


def test_attention_of_other_nodes_comes_first_and_is_told(facts):
    assert max(facts["other_attention"]["distance"].values()) < 1e-4
    assert len(facts["other_attention"]["told"]) == 2


def test_keys(facts):
    assert facts["keys"] == [True, False]
