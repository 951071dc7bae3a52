"""LoRA files in ComfyUI, loaded by our node on our model and on core's: each makes the latent of its merged weights.

`tests/unit/test_kinds_of_lora.py` has every kind of file with the weights it makes; here are those that reach a sampler
in different ways.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import golden
import pytest
import torch
from graphs import Graph, add_inputs, add_ksampler, add_motion, add_sample_video, load
from safetensors.torch import save_file

from scail_model.lora import merge_lora

# of the same name as this file
_spec = importlib.util.spec_from_file_location("lora_files", Path(__file__).parents[1] / "unit/test_kinds_of_lora.py")
assert _spec is not None
assert _spec.loader is not None
lora_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lora_files)

pytestmark = pytest.mark.node("SCAIL2LoadLora")
STRENGTH = 0.8
KINDS = ("PEFT", "diffusers", "kohya and musubi-tuner, with alpha", "lightx2v rank 64", "LoHa", "LoKr",
         "DoRA by columns")
NEAR = 5e-7


def lora_file(comfy, tensors, name="given.safetensors", **metadata):
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(tensors, comfy.base / "models/loras" / name, metadata)
    return name


def by_core(graph):
    return graph.add("core", "UNETLoader", unet_name="fp32.safetensors", weight_dtype="default")


def with_lora(graph, model, name, strength=STRENGTH):
    return graph.add("lora", "SCAIL2LoadLora", model=model, lora_name=name, strength=strength)


@pytest.fixture
def latent(comfy, tensors):
    """What one step makes with the model that `add_model` adds."""

    def run(add_model):
        graph = Graph(comfy.images)
        add_inputs(graph)
        add_motion(graph)
        return tensors(graph, latent=add_ksampler(graph, add_model(graph), steps=1))["samples"]

    return run


def distance(one, other):
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("kind", KINDS)
def test_makes_the_latent_of_its_merged_weights(comfy, latent, kind):
    lora, _ = lora_files.KINDS[kind]()
    merged = {name: weight.clone() for name, weight in golden.tiny_weights().items()}
    merge_lora(merged, lora, STRENGTH)
    name = f"merged {KINDS.index(kind)}.safetensors"
    save_file(merged, comfy.base / "models/diffusion_models" / name)
    file = lora_file(comfy, lora, f"{KINDS.index(kind)}.safetensors")
    found = latent(lambda graph: with_lora(graph, load(graph), file))
    expected = latent(lambda graph: load(graph, name))
    assert distance(found, expected) < NEAR
    assert distance(latent(load), expected) > 100 * NEAR


def test_two_of_them_and_core_s_model(comfy, latent):
    """Core's network differs from ours by 1e-3. What is loaded stays as it was, and makes what it made."""
    make = lora_files.KINDS["lightx2v rank 64"]
    first, second = (lora_file(comfy, make()[0], f"{name}.safetensors") for name in "ab")

    def both(add):
        def model(graph):
            graph.add("first", "SCAIL2LoadLora", model=add(graph), lora_name=first, strength=0.1)
            return with_lora(graph, ["first", 0], second, 0.1)

        return model

    plain = {add: latent(add) for add in (load, by_core)}
    assert distance(latent(both(by_core)), latent(both(load))) < 0.01
    for add in (load, by_core):
        assert torch.equal(latent(add), plain[add])
        one = latent(lambda graph, add=add: with_lora(graph, add(graph), first, 0.1))
        assert distance(one, plain[add]) > 0.01
        assert distance(latent(both(add)), one) > 0.01


def test_strength_zero_leaves_the_model_as_it_is(comfy, latent):
    file = lora_file(comfy, lora_files.KINDS["PEFT"]()[0])
    assert torch.equal(latent(lambda graph: with_lora(graph, load(graph), file, 0.0)), latent(load))


