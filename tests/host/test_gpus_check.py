"""What the check and the page's plan are told of several GPUs, with CPU devices in their place."""

import json

import pytest
from graphs import Graph, add_inputs, load

SIZES = {"width": 96, "height": 64}


@pytest.fixture(scope="module", autouse=True)
def three_devices(comfy):
    def found(count):
        graph = Graph(comfy.images)
        graph.add("devices", "TestDevices", count=count, asked=-count)
        comfy.run(graph)

    found(3)
    yield
    found(1)


@pytest.fixture
def checked(comfy, graph):
    """checked(gpus, guidance) -> findings by code, and the plan's facts."""

    def run(gpus, guidance=1.0, patch=lambda model: model, **settings):
        add_inputs(graph, frames=17, **SIZES)
        inputs = {name: [name, 0] for name in ("positive", "negative", "vae", "reference", "driving", "identities")}
        graph.add("check", "SCAIL2Preflight", model=patch(load(graph, gpus=gpus)), solver="unipc", steps=2, shift=3.0,
                  guidance=guidance, **settings, **inputs)
        graph.add("values", "PreviewAny", source=["check", 1])
        results = comfy.run(graph)
        found = json.loads(results["values"]["text"][0])
        texts = {finding["code"]: finding["text"] for level in ("errors", "warnings", "facts") for finding in
                 found[level]}
        return texts, results["check"]["scail2_plan"][0]

    return run


def test_one_gpu_is_not_worth_a_word(checked):
    found, facts = checked("1")
    assert "gpus" not in found
    assert (facts["gpus"], facts["link"], facts["lanes"]) == (1, None, 0)


def test_two_gpus_are_a_fact(checked):
    found, facts = checked("2")
    assert found["gpus"] == "GPUs: 2 make one video (cpu, cpu:1)"
    assert (facts["gpus"], facts["link"], facts["lanes"]) == (2, None, 2)


def test_guidance_is_shared_first(checked):
    assert checked("2", guidance=5.0)[0]["gpus"] == "GPUs: 2 make one video (cpu, cpu:1), each prompt on half of them"


def test_fewer_than_asked_for_are_a_warning(checked):
    found, facts = checked("4")
    assert found["fewer_gpus"] == ("gpus is 4, but there are 3 here, and the model's 2 attention heads cannot be "
                                   "shared equally by 3: 2 GPUs are used.")
    assert found["gpus"] == "GPUs: 2 make one video (cpu, cpu:1)"
    assert facts["gpus"] == 2


def test_a_node_that_needs_all_rows_in_one_place(checked, graph):
    found, facts = checked("2", patch=lambda model: graph.add(
        "patched", "TestAttention", model=model, way="attn1_patch", scale=0.5, path="/dev/null"))
    assert "so each prompt is computed on one GPU: remove that node" in found["fewer_gpus"]
    assert facts["gpus"] == 1


def test_scenes_at_the_same_time_are_said(checked):
    assert "scenes" not in checked("2")[0]
    found, facts = checked("2", guidance=5.0, scene_cuts="9")
    assert found["scenes"] == "scenes at the same time: segment 1 on GPU 1; segment 2 on GPU 2"
    assert facts["lanes"] == 2


def test_all_gpus_make_each_scene_where_another_node_might_draw_noise(checked, graph):
    sampler = graph.add("sampler", "KSamplerSelect", sampler_name="euler")
    found, facts = checked("2", scene_cuts="9", sampler=sampler)
    assert "scenes" not in found
    assert (facts["gpus"], facts["lanes"]) == (2, 0)


def test_copies_of_another_loaders_model(checked, graph):
    def cores(_):
        core = graph.add("core", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")
        return graph.add("multigpu", "MultiGPU_WorkUnits", model=core, max_gpus=2)

    facts = checked("1", patch=cores)[1]
    assert (facts["gpus"], facts["lanes"]) == (2, 2)
