"""Prompt files: what is loaded samples like what was saved, and wrong names and files are refused."""

import shutil

import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, load
from safetensors.torch import load_file

pytestmark = pytest.mark.node("SCAIL2SavePrompt", "SCAIL2LoadPrompt")


@pytest.fixture
def save(comfy):
    """Save a CONDITIONING under a name."""

    def run(name, graph, link, **options):
        graph.add("saved_prompt", "SCAIL2SavePrompt", conditioning=link, name=name, **options)
        return comfy.run(graph)

    return run


@pytest.fixture
def folder(comfy, tmp_path):
    """Empty; the prompts of other tests come back after."""
    folder = comfy.base / "models/scail2_prompts"
    folder.mkdir(exist_ok=True)
    _move(folder, tmp_path / "others")
    yield folder
    _move(folder, tmp_path / "ours")  # the folder stays: ComfyUI has listed it
    _move(tmp_path / "others", folder)


def _move(source, target):
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        path.rename(target / path.name)


def sampled(graph, tensors):
    add_motion(graph)
    return tensors(graph, latent=add_ksampler(graph, load(graph), guidance=5.0))["samples"]


def offered(comfy):
    return comfy.get("/object_info/SCAIL2LoadPrompt")["SCAIL2LoadPrompt"]["input"]["required"]["file"][1]["options"]


def test_a_loaded_prompt_samples_like_the_saved_one(comfy, graph, tensors, save, folder):
    add_inputs(graph)
    expected = sampled(graph, tensors)
    save("people/dance", graph, ["positive", 0])
    assert offered(comfy) == ["people/dance.safetensors"]
    del graph["saved_prompt"]
    graph.add("positive", "SCAIL2LoadPrompt", file="people/dance.safetensors")
    assert torch.equal(sampled(graph, tensors), expected)
    graph.add("positive", "TestText", seed=7)
    assert not torch.equal(sampled(graph, tensors), expected)


def test_every_entry_and_its_timing_are_kept(comfy, graph, tensors, save, folder):
    add_inputs(graph)
    graph.add("early", "ConditioningSetTimestepRange", conditioning=["positive", 0], start=0.0, end=0.4)
    graph.add("late", "ConditioningSetTimestepRange", conditioning=["negative", 0], start=0.4, end=1.0)
    both = graph.add("both", "ConditioningCombine", conditioning_1=["early", 0], conditioning_2=["late", 0])
    save("both", graph, both)
    del graph["saved_prompt"]
    results = []
    for link in (both, graph.add("loaded", "SCAIL2LoadPrompt", file="both.safetensors")):
        add_motion(graph)
        graph.set("motion", positive=link)
        results.append(tensors(graph, latent=add_ksampler(graph, load(graph), steps=4))["samples"])
    assert torch.equal(*results)


def test_a_name_is_not_overwritten_unasked(graph, save, folder):
    text = graph.add("positive", "TestText", seed=1)
    save("mine", graph, text)
    first = (folder / "mine.safetensors").read_bytes()
    other = graph.add("positive", "TestText", seed=2)
    with pytest.raises(RuntimeError, match="prompt file mine exists already: choose another name or turn overwrite"):
        save("mine", graph, other)
    assert (folder / "mine.safetensors").read_bytes() == first
    save("mine", graph, other, overwrite=True)
    assert (folder / "mine.safetensors").read_bytes() != first


def test_a_file_written_again_is_read_again(graph, tensors, save, folder):
    """ComfyUI would keep the result of a node whose inputs are the same."""
    for seed, name in ((1, "mine"), (2, "new")):
        save(name, graph, graph.add("positive", "TestText", seed=seed))
    graph.clear()
    graph.add("loaded", "SCAIL2LoadPrompt", file="mine.safetensors")
    first = tensors(graph, conditioning=["loaded", 0])["embedding"]
    shutil.copy(folder / "new.safetensors", folder / "mine.safetensors")
    assert not torch.equal(tensors(graph, conditioning=["loaded", 0])["embedding"], first)


@pytest.mark.parametrize("name", ["../outside", "{tmp_path}/outside", "a/../../outside", "", "  "])
def test_a_name_outside_the_folder_is_refused(comfy, graph, save, folder, tmp_path, name):
    with pytest.raises(RuntimeError, match="is not a file inside scail2_prompts: use letters"):
        save(name.format(tmp_path=tmp_path), graph, graph.add("positive", "TestText", seed=1))
    assert not [*comfy.base.rglob("outside*"), *tmp_path.rglob("outside*")]


def test_conditioning_with_pictures_is_refused(graph, save, folder):
    add_inputs(graph)
    add_motion(graph)
    with pytest.raises(RuntimeError, match="carries more than text .* save it before other nodes add to it"):
        save("mine", graph, ["motion", 0])
    assert not list(folder.glob("*"))


@pytest.mark.parametrize(("source", "message"), [
    ("loras/lora.safetensors", "is not a prompt embedding: choose a file that Save Prompt Embedding has written"),
    ("diffusion_models/truncated.safetensors", "is not a prompt file, or is truncated"),
])
def test_other_files_are_refused(comfy, graph, tmp_path, folder, source, message):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(comfy.base / "models" / source, folder / "other.safetensors")
    graph.add("loaded", "SCAIL2LoadPrompt", file="other.safetensors")
    with pytest.raises(RuntimeError, match=message):
        comfy.run(graph.save(tmp_path / "x.safetensors", conditioning=["loaded", 0]))


def test_nothing_but_tensors_and_plain_values_is_written(graph, save, folder):
    save("mine", graph, graph.add("positive", "TestText", seed=1))
    assert list(load_file(folder / "mine.safetensors")) == ["0.embedding"]
    assert [path.name for path in folder.iterdir()] == ["mine.safetensors"]
