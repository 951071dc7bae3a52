"""Tensor names of the authors' training code (SAT) and the official names they stand for.

The published checkpoint and the LoRA files of zai-org/SCAIL-2 (branch sat-scail2) carry SAT names; the inference
code (branch wan-scail2), ComfyUI and this package use the official Wan names. SAT fuses projections that share an
input: one tensor then holds two or three official ones, stacked along dim 0 in equal plain blocks.
"""

import re
from collections.abc import Iterable

# Prefixes that SAT and ComfyUI put before the same names; longest first.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")

# SAT module -> official modules, in stacking order. N is the layer number.
_LAYER_MODULES = {
    "transformer.layers.N.attention.query_key_value": ("self_attn.q", "self_attn.k", "self_attn.v"),
    "transformer.layers.N.attention.dense": ("self_attn.o",),
    "transformer.layers.N.cross_attention.query": ("cross_attn.q",),
    "transformer.layers.N.cross_attention.key_value": ("cross_attn.k", "cross_attn.v"),
    "transformer.layers.N.cross_attention.dense": ("cross_attn.o",),
    # The norm before cross attention, despite its name.
    "transformer.layers.N.post_cross_attention_layernorm": ("norm3",),
    "transformer.layers.N.mlp.dense_h_to_4h": ("ffn.0",),
    "transformer.layers.N.mlp.dense_4h_to_h": ("ffn.2",),
    "mixins.adaln_layer.query_layernorm_list.N": ("self_attn.norm_q",),
    "mixins.adaln_layer.key_layernorm_list.N": ("self_attn.norm_k",),
    "mixins.adaln_layer.cross_query_layernorm_list.N": ("cross_attn.norm_q",),
    "mixins.adaln_layer.cross_key_layernorm_list.N": ("cross_attn.norm_k",),
    "mixins.adaln_layer.clip_feature_key_layernorm_list.N": ("cross_attn.norm_k_img",),
    "mixins.adaln_layer.clip_feature_key_value_list.N": ("cross_attn.k_img", "cross_attn.v_img"),
}
_OTHER_MODULES = {
    "mixins.patch_embed.proj": "patch_embedding",
    "mixins.patch_embed.proj_pose": "patch_embedding_pose",
    "mixins.patch_embed.proj_mask": "patch_embedding_mask",
    "mixins.final_layer.linear": "head.head",
    "time_embed.0": "time_embedding.0",
    "time_embed.2": "time_embedding.2",
    "adaln_projection.1": "time_projection.1",
    "text_embedding.0": "text_embedding.0",
    "text_embedding.2": "text_embedding.2",
    "clip_proj.proj.0": "img_emb.proj.0",
    "clip_proj.proj.1": "img_emb.proj.1",
    "clip_proj.proj.3": "img_emb.proj.3",
    "clip_proj.proj.4": "img_emb.proj.4",
}
_LAYER = re.compile(r"(transformer\.layers|mixins\.adaln_layer\.\w+)\.(\d+)(\..+)?")
_MODULATION = re.compile(r"mixins\.adaln_layer\.adaLN_modulations\.(\d+)")
_LORA = re.compile(r"(.+)\.lora_layer(?:\.(\d+))?\.(down\.weight|up\.weight|diff_b)")
_LORA_PARTS = {"down.weight": "lora_down.weight", "up.weight": "lora_up.weight", "diff_b": "diff_b"}


def without_prefix(name: str) -> str:
    """A tensor name without the `model.diffusion_model.` or `diffusion_model.` that some files put in front."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def is_sat(keys: Iterable[str]) -> bool:
    """Whether these tensor names are those of a SAT model."""
    return any(without_prefix(key).startswith(("transformer.layers.", "mixins.")) for key in keys)


def is_sat_lora_key(key: str) -> bool:
    """Whether a tensor of this name belongs to a SAT LoRA; the other tensors of such a file are the base model's."""
    return ".lora_layer" in key


def official_keys(key: str) -> list[str]:
    """The official names of one SAT model tensor; more than one for a fused tensor, in stacking order.

    Raises ValueError for a name that the SAT form of SCAIL-2 does not have.
    Source: zai-org/SCAIL-2, convert.py.
    """
    name = without_prefix(key)
    if name == "mixins.final_layer.adaLN_modulation":
        return ["head.modulation"]
    if match := _MODULATION.fullmatch(name):
        return [f"blocks.{match[1]}.modulation"]
    module, _, leaf = name.rpartition(".")
    modules = _official_modules(module)
    if not modules or leaf not in ("weight", "bias"):
        raise ValueError(f"the SAT form of SCAIL-2 has no tensor named {key!r}")
    return [f"{official}.{leaf}" for official in modules]


def official_lora_key(key: str) -> str:
    """The name, without prefix, that one SAT LoRA tensor has in ComfyUI form: `<module>.lora_down.weight`,
    `<module>.lora_up.weight` or `<module>.diff_b`.

    A fused projection has one LoRA per part, numbered in stacking order.
    Raises ValueError for a name that SAT LoRA files of SCAIL-2 do not have.
    Source: zai-org/SCAIL-2, convert_lora.py.
    """
    match = _LORA.fullmatch(without_prefix(key))
    if match:
        modules, part = _official_modules(match[1]), int(match[2] or 0)
        if part < len(modules):
            return f"{modules[part]}.{_LORA_PARTS[match[3]]}"
    raise ValueError(f"SAT LoRA files of SCAIL-2 have no tensor named {key!r}")


def _official_modules(module: str) -> list[str]:
    if module in _OTHER_MODULES:
        return [_OTHER_MODULES[module]]
    match = _LAYER.fullmatch(module)
    if not match:
        return []
    pattern = f"{match[1]}.N{match[3] or ''}"
    return [f"blocks.{match[2]}.{official}" for official in _LAYER_MODULES.get(pattern, ())]
