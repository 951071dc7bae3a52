"""The LoRA files that people have, as their trainers write them: each with the weights it makes, or its sentence.

Names and formulas come from the trainers; the expected weights are computed here, in float64 and by other operations.
"""

from __future__ import annotations

import math

import golden
import pytest
import torch
from safetensors.torch import save_file

from scail_model import lora_names
from scail_model.checkpoint import load_checkpoint
from scail_model.headless.convert import convert
from scail_model.lora import is_lora, merge_lora

STRENGTH = 0.7


def weights():
    return {name: tensor.float() for name, tensor in golden.tiny_weights().items()}


def normal(*shape):
    return torch.randn(shape) * 0.1


Q, K_IMG, FFN = "blocks.1.self_attn.q", "blocks.0.cross_attn.k_img", "blocks.1.ffn.0"
SHAPES = {Q: (256, 256), K_IMG: (256, 256), FFN: tuple(golden.tiny_weights()[f"{FFN}.weight"].shape)}


def pairs(down, up, modules=(Q, K_IMG, FFN), rank=4):
    """Tensors under `down` and `up`, which are patterns of a module's name, and the differences that they make."""
    tensors, differences = {}, {}
    for module in modules:
        out, inside = SHAPES[module]
        a, b = normal(rank, inside), normal(out, rank)
        tensors |= {down(module): a, up(module): b}
        differences[f"{module}.weight"] = torch.einsum("or,ri->oi", b.double(), a.double())
    return tensors, differences


def simple(prefix, down=".lora_down.weight", up=".lora_up.weight", rename=lambda module: module):
    return lambda: pairs(lambda module: f"{prefix}{rename(module)}{down}",
                         lambda module: f"{prefix}{rename(module)}{up}")


def flat(module):
    return module.replace(".", "_")


def diffusers(module):
    """By hand, from diffusers' WanTransformer3DModel."""
    return {Q: "blocks.1.attn1.to_q", K_IMG: "blocks.0.attn2.add_k_proj", FFN: "blocks.1.ffn.net.0.proj"}[module]


def with_alpha(prefix, alpha):
    def make():
        tensors, differences = simple(prefix, rename=flat)()
        tensors |= {f"{prefix}{flat(module)}.alpha": torch.tensor(alpha) for module in SHAPES}
        return tensors, {name: difference * alpha / 4 for name, difference in differences.items()}

    return make


def lightx2v():
    """Kijai's rank 64 extraction of lightx2v: pairs, and differences of biases, norms and modulations."""
    tensors, differences = pairs(lambda module: f"diffusion_model.{module}.lora_down.weight",
                                 lambda module: f"diffusion_model.{module}.lora_up.weight")
    whole = {"blocks.0.diff_m": "blocks.0.modulation", "head.diff_m": "head.modulation",
             "blocks.0.cross_attn.norm_k_img.diff": "blocks.0.cross_attn.norm_k_img.weight",
             "blocks.1.norm3.diff": "blocks.1.norm3.weight", "blocks.1.norm3.diff_b": "blocks.1.norm3.bias",
             "blocks.0.cross_attn.k_img.diff_b": "blocks.0.cross_attn.k_img.bias",
             "img_emb.proj.4.diff": "img_emb.proj.4.weight", "time_projection.1.diff_b": "time_projection.1.bias",
             "head.head.diff_b": "head.head.bias"}
    for name, target in whole.items():
        tensors[f"diffusion_model.{name}"] = normal(*weights()[target].shape)
        differences[target] = tensors[f"diffusion_model.{name}"].double()
    return tensors, differences


def loha():
    a1, b1, a2, b2 = normal(256, 3), normal(3, 256), normal(256, 3), normal(3, 256)
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(6.0)}
    product = torch.einsum("or,ri,os,si->oi", *(tensor.double() for tensor in (a1, b1, a2, b2)))
    return {f"lycoris_{flat(diffusers(Q))}.{part}": tensor for part, tensor in tensors.items()}, {
        f"{Q}.weight": product * 2}


def kronecker(first, second):
    """Each element of the first times the whole second, laid out by blocks."""
    return torch.cat([torch.cat([number * second for number in row], 1) for row in first], 0)


def lokr():
    """LyCORIS, the first factor whole, the second one a product: alpha / rank scales."""
    first, a, b = normal(8, 4), normal(32, 2), normal(2, 64)
    tensors = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    return {f"lora_unet_{flat(Q)}.{part}": tensor for part, tensor in tensors.items()}, {
        f"{Q}.weight": kronecker(first.double(), torch.einsum("or,ri->oi", a.double(), b.double())) / 2}


