"""The encoders' tensor names in the official files (`wan/modules/{vae,t5,clip}.py`) -> diffusers' and transformers'.

Sizes are read off the shapes, so a file needs no config beside it. Only the names change; the one tensor that changes
its shape is CLIP's fused q, k and v.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_CLIP_HEAD_DIM = 80  # ViT-H/14: width 1280, 16 heads; heads cannot be read off shapes

_VAE_RULES = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.downsamples\.", ".down_blocks."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)
_UPSAMPLE = re.compile(r"\.upsamples\.(\d+)\.")
_UPSAMPLE_STAGE = 4  # modules in a stage of the decoder: three residual blocks and the upsampler

_T5_RULES = (
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.block.\1.layer.0.SelfAttention."),
    (r"^blocks\.(\d+)\.pos_embedding\.embedding\.",
     r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias."),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
)

_CLIP_RULES = (
    (r"^cls_embedding$", "embeddings.class_embedding"),
    (r"^pos_embedding$", "embeddings.position_embedding.weight"),
    (r"^patch_embedding\.", "embeddings.patch_embedding."),
    (r"^pre_norm\.", "pre_layrnorm."),  # transformers spells it so
    (r"^post_norm\.", "post_layernorm."),
    (r"^transformer\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^transformer\.(\d+)\.mlp\.0\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.(\d+)\.mlp\.2\.", r"encoder.layers.\1.mlp.fc2."),
)
_CLIP_QKV = re.compile(r"^transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)$")


def vae(official: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Wan 2.1 VAE -> (arguments of diffusers' AutoencoderKLWan, its state dict). KeyError for a file without them."""
    config = {
        "base_dim": official["encoder.conv1.weight"].shape[0],
        "decoder_base_dim": official["decoder.head.0.gamma"].shape[0],
        "z_dim": official["conv2.weight"].shape[0],
    }
    return config, {_UPSAMPLE.sub(_up_block, _renamed(name, _VAE_RULES)): tensor for name, tensor in official.items()}


def t5(official: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """umT5 encoder -> (arguments of transformers' UMT5Config, state dict of UMT5EncoderModel). KeyError as `vae`."""
    vocabulary, width = official["token_embedding.weight"].shape
    buckets, heads = official["blocks.0.pos_embedding.embedding.weight"].shape
    config = {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": official["blocks.0.attn.q.weight"].shape[0] // heads,
        "d_ff": official["blocks.0.ffn.fc1.weight"].shape[0],
        "num_heads": heads,
        "num_layers": _count(official, "blocks"),
        "relative_attention_num_buckets": buckets,
    }
    state = {_renamed(name, _T5_RULES): tensor for name, tensor in official.items()}
    return config, {**state, "encoder.embed_tokens.weight": state["shared.weight"]}


def clip(official: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """CLIP ViT-H/14 -> (arguments of transformers' CLIPVisionConfig, state dict of CLIPVisionModel). KeyError as `vae`.

    What the file holds beside the picture's tower (text tower, projection, temperature) is left out.
    """
    tower = {name.removeprefix("visual."): tensor for name, tensor in official.items()
             if name.startswith("visual.") and name != "visual.head"}
    width, _, patch, _ = tower["patch_embedding.weight"].shape
    config = {
        "hidden_size": width,
        "intermediate_size": tower["transformer.0.mlp.0.weight"].shape[0],
        "num_hidden_layers": _count(tower, "transformer"),
        "num_attention_heads": width // _CLIP_HEAD_DIM,
        "image_size": math.isqrt(tower["pos_embedding"].shape[1] - 1) * patch,
        "patch_size": patch,
        "hidden_act": "gelu",
    }
    state = {}
    for name, tensor in tower.items():
        if match := _CLIP_QKV.match(name):
            layer, leaf = match.groups()
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                state[f"encoder.layers.{layer}.self_attn.{letter}_proj.{leaf}"] = part
        else:
            state[_renamed(name, _CLIP_RULES)] = tensor
    for name in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
        state[name] = state[name].squeeze()  # [1, 1, width] -> [width], [1, tokens, width] -> [tokens, width]
    return config, state


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _up_block(match: re.Match) -> str:
    stage, place = divmod(int(match[1]), _UPSAMPLE_STAGE)
    return f".up_blocks.{stage}.{'upsamplers.0' if place == _UPSAMPLE_STAGE - 1 else f'resnets.{place}'}."


def _count(state: Mapping[str, Tensor], module: str) -> int:
    """How many numbered children `module` has."""
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith(f"{module}."))