@pytest.mark.parametrize(("given", "sentence"), [
    ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 4)}, "was made for Flux, so"),
    ({"blocks.0.ffn.2.diff_b": torch.full((256,), math.nan)}, "holds NaN or infinite numbers, first in blocks.0.ffn.2"),
    ({"blocks.0.self_attn.q.oft_blocks": torch.ones(2, 4, 4)}, "holds OFT"),
    ({"head.head.weight": torch.ones(2, 4)}, "is not a LoRA, because it holds head.head.weight: choose another file"),
], ids=["Flux", "NaN", "OFT", "a model"])
def test_is_refused_in_one_sentence(comfy, latent, given, sentence):
    file = lora_file(comfy, given, f"refused {len(sentence)}.safetensors")
    with pytest.raises(RuntimeError, match=f"SCAIL2LoadLora: The LoRA {file} {sentence}"):
        latent(lambda graph: with_lora(graph, load(graph), file))


def test_the_report_says_what_is_left_out(comfy):
    file = lora_file(comfy, lora_files.KINDS["for image-to-video"]()[0], "i2v.safetensors")
    graph = Graph(comfy.images)
    with_lora(graph, load(graph), file)
    graph.add("report", "PreviewAny", source=["lora", 1])
    assert comfy.run(graph)["report"]["text"] == [
        "The LoRA i2v.safetensors, strength 0.8: 6 tensors merged, 1 unused (patch_embedding.weight has "
        "[256, 20, 1, 2, 2], and diffusion_model.patch_embedding.diff makes [256, 36, 1, 2, 2])"]


# Core's LoRA loader, and what the check says of what it has loaded

@pytest.mark.parametrize(("given", "sentences"), [
    (lora_files.KINDS["PEFT"]()[0],
     ["A LoRA is loaded, but ComfyUI's loader knows none of its tensors", "of weights, no LoRA"]),
    (lora_files.pair_of("diffusion_model.blocks.0.self_attn.q", 128, 128),
     ["The LoRA changes nothing, because the shapes of its 1 tensors are not the model's", "of weights, no LoRA"]),
    (lora_files.KINDS["for image-to-video"]()[0], ["LoRA: 1 tensors are left out", "3 tensors patched (LoRA)"]),
    ({"diffusion_model.blocks.0.modulation.diff": torch.ones(1, 6, 256)},
     ["differences of 1 modulations (such as diffusion_model.blocks.0.modulation) are not applied"]),
], ids=["names that core does not know", "wrong shapes only", "one wrong shape", "a modulation"])
def test_a_lora_of_which_nothing_is_loaded_does_not_count(comfy, given, sentences):
    file = lora_file(comfy, given, f"core {len(sentences[0])}.safetensors", trainer="ours")
    graph = add_inputs(Graph(comfy.images))
    model = graph.add("lora", "LoraLoaderModelOnly", model=load(graph), lora_name=file, strength_model=1.0)
    add_sample_video(graph, model, steps=8, segment_length=9)
    given = graph.pop("sampled")["inputs"]
    graph.add("check", "SCAIL2Preflight", **{name: value for name, value in given.items() if name != "codec"})
    graph.add("report", "PreviewAny", source=["check", 0])
    report = comfy.run(graph)["report"]["text"][0]
    for sentence in sentences:
        assert sentence in report, report


def test_a_merge_of_models_is_not_told_as_a_lora(comfy):
    """ComfyUI merges no modulation, so those of the first model stay."""
    graph = add_inputs(Graph(comfy.images))
    other = graph.add("other", "SCAIL2LoadModel", model_name="bf16.safetensors", weight_dtype="default")
    merged = graph.add("merged", "ModelMergeSimple", model1=load(graph), model2=other, ratio=0.5)
    add_sample_video(graph, merged, steps=8, segment_length=9)
    given = graph.pop("sampled")["inputs"]
    graph.add("check", "SCAIL2Preflight", **{name: value for name, value in given.items() if name != "codec"})
    graph.add("report", "PreviewAny", source=["check", 0])
    report = comfy.run(graph)["report"]["text"][0]
    assert "The merge of models leaves 3 modulations (such as diffusion_model." in report
    assert "The LoRA" not in report
