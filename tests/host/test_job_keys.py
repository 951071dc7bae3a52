"""Which MODELs are the same to a job: files as packs load them, and patches as packs make them.

A graph is run once more with another quality, so that ComfyUI does not take the whole result from its cache; the job is
found again if nothing is sampled.
"""

import itertools
import shutil

import pytest
import torch
from graphs import Graph, add_inputs, add_sample_video, load
from miniature_graphs import add_models, add_scene
from miniature_scenes import Scene, write_tensors
from safetensors.torch import load_file, save_file

ROUNDED = 0.3  # dB that Q8_0 may lose


@pytest.fixture(scope="module")
def sampled(comfy):
    """How many segments a graph samples that uses this model; jobs are those of this module."""
    jobs = comfy.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    qualities = itertools.count(10)

    def run(add_model):
        graph = add_inputs(Graph(comfy.images))
        add_sample_video(graph, add_model(graph), steps=1, segment_length=9, codec="h264", quality=next(qualities))
        graph.add("report", "PreviewAny", source=["sampled", 1])
        size = comfy.log_size()
        comfy.run(graph)
        return sum("SCAIL-2: segment " in line and "sampling" in line for line in comfy.log_since(size).splitlines())

    return run


def packed(comfy, seed=0):
    path = str(comfy.base / "models/diffusion_models/fp32.safetensors")
    return lambda graph: graph.add("model", "TestLoadPacked", path=path, seed=seed)


def noting(scale, through="closure"):
    return lambda graph: graph.add("patched", "TestNotingPatch", model=load(graph), scale=scale, through=through)


def test_packed_files_of_one_size_are_told_apart_and_found_again(comfy, sampled):
    """ComfyUI-GGUF's linears have no data in their state dict."""
    assert [sampled(packed(comfy, seed)) for seed in (0, 1, 0, 1)] == [1, 1, 0, 0]


@pytest.mark.parametrize("through", ["closure", "model"])
def test_notes_of_a_patch_on_shared_modules_are_not_part_of_the_job(comfy, sampled, through):
    """The loaded model stays in ComfyUI's memory with what the patches have written on it; patch nodes run again."""
    shutil.rmtree(comfy.base / "output/scail2_jobs", ignore_errors=True)
    first, second = noting(0.5, through), noting(0.25, through)
    assert [sampled(add) for add in (first, load, second, first, load, second)] == [1, 1, 1, 0, 0, 0]


def hooked(end):
    """A LoRA on the positive prompt alone, whose strength goes from 1 to `end`."""
    def add(graph):
        graph["text"] = graph["positive"]
        graph.add("hook", "CreateHookLora", lora_name="lora.safetensors", strength_model=0.7, strength_clip=0.0)
        graph.add("keyframes", "CreateHookKeyframesInterpolated", strength_start=1.0, strength_end=end,
                  interpolation="linear", start_percent=0.0, end_percent=1.0, keyframes_count=3, print_keyframes=False)
        graph.add("hooks", "SetHookKeyframes", hooks=["hook", 0], hook_kf=["keyframes", 0])
        graph.add("positive", "ConditioningSetProperties", cond_NEW=["text", 0], strength=1.0,
                  set_cond_area="default", hooks=["hooks", 0])
        return load(graph)

    return add


def test_where_the_hooks_of_a_prompt_were_last_is_not_part_of_the_job(comfy, sampled):
    shutil.rmtree(comfy.base / "output/scail2_jobs", ignore_errors=True)
    assert [sampled(hooked(end)) for end in (0.0, 0.0, 0.5, 0.0)] == [1, 0, 1, 0]


def test_a_lora_that_is_on_the_shared_model_is_not_part_of_another_job(comfy, sampled):
    """It changes a weight and a modulation; ComfyUI leaves both in the loaded model until another MODEL is sampled."""
    shutil.rmtree(comfy.base / "output/scail2_jobs", ignore_errors=True)
    save_file({"blocks.0.diff_m": torch.ones(1, 6, 256), "blocks.0.ffn.2.diff": torch.ones(256, 512)},
              comfy.base / "models/loras/both.safetensors")

    def with_lora(graph):
        return graph.add("lora", "SCAIL2LoadLora", model=load(graph), lora_name="both.safetensors", strength=0.01)

    def patched(graph):
        return graph.add("patched", "TestNotingPatch", model=load(graph), scale=0.5)

    assert [sampled(add) for add in (with_lora, patched, with_lora, load, with_lora, patched)] == [1, 1, 0, 1, 0, 0]


@pytest.fixture(scope="module")
def made(comfy, tmp_path_factory):
    """What a model makes of a drawn scene, against its truth."""
    written = add_models(comfy.base / "models")
    path, scene = tmp_path_factory.mktemp("packed"), Scene(seed=5)
    write_tensors(scene, path / "in.safetensors")

    def score(loader, **inputs):
        graph = Graph(path / "in.safetensors")
        add_scene(graph, scene)
        add_sample_video(graph, graph.add("model", loader, **inputs), steps=4, segment_length=9)
        graph.add("components", "GetVideoComponents", video=["sampled", 0])
        comfy.run(graph.save(path / "out.safetensors", image=["components", 0]))
        return scene.score(load_file(path / "out.safetensors")["image"])["psnr"]

    yield score, next(str(file) for file in written if file.parent.name == "diffusion_models")
    for file in written:
        file.unlink(missing_ok=True)


def test_a_packed_file_makes_the_video_of_the_float_file(made):
    score, path = made
    float_file = score("SCAIL2LoadModel", model_name="nano.safetensors", weight_dtype="default")
    by_core = score("UNETLoader", unet_name="nano.safetensors", weight_dtype="default")
    assert by_core == pytest.approx(float_file, abs=0.01)
    assert score("TestLoadPacked", path=path) == pytest.approx(float_file, abs=ROUNDED)
