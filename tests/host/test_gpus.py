"""Several GPUs at one video in a real ComfyUI, over CPU devices (testpack/gpus.py): equal to one to the bit."""

import itertools
import json
import shutil
import time

import assets
import pytest
import torch
from graphs import Graph, add_inputs, add_ksampler, add_motion, add_sample_video, load
from recordings import recorded
from safetensors.torch import save_file
from sampling import sampled

from scail_model.config import TransformerConfig

SIDE = 160  # pixels: of 9 frames there are 475 tokens
FOUR_HEADS = "four_heads.safetensors"
_count = itertools.count()


def set_devices(comfy, count):
    """Let ComfyUI find so many; returns the names of threads that work or wait for several GPUs."""
    graph = Graph(comfy.images)
    graph.add("devices", "TestDevices", count=count, asked=next(_count))
    graph.add("threads", "PreviewAny", source=["devices", 0])
    return json.loads(comfy.run(graph)["threads"]["text"][0])


@pytest.fixture(scope="module", autouse=True)
def machine(comfy):
    """One with eight GPUs, and a model of four heads."""
    config = TransformerConfig(dim=512, ffn_dim=512, num_heads=4, num_layers=3)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.1)
               + ("norm" in name and name.endswith("weight")) for name, shape in config.parameter_shapes().items()}
    save_file(weights, comfy.base / "models/diffusion_models" / FOUR_HEADS)
    set_devices(comfy, 8)
    yield
    set_devices(comfy, 1)


def lora(graph, model):
    return graph.add("lora", "LoraLoaderModelOnly", model=model, lora_name="lora.safetensors",
                     strength_model=assets.LORA_STRENGTH)


def multigpu(graph, model, gpus=2):
    return graph.add("multigpu", "MultiGPU_WorkUnits", model=model, max_gpus=gpus)


def multigpu_of_4(graph, model):
    return multigpu(graph, model, 4)


def moved(graph, model, place=1):
    return graph.add(f"moved {place}", "TestMoved", model=model, place=place, asked=next(_count))


def moved_and_split(graph, model):
    return multigpu(graph, moved(graph, model))


def split_and_moved(graph, model):
    return moved(graph, multigpu(graph, model))


def moved_back(graph, model):
    return moved(graph, moved(graph, model), 0)


def moved_home(graph, model):
    return moved(graph, model, 0)


def attention_patch(graph, model):
    return graph.add("patched", "TestAttention", model=model, way="attn1_patch", scale=0.5, path="/dev/null")


def unchanged(graph, model):
    return model


@pytest.fixture
def latent(graph, tensors):
    """What KSampler makes: patch(graph, model) -> model."""

    def run(gpus="1", patch=unchanged, guidance=1.0, file="fp32.safetensors", history=False, steps=2, seed=3, **inputs):
        graph.clear()
        add_inputs(graph, width=SIDE, height=SIDE, **inputs)
        model = patch(graph, load(graph, file, gpus=gpus))
        before = {"previous_frames": graph.pictures("previous", "driving1"), "start_frame": 5} if history else {}
        add_motion(graph, length=9, **before)
        return tensors(graph, latent=add_ksampler(graph, model, steps=steps, guidance=guidance, seed=seed))["samples"]

    return run


def assert_equal(one, other):
    assert one.isfinite().all()
    assert one.std() > 0.1
    torch.testing.assert_close(one, other, rtol=0, atol=0)


