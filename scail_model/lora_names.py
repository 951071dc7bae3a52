"""Tensor names of LoRA files, as the trainers write them, and the official modules and parts that they stand for.

Known are the official names (musubi-tuner, diffusion-pipe, lightx2v), kohya's `lora_unet_` with underscores, diffusers'
names of Wan (`attn1.to_q`), LyCORIS' and PEFT's forms of all these, and the SAT names of the SCAIL-2 authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from torch import Tensor

from . import sat_names
from .config import TransformerConfig

# Part -> how its name ends.
_ENDINGS = {
    "diff": r"\.(?:diff|w_norm)",
    "diff_b": r"\.(?:diff_b|b_norm|lora_B(?:\.\w+)?\.bias)",
    "diff_m": r"\.diff_m",
    "down": r"\.(?:lora_down|lora_A|lora\.down|lora_linear_layer\.down)(?:\.\w+)?(?:\.weight)?",
    "up": r"\.(?:lora_up|lora_B|lora\.up|lora_linear_layer\.up)(?:\.\w+)?(?:\.weight)?",
    "alpha": r"\.alpha",
    "magnitude": r"\.(?:dora_scale|lora_magnitude_vector(?:\.\w+)?(?:\.weight)?)",
    **{part: rf"\.{part}" for part in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "lokr_w1", "lokr_w1_a",
                                       "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")},
}
_PARTS = re.compile("(.+?)(?:" + "|".join(f"(?P<{part}>{ending})" for part, ending in _ENDINGS.items()) + ")")
# Kinds of change that are not merged, by the ends of their names.
_UNSUPPORTED = {
    ".oft_blocks": "OFT", ".oft_diag": "OFT", ".boft_scale": "BOFT", ".lora_mid.weight": "LoCon with a middle tensor",
    ".hada_t1": "LoHa with a middle tensor", ".lokr_t2": "LoKr with a middle tensor", ".a1.weight": "GLoRA",
    ".on_input": "IA3", ".set_weight": "replaced weights", ".reshape_weight": "reshaped weights",
}
# Part -> what ComfyUI calls it, where that is another name.
_COMFY_PARTS = {"down": "lora_down.weight", "up": "lora_up.weight", "magnitude": "dora_scale"}
# What trainers put in front; one file may carry several.
_PREFIX = re.compile(r"(?:base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.(?!layers\.)|"
                     r"unet\.|pipe\.dit\.|dit\.|lycoris\.|model\.)+")
_FLAT_PREFIX = re.compile(r"lora_unet__?|lora_transformer_|lycoris_")
# Official -> diffusers' names of Wan 2.1. Source: huggingface/diffusers, scripts/convert_wan_to_diffusers.py.
_DIFFUSERS = {
    "self_attn.": "attn1.", "cross_attn.": "attn2.", "norm_k_img": "norm_added_k", "k_img": "add_k_proj",
    "v_img": "add_v_proj", "norm3": "norm2", "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2",
    "head.modulation": "scale_shift_table", "modulation": "scale_shift_table", "head.head": "proj_out",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj", "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
}
_PROJECTION = re.compile(r"(?<=attn\d\.)([qkv])$")
# Beginnings of module names, without prefix, that tell another model.
_OTHER_MODELS = {
    "vace_blocks": "Wan 2.1 VACE", "face_adapter": "Wan 2.2 Animate", "motion_encoder": "Wan 2.2 Animate",
    "double_blocks": "Flux or HunyuanVideo", "single_blocks": "Flux or HunyuanVideo",
    "single_transformer_blocks": "Flux", "transformer_blocks": "Flux, LTX, Qwen-Image or another diffusers transformer",
    "joint_blocks": "Stable Diffusion 3", "input_blocks": "Stable Diffusion", "down_blocks": "Stable Diffusion",
    "up_blocks": "Stable Diffusion", "mid_block": "Stable Diffusion", "output_blocks": "Stable Diffusion",
    "te_text_model": "a CLIP text encoder", "lora_te": "a text encoder", "text_encoder": "a text encoder",
    "layers": "Lumina or Z-Image",
}
_WIDTHS = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B"}


def is_lora(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a LoRA, in any of the known forms, and not a model."""
    return any(sat_names.is_sat_lora_key(name) or (split(name)[1] not in ("", "alpha")) or unsupported([name])
               for name in names)