def lokr_of_whole_factors():
    """Nothing has a rank then, and alpha is a number without meaning that trainers set to 1e10."""
    first, second = normal(8, 4), normal(32, 64)
    return {f"diffusion_model.{Q}.lokr_w1": first, f"diffusion_model.{Q}.lokr_w2": second,
            f"diffusion_model.{Q}.alpha": torch.tensor(9999999827968.0)}, {
        f"{Q}.weight": kronecker(first.double(), second.double())}


def dora(by_rows, name="dora_scale"):
    """The changed weight's rows (or columns) are given new lengths."""
    def make():
        tensors, differences = pairs(lambda module: f"diffusion_model.{module}.lora_A.weight",
                                     lambda module: f"diffusion_model.{module}.lora_B.weight", [Q])
        before = weights()[f"{Q}.weight"].double()
        changed = before + differences[f"{Q}.weight"]
        lengths = changed.square().sum(1 if by_rows else 0).sqrt()
        wanted = lengths * (1 + 0.3 * torch.rand(256))
        scale = (wanted / lengths)[:, None] if by_rows else (wanted / lengths)[None]
        stored = wanted.float()[:, None] if by_rows else wanted.float()[None]
        tensors[f"diffusion_model.{Q}.{name}"] = stored[:, 0] if "vector" in name else stored
        return tensors, {f"{Q}.weight": changed * scale - before}

    return make


def sai_and_text_encoder():
    """A file that also holds the text encoder's pairs: these are unused."""
    tensors, differences = simple("lora_unet_", rename=flat)()
    return tensors | {"lora_te_encoder_layers_0.lora_down.weight": normal(4, 8),
                      "lora_te_encoder_layers_0.lora_up.weight": normal(8, 4)}, differences


def of_image_to_video():
    """Its patch embedding has 36 input channels; all else fits."""
    tensors, differences = simple("diffusion_model.")()
    return tensors | {"diffusion_model.patch_embedding.diff": normal(256, 36, 1, 2, 2)}, differences