KINDS = {
    "guidance 1": {},
    "guidance": {"guidance": 5.0},
    "history": {"history": True, "guidance": 5.0},
    "replacement": {"mode": "replacement"},
    "additional reference": {"additional": True, "guidance": 5.0},
    "LoRA": {"patch": lora},
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_gpus_give_the_latent_of_one(latent, kind):
    assert_equal(latent("2", **KINDS[kind]), latent(**KINDS[kind]))


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_four_gpus_give_the_latent_of_one(latent, guidance):
    how = {"file": FOUR_HEADS, "guidance": guidance}
    assert_equal(latent("4", **how), latent(**how))


# How they are asked for

def test_programs_may_ask_with_a_number(latent):
    assert_equal(latent(gpus=2), latent())


@pytest.mark.parametrize("wrong", [0, "two", 1.5])
def test_nonsense_is_refused_before_anything_is_loaded(latent, wrong):
    with pytest.raises(RuntimeError, match=rf'gpus is .*{wrong}.*: use a number of GPUs from 1, or'):
        latent(gpus=wrong)


@pytest.mark.parametrize("patch", [multigpu, multigpu_of_4], ids=["2", "4"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_cores_node_alone_shares_what_guidance_leaves(comfy, latent, patch, guidance):
    size, how = comfy.log_size(), {"file": FOUR_HEADS, "guidance": guidance}
    assert_equal(latent(patch=patch, **how), latent(**how))
    assert "SCAIL-2: rows of tokens are shared by cpu, cpu:1" in comfy.log_since(size)


def test_why_they_are_fewer_is_logged_once(comfy, latent):
    """All of three, of which two fit the model's heads; sampled twice."""
    set_devices(comfy, 3)
    try:
        size = comfy.log_size()
        found = [latent("all", file=FOUR_HEADS, seed=seed) for seed in (3, 4)]
        log = comfy.log_since(size)
    finally:
        set_devices(comfy, 8)
    assert_equal(found[0], latent(file=FOUR_HEADS))
    assert log.count('gpus is "all", but the model\'s 4 attention heads cannot be shared equally by 3: 2 GPUs') == 1
    assert log.count("SCAIL-2: rows of tokens are shared by cpu, cpu:1.") == 2


def test_cores_node_after_ours(latent):
    assert_equal(latent("2", multigpu_of_4, 5.0, FOUR_HEADS), latent(guidance=5.0, file=FOUR_HEADS))


def test_the_model_of_another_loader(comfy, graph, tmp_path):
    """Copies that core has made of a MODEL with its own network are sampled with ours, and share."""
    sampled = {}
    for gpus in (1, 2):
        graph.clear()
        add_inputs(graph, width=SIDE, height=SIDE)
        model = graph.add("model", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")
        sampled[gpus] = sample_video(comfy, graph, multigpu(graph, model, gpus))
    assert "on 2 GPUs (cpu, cpu:1)" in sampled[2].report
    assert sampled[1].folder == sampled[2].folder  # so the second run has found the first one's segments


LEFT = ("gpus is 2, but a node after the loader, such as Select Model Device, keeps the model on {} alone: 1 GPU is "
        "used. Remove that node, or put MultiGPU CFG Split after it.")
GPUS_OF = {
    "as asked": ("2", unchanged, "on 2 GPUs (cpu, cpu:1)"),
    "one": ("1", unchanged, ""),
    "heads": ("4", unchanged, "on 2 GPUs (cpu, cpu:1), gpus is 4, but the model's 2 attention heads cannot be "
                              "shared equally by 4: 2 GPUs are used."),
    "a patch": ("2", attention_patch, "TestAttention (testpack) has put a patch of kind attn1_patch on the model, so "
                                      "each prompt is computed on one GPU: remove that node from the model's line, or "
                                      "set gpus to 1."),
    "moved to the copy's": ("2", moved, LEFT.format("cpu:1")),
    "moved back": ("2", moved_back, LEFT.format("cpu")),
    "moved to where it is": ("2", moved_home, "on 2 GPUs (cpu, cpu:1)"),
    "moved and split": ("2", moved_and_split, "on 2 GPUs (cpu:1, cpu)"),
    "split and moved": ("1", split_and_moved, ""),
    "fewer by core's node": ("2", lambda graph, model: multigpu(graph, model, 1), LEFT.format("cpu")),
}


@pytest.mark.parametrize("patch", [moved, moved_back, moved_home, moved_and_split, split_and_moved])
def test_a_model_on_another_gpu_gives_the_latent_of_the_first(comfy, latent, patch):
    size = comfy.log_size()
    assert_equal(latent("2", patch, 5.0), latent(guidance=5.0))
    log = comfy.log_since(size)
    if patch is moved:
        assert f"SCAIL-2: {LEFT.format('cpu:1')}" in log
    if patch is moved_and_split:
        assert "SCAIL-2: rows of tokens are shared by cpu:1, cpu." in log


def test_gpus_that_do_not_reach_each_other_get_a_prompt_each(comfy, graph):
    """As core's node does it for models of any kind."""
    for gpus, patch in (("1", multigpu), ("2", unchanged)):
        graph.clear()
        graph.add("facts", "TestGpusOf", model=patch(graph, load(graph, gpus=gpus)), asked=next(_count), apart=True)
        graph.add("line", "PreviewAny", source=["facts", 0])
        assert comfy.run(graph)["line"]["text"][0] == (
            "gpus is 2, but cpu:1 cannot be reached from cpu (no peer access): each prompt is computed on one GPU.")


@pytest.mark.parametrize("kind", GPUS_OF)
def test_what_is_said_of_them_and_the_key_of_a_job(comfy, graph, kind):
    gpus, patch, line = GPUS_OF[kind]

    def facts(gpus):
        graph.clear()
        model = patch(graph, load(graph, gpus=gpus))
        graph.add("facts", "TestGpusOf", model=model, asked=next(_count))
        for place, name in enumerate(("line", "key")):
            graph.add(name, "PreviewAny", source=["facts", place])
        outputs = comfy.run(graph)
        return [outputs[name]["text"][0] for name in ("line", "key")]

    found, key = facts(gpus)
    assert found == line
    assert key == facts("1")[1]


def test_what_other_nodes_do(comfy):
    """Patches that need the whole sequence, or that hold layers of one GPU: the result of one GPU, and a sentence."""
    graph = Graph(comfy.images)
    graph.add("facts", "TestPatchedGpus", path=str(comfy.base / "models/diffusion_models/fp32.safetensors"))
    graph.add("text", "PreviewAny", source=["facts", 0])
    facts = json.loads(comfy.run(graph)["text"]["text"][0])
    assert {name: fact["equal"] for name, fact in facts.items()} == dict.fromkeys(facts, True)
    told = {name: fact["told"].removeprefix("SCAIL-2: ").split(": ")[0] for name, fact in facts.items()}
    assert told.pop("scale_rope") == "rows of tokens are shared by cpu, cpu:1."
    on_one = {name for name, line in told.items() if line.endswith("so one GPU computes all")}
    assert on_one == {"nag", "enhance", "wrapped", "chunked_feed_forward", "linear", "compiled", "several"}
    assert {line.endswith("so each prompt is computed on one GPU") for name, line in told.items()
            if name not in on_one} == {True}


@pytest.mark.parametrize("gpus", ["2", "4"])
def test_who_stands_around_the_network_hears_what_it_hears_on_one(latent, tmp_path, gpus):
    """As caches do, which keep the answer of both prompts: from threads they would get each alone, in any order."""
    heard = {}
    for number in ("1", gpus):
        folder = tmp_path / number
        folder.mkdir()
        latent(number, lambda graph, model, folder=folder: graph.add(
            "recorded", "TestRecord", model=model, folder=str(folder)), 5.0, FOUR_HEADS)
        heard[number] = recorded(folder)
    assert [call["x"].shape[0] for call in heard[gpus]] == [2, 2]
    for one, several in zip(heard["1"], heard[gpus], strict=True):
        for name in one:
            torch.testing.assert_close(several[name], one[name], rtol=0, atol=0)


def test_copies_stay_known_to_memory_when_the_line_changes(comfy, latent):
    """The loader's copies are kept while nodes behind it come and go."""
    size, how = comfy.log_size(), {"file": FOUR_HEADS, "guidance": 5.0}
    expected = latent("2", **how)
    for patch in (lora, unchanged, multigpu_of_4):
        found = latent("2", patch, **how)
        if patch is not lora:
            assert_equal(found, expected)
        graph = Graph(comfy.images)
        graph.add("loaded", "TestLoaded", asked=next(_count))
        graph.add("text", "PreviewAny", source=["loaded", 0])
        loaded = json.loads(comfy.run(graph)["text"]["text"][0])
        assert "cpu:1" in {device for device, _ in loaded}
        assert all(device == freed for device, freed in loaded)
    assert "memory leak" not in comfy.log_since(size)


# A video

def sample_video(comfy, graph, model, **options):
    add_sample_video(graph, model, **{"segment_length": 9, "overlap": 5} | options)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    return sampled(comfy.run(graph)["report"]["text"][0])


def test_a_job_goes_on_with_another_number(comfy, graph):
    """The video of four GPUs is that of one, to the byte, and each finds the other's segments."""
    videos = {}
    for seed, gpus, kept in ((11, "4", 0), (11, "1", 3), (12, "1", 0), (12, "2", 3)):
        graph.clear()
        add_inputs(graph, width=SIDE, height=SIDE, frames=17)
        run = sample_video(comfy, graph, load(graph, FOUR_HEADS, gpus=gpus), seed=seed, guidance=3.0)
        assert run.kept == kept
        videos.setdefault(seed, set()).add(run.video.read_bytes())
    assert {seed: len(contents) for seed, contents in videos.items()} == {11: 1, 12: 1}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("how", [{"precision": "8-bit"}, {"attention": "sparse"}], ids=["8-bit", "sparse"])
def test_other_precisions(comfy, graph, how, guidance):
    """Scales and blocks follow from all heads, wherever these are computed, and so do errors."""
    runs = {}
    for gpus in ("1", "2", "4"):
        graph.clear()
        add_inputs(graph, width=256, height=256)
        run = sample_video(comfy, graph, load(graph, FOUR_HEADS, gpus=gpus, **how), seed=21, guidance=guidance,
                           sparse_density=0.3, steps=3)
        assert run.kept == 0
        errors = [line for line in run.report.splitlines() if "sparse attention" in line]
        assert bool(errors) == ("attention" in how)
        runs[gpus] = run.latent(1), errors
        shutil.rmtree(run.folder)
    for gpus in ("2", "4"):
        assert_equal(runs[gpus][0], runs["1"][0])
        assert runs[gpus][1] == runs["1"][1]


# What ends a run

def failing(place, how):
    def patch(graph, model):
        return graph.add("failing", "TestFailingGpu", model=model, place=place, how=how, asked=next(_count))

    return patch


@pytest.fixture
def next_run_works(comfy, latent):
    """The right latent; at most one thread of a GPU waits for more work, and no other is left."""

    def check(guidance):
        same = {"file": FOUR_HEADS, "guidance": guidance}
        assert_equal(latent("4", **same), latent("1", **same))
        threads = set_devices(comfy, 8)
        assert len(threads) == len(set(threads))
        assert set(threads) <= {f"SCAIL-2 cpu:{number}" for number in range(1, 4)}

    return check


@pytest.mark.parametrize(("place", "guidance"), [(0, 1.0), (3, 1.0), (1, 5.0), (2, 5.0)])
@pytest.mark.parametrize(("how", "message"), [("error", "this GPU is broken"), ("memory", "no room on this GPU")])
def test_an_error_on_one_gpu_ends_the_run(latent, next_run_works, how, message, place, guidance):
    with pytest.raises(RuntimeError, match=message):
        latent("4", failing(place, how), guidance, FOUR_HEADS)
    next_run_works(guidance)


@pytest.mark.parametrize(("place", "guidance"), [(0, 1.0), (3, 1.0), (1, 5.0), (2, 5.0)])
def test_a_cancel_in_the_middle_of_a_forward(comfy, graph, next_run_works, place, guidance):
    add_inputs(graph, width=SIDE, height=SIDE)
    add_motion(graph)
    add_ksampler(graph, failing(place, "cancel")(graph, load(graph, FOUR_HEADS, gpus="4")), guidance=guidance)
    size, prompt = comfy.log_size(), comfy.queue(graph.save("/dev/null", latent=["sampled", 0]))
    end = time.monotonic() + 60
    while "in the middle of a forward" not in comfy.log_since(size) and time.monotonic() < end:
        time.sleep(0.02)
    comfy.post("/interrupt", {})
    assert comfy.wait(prompt)["status"]["messages"][-1][0] == "execution_interrupted"
    next_run_works(guidance)


@pytest.mark.parametrize("gpus", ["1", "2", "4"])
def test_the_gpus_of_a_model_decode_its_videos(comfy, graph, gpus):
    model = load(graph, FOUR_HEADS, gpus=gpus)
    vae = graph.add("vae", "VAELoader", vae_name="wan_tiny.safetensors")
    graph.add("text", "PreviewAny", source=graph.add("found", "TestDecodingHost", model=model, vae=vae))
    assert json.loads(comfy.run(graph)["text"]["text"][0]) == [int(gpus), True]


@pytest.mark.slow
def test_fifty_starts_and_cancels_leave_nothing(comfy, graph, next_run_works):
    for number in range(50):
        graph.clear()
        add_inputs(graph, width=SIDE, height=SIDE)
        add_motion(graph)
        add_ksampler(graph, load(graph, FOUR_HEADS, gpus="4"), steps=1000, guidance=1.0 + number % 2, seed=number)
        graph.save("/dev/null", latent=["sampled", 0])
        with comfy.listen() as listener:
            prompt = comfy.queue(graph, client_id=listener.client_id)
            messages, _ = listener.until_done(prompt, lambda: comfy.post("/interrupt", {}))
        assert messages[-1]["type"] == "execution_interrupted"
    next_run_works(5.0)
