"""Scenes that several GPUs make at the same time in a real ComfyUI, over CPU devices (testpack/gpus.py)."""

import itertools
import json
import shutil
import time

import pytest
from assets import digest
from graphs import Graph, add_inputs, add_sample_video, load

SIDE, FRAMES, CUTS = 64, 19, "5, 14"  # segments 1 | 2, 3 | 4
FILE = "fp32.safetensors"
_count = itertools.count()


def set_devices(comfy, count):
    """Let ComfyUI find so many; returns the threads of ours that it has now."""
    graph = Graph(comfy.images)
    graph.add("devices", "TestDevices", count=count, asked=next(_count))
    graph.add("threads", "PreviewAny", source=["devices", 0])
    return comfy.run(graph)["threads"]["text"][0]


@pytest.fixture(scope="module", autouse=True)
def machine(comfy):
    set_devices(comfy, 2)
    yield
    set_devices(comfy, 1)


@pytest.fixture(autouse=True)
def folder(comfy):
    """Where the jobs are; empty at first."""
    jobs = comfy.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    return jobs


def video(graph, gpus, patch=lambda graph, model: model, **options):
    graph.clear()
    add_inputs(graph, width=SIDE, height=SIDE, frames=FRAMES)
    add_sample_video(graph, patch(graph, load(graph, FILE, gpus=gpus)),
                     **{"segment_length": 5, "overlap": 1, "scene_cuts": CUTS, "guidance": 3.0} | options)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    return graph


def contents(folder):
    """Digests of the one job's files, by name."""
    return {path.name: digest(path) for path in folder.glob("*/*") if path.suffix != ".json"}


def lora(graph, model):
    return graph.add("lora", "LoraLoaderModelOnly", model=model, lora_name="lora.safetensors", strength_model=0.7)


def split(graph, model):
    return graph.add("split", "MultiGPU_WorkUnits", model=model, max_gpus=2)


@pytest.fixture(scope="module")
def expected(comfy):
    """The files of one GPU."""
    jobs = comfy.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    comfy.run(video(Graph(comfy.images), "1"))
    return contents(jobs)


def places(comfy):
    """Of the segments of the last run, as a page is told."""
    return [segment["place"] for segment in comfy.get("/scail2/progress")["runs"][-1]["segments"]]


def test_two_gpus_make_the_files_of_one(comfy, graph, folder, expected):
    size = comfy.log_size()
    comfy.run(video(graph, "2"))
    assert contents(folder) == expected
    assert places(comfy) == ["GPU 1", "GPU 2", "GPU 2", "GPU 1"]
    lines = [line for line in comfy.log_since(size).splitlines() if "SCAIL-2: segment " in line]
    assert sum("GPU 1" in line for line in lines) == sum("GPU 2" in line for line in lines) == 2
    assert "lane" not in set_devices(comfy, 2)


@pytest.mark.parametrize("patch", [lambda graph, model: model, lora, split], ids=["as loaded", "LoRA", "core's copies"])
def test_memory_management_knows_what_lanes_have_loaded(comfy, graph, patch):
    """The loader's MODEL, which outlives the lanes, so that its weights can be freed on every GPU."""
    comfy.run(video(graph, "1" if patch is split else "2", patch, seed=31))
    asking = Graph(comfy.images)
    asking.add("loaded", "TestLoaded", asked=next(_count))
    asking.add("text", "PreviewAny", source=["loaded", 0])
    loaded = json.loads(comfy.run(asking)["text"]["text"][0])
    assert {"cpu", "cpu:1"} <= {device for device, _ in loaded}
    assert all(device == freed for device, freed in loaded)


def test_with_one_scene_all_gpus_make_it(comfy, graph):
    comfy.run(video(graph, "2", scene_cuts="", guidance=1.0))
    assert set(places(comfy)) == {"2 GPUs"}


def apg(graph, model):
    """A running average over steps, which starts anew where noise rises."""
    return graph.add("apg", "APG", model=model, eta=0.5, norm_threshold=5.0, momentum=0.7)


def hooked(graph, model):
    """A LoRA on the positive prompt alone, fading."""
    graph.add("hook", "CreateHookLora", lora_name="lora.safetensors", strength_model=0.7, strength_clip=0.0)
    graph.add("keyframes", "CreateHookKeyframesInterpolated", strength_start=1.0, strength_end=0.0,
              interpolation="linear", start_percent=0.0, end_percent=1.0, keyframes_count=4, print_keyframes=False)
    hooks = graph.add("hooks", "SetHookKeyframes", hooks=["hook", 0], hook_kf=["keyframes", 0])
    graph.add("hooked", "ConditioningSetProperties", cond_NEW=["positive", 0], strength=1.0, set_cond_area="default",
              hooks=hooks)
    return model