KINDS = {
    "official names without prefix (musubi-tuner's own)": simple(""),
    "ComfyUI and diffusion-pipe": simple("diffusion_model.", ".lora_A.weight", ".lora_B.weight"),
    "a whole checkpoint's prefix": simple("model.diffusion_model."),
    "kohya and musubi-tuner, with alpha": with_alpha("lora_unet_", 2.0),
    "kohya with an alpha in half precision": with_alpha("lora_unet_", torch.tensor(8.0).half().item()),
    "kohya without alpha": simple("lora_unet_", rename=flat),
    "Wan Fun's double underscore": simple("lora_unet__", rename=flat),
    "PEFT": simple("base_model.model.", ".lora_A.weight", ".lora_B.weight"),
    "PEFT with its adapter's name": simple("base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight"),
    "PEFT around diffusers": simple("base_model.model.transformer.", ".lora_A.weight", ".lora_B.weight", diffusers),
    "DiffSynth-Studio": simple("", ".lora_A.default.weight", ".lora_B.default.weight"),
    "DiffSynth-Studio, whole pipeline": simple("pipe.dit.", ".lora_A.default.weight", ".lora_B.default.weight"),
    "diffusers": simple("transformer.", ".lora_A.weight", ".lora_B.weight", diffusers),
    "diffusers, older": simple("transformer.", ".lora.down.weight", ".lora.up.weight", diffusers),
    "SimpleTuner": simple("lycoris_", ".lora_down.weight", ".lora_up.weight", lambda module: flat(diffusers(module))),
    "OneTrainer": simple("lora_transformer_", rename=lambda module: flat(diffusers(module))),
    "lightx2v rank 64": lightx2v,
    "LoHa": loha, "LoKr": lokr, "LoKr of whole factors": lokr_of_whole_factors,
    "DoRA by rows": dora(True), "DoRA by columns": dora(False),
    "DoRA of PEFT": dora(True, "lora_magnitude_vector.weight"),
    "with a text encoder's part": sai_and_text_encoder,
    "for image-to-video": of_image_to_video,
}
UNUSED = {"with a text encoder's part": 2, "for image-to-video": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_makes_the_weights_of_its_trainer(kind):
    lora, differences = KINDS[kind]()
    merged, before = weights(), weights()
    assert is_lora(lora)
    report = merge_lora(merged, lora, STRENGTH)
    assert len(report.unused) == UNUSED.get(kind, 0), report.unused
    for name in merged:
        expected = before[name].double() + STRENGTH * differences.get(name, 0)
        assert torch.allclose(merged[name].double(), expected, atol=2e-6, rtol=2e-6), name


@pytest.mark.parametrize("kind", KINDS)
def test_converted_it_has_the_names_that_comfyui_loads(kind, tmp_path):
    lora, _ = KINDS[kind]()
    save_file(lora, tmp_path / "lora.safetensors")
    convert(tmp_path / "lora.safetensors", tmp_path / "out.safetensors", kind="lora")
    converted, _ = load_checkpoint(tmp_path / "out.safetensors")
    one, other = weights(), weights()
    merge_lora(one, lora, STRENGTH)
    assert merge_lora(other, converted, STRENGTH).unused == [
        name for name in converted if "patch_embedding.diff" in name]
    assert all(torch.equal(one[name], other[name]) for name in one)
    known = {f"diffusion_model.{name.removesuffix('.weight')}" for name in one}
    for name in converted:
        module = name.removesuffix(".weight").rpartition(".")[0]
        assert module in known, name


def test_every_name_of_diffusers_is_known():
    """Against diffusers' own table of Wan's names, by its model."""
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    model = WanTransformer3DModel(num_layers=1, num_attention_heads=1, attention_head_dim=128, ffn_dim=8, text_dim=16,
                                  image_dim=1280, added_kv_proj_dim=128, freq_dim=256)
    modules = {name.removesuffix(".weight").removesuffix(".bias") for name in model.state_dict()}
    assert {module for module in modules if lora_names.comfy_name(f"transformer.{module}.diff") is None} == set()


# What is refused

def pair_of(name, out=256, inside=256):
    return {f"{name}.lora_down.weight": normal(4, inside), f"{name}.lora_up.weight": normal(out, 4)}


REFUSED = {
    "Flux": (lambda: pair_of("transformer.single_transformer_blocks.0.attn.to_q"), "was made for Flux"),
    "HunyuanVideo": (lambda: pair_of("diffusion_model.double_blocks.0.img_attn.qkv"), "Flux or HunyuanVideo"),
    "Qwen-Image": (lambda: pair_of("transformer_blocks.0.attn.to_q"), "Flux, LTX, Qwen-Image"),
    "Stable Diffusion": (lambda: pair_of("lora_unet_down_blocks_0_attentions_0_proj_in"), "Stable Diffusion"),
    "VACE": (lambda: pair_of("diffusion_model.vace_blocks.0.self_attn.q"), "Wan 2.1 VACE"),
    "Wan 1.3B": (lambda: pair_of("blocks.0.self_attn.q", 1536, 1536), "was made for Wan 2.1 1.3B"),
    "Wan 2.2 5B": (lambda: pair_of("lora_unet_blocks_0_self_attn_q", 3072, 3072), "was made for Wan 2.2 5B"),
    "a text encoder only": (lambda: pair_of("lora_te1_text_model_encoder_layers_0_mlp_fc1"), "a text encoder"),
    "wrong shapes": (lambda: pair_of(Q, 256, 96),
                     r"blocks.1.self_attn.q.weight has \[256, 256\], and .*lora_down.weight makes \[256, 96\]"),
    "half a pair": (lambda: {f"{Q}.lora_up.weight": normal(256, 4)}, "none of the 1 LoRA tensors fits"),
    "NaN": (lambda: pair_of(Q) | {f"{Q}.diff_b": torch.full((256,), math.nan)},
            r"the file holds NaN or infinite numbers, first in blocks.1.self_attn.q.diff_b"),
    "an infinite alpha": (lambda: pair_of(Q) | {f"{Q}.alpha": torch.tensor(math.inf)}, "first in .*q.alpha"),
    "OFT": (lambda: {f"lora_unet_{flat(Q)}.oft_blocks": normal(4, 32, 32)}, "holds OFT .*is not supported"),
    "LoCon with a middle tensor": (lambda: pair_of(Q) | {f"{Q}.lora_mid.weight": normal(4, 4)}, "middle tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_in_one_sentence(kind):
    make, sentence = REFUSED[kind]
    merged, before = weights(), weights()
    with pytest.raises(ValueError, match=sentence) as caught:
        merge_lora(merged, make(), STRENGTH, called="the file")
    assert str(caught.value).endswith(".")
    assert all(torch.equal(merged[name], before[name]) for name in merged)
