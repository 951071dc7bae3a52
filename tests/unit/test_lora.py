"""Merging LoRA files: the numbers of the public fusion rules, every naming, and what cannot be merged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scail_model.checkpoint import load_checkpoint
from scail_model.lora import MergeReport, is_lora, merge_lora

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = GOLDEN / "F1_lora_expected.safetensors"
FILES = {"fp32": "F1_lora_fp32", "bf16": "F1_lora_bf16", "full": "F1_lora_full_fp32"}
Q = "blocks.0.self_attn.q"


def weights():
    return {name: tensor.float() for name, tensor in load_file(GOLDEN / "weights_tiny.safetensors").items()}


def lora_file(kind):
    return load_file(GOLDEN / f"{FILES[kind]}.safetensors")


def pair(out, rank, inside, dtype=torch.float32):
    """Names without module, and the product that belongs to them."""
    up, down = torch.randn(out, rank).to(dtype), torch.randn(rank, inside).to(dtype)
    return {".lora_up.weight": up, ".lora_down.weight": down}, up.float() @ down.float()


# The golden rules

# `official_bf16` is the official rounding of the product to bfloat16, which is not ours.
@pytest.mark.parametrize(("variant", "kind"), [
    ("official_fp32_a1.0", "fp32"), ("official_fp32_a0.6", "fp32"), ("fulldelta_bf16_a0.6", "bf16"),
    ("official_fp32_a0.6", "full"), ("fulldelta_full_a0.6", "full")])
def test_golden(variant, kind):
    before, merged, lora = weights(), weights(), lora_file(kind)
    report = merge_lora(merged, lora, float(variant.partition("_a")[2]))
    assert report == MergeReport(list(lora), [])
    expected = {name.partition("::")[2]: tensor for name, tensor in load_file(EXPECTED).items()
                if name.startswith(f"{variant}::") and "::forward" not in name}
    assert len(expected) >= 5
    for name, tensor in expected.items():
        key, _, moments = name.partition("::")
        if moments:
            value = merged[key].double()
            found = torch.stack([value.sum(), value.square().sum()])
            torch.testing.assert_close(found, tensor, atol=1e-4, rtol=1e-7)
        else:
            found = merged[key] if tensor.ndim == 1 else merged[key][::64]
            torch.testing.assert_close(found, tensor, atol=1e-6, rtol=0)
    assert {name for name in merged if not torch.equal(merged[name], before[name])} == changed_tensors(kind)


def changed_tensors(kind):
    tag = {"fp32": "official_fp32_a0.6", "bf16": "fulldelta_bf16_a0.6", "full": "fulldelta_full_a0.6"}[kind]
    with safe_open(EXPECTED, "pt") as file:
        variants = json.loads(file.metadata()["info"])["variants"]
    return set(next(variant["changed"] for variant in variants if variant["tag"] == tag))


# Names

def renamed(lora, naming):
    module_names = {"kohya": lambda module: "lora_unet_" + module.replace(".", "_")}
    endings = {".lora_down.weight": ".lora_A.weight", ".lora_up.weight": ".lora_B.weight"} if naming == "A/B" else {}
    result = {}
    for name, tensor in lora.items():
        module, ending = next((name.removeprefix("diffusion_model.").removesuffix(ending), ending)
                              for ending in (".lora_down.weight", ".lora_up.weight", ".diff_b", ".diff")
                              if name.endswith(ending))
        prefix = {"none": "", "model": "model.diffusion_model.", "A/B": "diffusion_model."}.get(naming, "")
        module = module_names.get(naming, lambda module, prefix=prefix: prefix + module)(module)
        result[module + endings.get(ending, ending)] = tensor
    return result


@pytest.mark.parametrize("naming", ["none", "model", "A/B", "kohya"])
def test_namings_are_equal(naming):
    expected, merged = weights(), weights()
    merge_lora(expected, lora_file("full"), 0.6)
    lora = renamed(lora_file("full"), naming)
    assert is_lora(lora)
    assert merge_lora(merged, lora, 0.6) == MergeReport(list(lora), [])
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_sat_names():
    sat_lora = torch.load(GOLDEN / "G3_sat_lora" / "lora_sat.pt", weights_only=True)["module"]
    converted, _ = load_checkpoint(GOLDEN / "G3_sat_lora" / "lora_sat.pt")
    merged, _ = load_checkpoint(GOLDEN / "G1_sat_checkpoint")
    expected, _ = load_checkpoint(GOLDEN / "G1_sat_checkpoint")
    assert merge_lora(expected, converted, 0.8).unused == []
    # The base model's own tensor, which such files also hold, is not part of the LoRA.
    assert merge_lora(merged, sat_lora, 0.8).unused == [
        "model.diffusion_model.transformer.layers.0.attention.query_key_value.original.weight"]
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_unknown_sat_name_is_unused():
    lora = {f"{Q}.diff_b": torch.ones(4), "transformer.layers.0.mlp.gate.lora_layer.up.weight": torch.ones(4, 1)}
    report = merge_lora({f"{Q}.bias": torch.ones(4)}, lora, 1.0)
    assert report.unused == ["transformer.layers.0.mlp.gate.lora_layer.up.weight"]


def test_model_files_are_no_lora():
    assert not is_lora(weights())
    assert not is_lora(["blocks.0.ffn.0.alpha"])


# Arithmetic

def test_alpha_scales_the_pair_and_nothing_else():
    thin, product = pair(4, 2, 6)
    lora = {Q + ending: tensor for ending, tensor in thin.items()}
    lora |= {f"{Q}.alpha": torch.tensor(16.0), f"{Q}.diff": torch.randn(4, 6), f"{Q}.diff_b": torch.randn(4)}
    state_dict = {f"{Q}.weight": torch.randn(4, 6), f"{Q}.bias": torch.randn(4)}
    weight, bias = state_dict.values()
    report = merge_lora(state_dict, lora, 0.5)
    assert report == MergeReport(list(lora), [])
    torch.testing.assert_close(state_dict[f"{Q}.weight"], weight + 0.5 * (product * 8 + lora[f"{Q}.diff"]))
    torch.testing.assert_close(state_dict[f"{Q}.bias"], bias + 0.5 * lora[f"{Q}.diff_b"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sum_is_float32_and_rounded_once(dtype):
    thin, product = pair(32, 4, 48, torch.bfloat16)
    state_dict = {f"{Q}.weight": torch.randn(32, 48).to(dtype)}
    weight = state_dict[f"{Q}.weight"]
    before = weight.clone()
    merge_lora(state_dict, {Q + ending: tensor for ending, tensor in thin.items()}, 0.7)
    assert state_dict[f"{Q}.weight"].dtype == dtype
    assert torch.equal(state_dict[f"{Q}.weight"], torch.add(weight.float(), product, alpha=0.7).to(dtype))
    assert torch.equal(weight, before), "the tensor may be mapped from a file or shared: only the entry changes"


@pytest.mark.parametrize("flat", [False, True])
def test_convolutions(flat):
    up, down = torch.randn(8, 3), torch.randn(3, 20, 1, 2, 2)
    weight, diff = torch.randn(8, 20, 1, 2, 2), torch.randn(8, 20, 1, 2, 2)
    state_dict = {"patch_embedding.weight": weight}
    lora = {"patch_embedding.lora_up.weight": up if flat else up[:, :, None, None, None],
            "patch_embedding.lora_down.weight": down.flatten(1) if flat else down, "patch_embedding.diff": diff}
    assert merge_lora(state_dict, lora, 1.0).unused == []
    expected = weight + torch.einsum("or,rcthw->octhw", up, down) + diff
    torch.testing.assert_close(state_dict["patch_embedding.weight"], expected)


def test_parameter_without_weight_in_its_name():
    state_dict = {"blocks.0.modulation": torch.zeros(1, 6, 4)}
    diff = torch.randn(1, 6, 4)
    assert merge_lora(state_dict, {"diffusion_model.blocks.0.modulation.diff": diff}, 1.0).unused == []
    assert torch.equal(state_dict["blocks.0.modulation"], diff)


# What does not fit

def test_what_does_not_fit_is_unused_and_the_rest_is_applied():
    fitting = {f"{Q}.diff_b": torch.ones(4)}
    thin, _ = pair(4, 2, 6)
    unused = {
        # half a pair, with its alpha
        "blocks.0.self_attn.k.lora_down.weight": torch.randn(2, 6), "blocks.0.self_attn.k.alpha": torch.tensor(1.0),
        # the wrong size, the wrong rank, vectors
        "blocks.0.self_attn.v.lora_down.weight": torch.randn(2, 7), "blocks.0.self_attn.v.lora_up.weight": thin[
            ".lora_up.weight"],
        f"{Q}.lora_down.weight": torch.randn(3, 6), f"{Q}.lora_up.weight": thin[".lora_up.weight"],
        "blocks.0.self_attn.o.lora_down.weight": torch.randn(6), "blocks.0.self_attn.o.lora_up.weight": torch.randn(4),
        # lightx2v files come from a model with 36 input channels
        "diffusion_model.patch_embedding.diff": torch.randn(4, 36, 1, 2, 2),
        # a module and a part that the model does not have
        "diffusion_model.blocks.7.ffn.0.diff_b": torch.ones(4), f"{Q}.dora_scale": torch.ones(4),
    }
    state_dict = {f"blocks.0.self_attn.{name}.weight": torch.randn(4, 6) for name in "qkvo"}
    state_dict |= {f"{Q}.bias": torch.zeros(4), "patch_embedding.weight": torch.randn(4, 20, 1, 2, 2)}
    before = dict(state_dict)
    assert merge_lora(state_dict, fitting | unused, 1.0) == MergeReport(list(fitting), list(unused))
    assert [name for name in state_dict if state_dict[name] is not before[name]] == [f"{Q}.bias"]


def test_lora_of_another_model():
    lora = {"transformer.single_blocks.3.linear1.lora_A.weight": torch.ones(2, 4), "x.lora_B.weight": torch.ones(4, 2)}
    with pytest.raises(ValueError, match="none of the 2 LoRA tensors fits") as caught:
        merge_lora({f"{Q}.weight": torch.ones(4, 4)}, lora, 1.0)
    assert "transformer.single_blocks.3.linear1.lora_A.weight" in str(caught.value)
    assert f"{Q}.weight" in str(caught.value)
    with pytest.raises(ValueError, match="it has no tensors"):
        merge_lora({f"{Q}.weight": torch.ones(4, 4)}, {}, 1.0)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_quantised_weights_are_refused_before_anything_changes(dtype):
    thin, _ = pair(4, 2, 6)
    lora = {f"{Q}.diff_b": torch.ones(4)} | {Q + ending: tensor for ending, tensor in thin.items()}
    # Packed types have another shape than the weight that they stand for.
    state_dict = {f"{Q}.bias": torch.zeros(4), f"{Q}.weight": torch.zeros(4, 3).to(dtype)}
    before = dict(state_dict)
    with pytest.raises(ValueError, match=rf"{Q}\.weight, which is quantised \({str(dtype)[6:]}\).*bf16 or fp16 file"):
        merge_lora(state_dict, lora, 1.0)
    assert all(state_dict[name] is tensor for name, tensor in before.items())