def unsupported(names: Iterable[str]) -> tuple[str, str] | None:
    """The first tensor of a kind of LoRA that is not merged, and the kind; None where there is none."""
    return next(((name, kind) for name in names for ending, kind in _UNSUPPORTED.items() if name.endswith(ending)),
                None)


def split(name: str) -> tuple[str, str]:
    """Official module, without prefix, and part of a LoRA tensor.

    The parts are `down`, `up`, `diff`, `diff_b`, `diff_m`, `alpha`, `magnitude`, and LyCORIS' `hada_...` and
    `lokr_...`; "" for a name that is not a LoRA's. A module that SCAIL-2 does not have keeps its name.
    """
    if sat_names.is_sat_lora_key(name):
        try:
            name = sat_names.official_lora_key(name)
        except ValueError:
            return name, ""
    match = _PARTS.fullmatch(name)
    if match is None or match.lastgroup is None:
        return name, ""
    return _official_module(match[1]), match.lastgroup


def comfy_name(name: str) -> str | None:
    """The name that ComfyUI's LoRA loaders know this tensor by; None for one that is not for SCAIL-2's network."""
    module, part = split(name)
    if part == "diff_m":
        module, part = f"{module}.modulation", "diff"
    return f"diffusion_model.{module}.{_COMFY_PARTS.get(part, part)}" if part and module in _known_modules() else None


def made_for(lora: Mapping[str, Tensor]) -> str | None:
    """The model that this LoRA was made for, by names and sizes; None if they do not tell."""
    modules = [split(name)[0] for name in lora]
    found = next((model for beginning, model in _OTHER_MODELS.items() for module in modules
                  if module.startswith((beginning, f"lora_unet_{beginning}", f"lora_transformer_{beginning}"))), None)
    if found:
        return found
    widths = {tensor.shape[1] for name, tensor in lora.items()
              if split(name)[1] == "down" and split(name)[0].endswith("attn.q") and tensor.ndim > 1}
    return next((model for width, model in _WIDTHS.items() if width in widths), None)


def _official_module(module: str) -> str:
    flat = _FLAT_PREFIX.match(module)
    if flat:
        return _flat_modules().get(module[flat.end():], module)
    plain = _PREFIX.sub("", module, count=1) if _PREFIX.match(module) else module
    return _diffusers_modules().get(plain.replace(".processor.", "."), plain)


def _modules() -> Iterator[str]:
    """All modules and single parameters of the network, in official names."""
    yield from dict.fromkeys(re.sub(r"\.(weight|bias)$", "", name) for name in TransformerConfig().parameter_shapes())


@cache
def _known_modules() -> frozenset[str]:
    return frozenset(_modules())


@cache
def _diffusers_modules() -> dict[str, str]:
    """diffusers' name -> official name."""
    found = {_diffusers_name(module): module for module in _modules()}
    # the output projection is a list of a linear and a dropout, which old files leave out
    return found | {name.removesuffix(".0"): module for name, module in found.items() if name.endswith("to_out.0")}


@cache
def _flat_modules() -> dict[str, str]:
    """Official or diffusers' name with underscores -> official name."""
    names = _diffusers_modules() | {module: module for module in _modules()}
    return {name.replace(".", "_"): module for name, module in names.items()}


def _diffusers_name(module: str) -> str:
    name = module
    for official, theirs in _DIFFUSERS.items():
        if official in name:
            name = name.replace(official, theirs)
    name = name.replace("attn1.o", "attn1.to_out.0").replace("attn2.o", "attn2.to_out.0")
    return _PROJECTION.sub(r"to_\1", name)