@pytest.mark.parametrize(("patch", "place"), [(apg, "2 GPUs"), (hooked, None)], ids=["APG", "LoRA hooks"])
def test_threads_do_not_share_what_another_node_keeps_between_steps(comfy, graph, folder, patch, place):
    made = {}
    for gpus in ("1", "2"):
        shutil.rmtree(folder, ignore_errors=True)
        video(graph, gpus, patch, steps=4)
        if patch is hooked:
            graph.set("sampled", positive=["hooked", 0])
        report = comfy.run(graph)["report"]["text"][0]
        made[gpus] = {path.name[:4]: digest(path) for path in folder.glob("*/*.latent.safetensors")}
    assert len(made["1"]) == 4
    assert made["1"] == made["2"]
    assert set(places(comfy)) == {place}
    assert ("on 2 GPUs" in report) == (patch is apg)
    assert ("A node turns LoRAs on while the model samples" in report) == (patch is hooked)


def test_copies_that_core_has_made_of_its_own_model(comfy, graph, folder):
    """Core's loader and its MultiGPU node; our network stands in each copy's place."""
    made = []
    for gpus in (1, 2):
        shutil.rmtree(folder, ignore_errors=True)
        comfy.run(video(graph, "1", patch=lambda graph, _, gpus=gpus: graph.add(
            "multigpu", "MultiGPU_WorkUnits", max_gpus=gpus,
            model=graph.add("core", "UNETLoader", unet_name=FILE, weight_dtype="default"))))
        made.append(contents(folder))
    assert made[0] == made[1]
    assert places(comfy) == ["GPU 1", "GPU 2", "GPU 2", "GPU 1"]


def test_a_model_that_has_been_moved(comfy, graph, folder, expected):
    """To the GPU of its copy, and copied again for the first one."""
    def moved(graph, model):
        return graph.add("moved", "TestMoved", model=model, place=1, asked=next(_count))

    for patch, places_of in ((moved, [None] * 4), (lambda graph, model: split(graph, moved(graph, model)),
                                                   ["GPU 1", "GPU 2", "GPU 2", "GPU 1"])):
        shutil.rmtree(folder, ignore_errors=True)
        comfy.run(video(graph, "2", patch))
        assert contents(folder) == expected
        assert places(comfy) == places_of


def test_the_gpu_that_is_left_alone_with_a_long_scene_is_helped(comfy, graph, folder):
    made = []
    for gpus in ("1", "2"):
        shutil.rmtree(folder, ignore_errors=True)
        comfy.run(video(graph, gpus, scene_cuts="5", guidance=1.0))  # one segment, and four in a chain
        made.append(contents(folder))
    assert made[0] == made[1]
    assert places(comfy)[:2] == ["GPU 1", "GPU 2"]
    assert places(comfy)[-1] == "2 GPUs"


def failing(how):
    def patch(graph, model):
        return graph.add("failing", "TestFailingGpu", model=model, place=1, how=how, asked=next(_count))

    return patch


def test_an_error_on_one_gpu_ends_both_and_the_next_run_goes_on(comfy, graph, folder, expected):
    with pytest.raises(RuntimeError, match="this GPU is broken"):
        comfy.run(video(graph, "2", failing("error")))
    assert "lane" not in set_devices(comfy, 2)
    comfy.run(video(graph, "2"))
    assert {name: found for name, found in contents(folder).items() if name != "so-far.mp4"} == expected


def test_a_cancel_ends_both_in_the_middle_of_a_forward(comfy, graph, folder, expected):
    size, prompt = comfy.log_size(), comfy.queue(video(graph, "2", failing("cancel")))
    end = time.monotonic() + 60
    while "in the middle of a forward" not in comfy.log_since(size) and time.monotonic() < end:
        time.sleep(0.02)
    comfy.post("/interrupt", {})
    assert comfy.wait(prompt)["status"]["messages"][-1][0] == "execution_interrupted"
    assert "lane" not in set_devices(comfy, 2)
    comfy.run(video(graph, "1"))
    assert {name: found for name, found in contents(folder).items() if name != "so-far.mp4"} == expected
