"""Sizes read off a checkpoint, the parameter count at 14B, and what is said of other models' files."""

import golden
import pytest
import torch

from scail_model.config import TransformerConfig
from scail_model.transformer import SCAIL2Transformer


def empty(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_14b_has_the_official_tensors():
    model = SCAIL2Transformer(TransformerConfig(), device="meta")
    tensors = model.state_dict()
    assert len(tensors) == 1307
    assert sum(tensor.numel() for tensor in tensors.values()) == 16_395_544_384
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == TransformerConfig().parameter_shapes()


def test_reads_sizes_off_shapes():
    assert TransformerConfig.from_state_dict(golden.tiny_weights()) == golden.TINY
    assert TransformerConfig.from_state_dict(empty(TransformerConfig().parameter_shapes())) == TransformerConfig()
    small = TransformerConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
    assert TransformerConfig.from_state_dict(empty(small.parameter_shapes())) == small


def test_packed_weights_of_quantised_files_may_have_any_shape():
    tensors = empty(golden.TINY.parameter_shapes())
    tensors["blocks.0.self_attn.q.weight"] = torch.empty(256, 128, dtype=torch.uint8, device="meta")
    with pytest.raises(ValueError, match="do not have the shape"):
        TransformerConfig.from_state_dict(tensors)
    tensors["blocks.0.self_attn.q.comfy_quant"] = torch.empty(30, dtype=torch.uint8, device="meta")
    assert TransformerConfig.from_state_dict(tensors) == golden.TINY


def without(names):
    return lambda tensors: {name: t for name, t in tensors.items() if not any(part in name for part in names)}


def renamed(prefix):
    return lambda tensors: {prefix + name: t for name, t in tensors.items()}


def with_channels(channels):
    def change(tensors):
        tensors = without(["_mask", "_pose"])(tensors)
        return tensors | {"patch_embedding.weight": torch.empty(256, channels, 1, 2, 2, device="meta")}

    return change


@pytest.mark.parametrize(("change", "message"), [
    (without(["_mask"]), "SCAIL-1"),
    (with_channels(16), "Wan 2.1 text-to-video"),
    (with_channels(36), "Wan 2.1 image-to-video"),
    (lambda tensors: {"double_blocks.0.img_attn.qkv.weight": tensors["head.modulation"]}, "Flux"),
    (lambda tensors: {"diffusion_model.blocks.0.ffn.0.lora_down.weight": tensors["head.modulation"]}, "a LoRA"),
    (lambda tensors: without(["_mask"])(tensors) | {"vace_blocks.0.modulation": tensors["head.modulation"]}, "VACE"),
    (renamed("model.diffusion_model."), "prefix.*load_checkpoint"),
    (without(["blocks.1.ffn", "blocks.1.cross_attn.k_img"]), r"lacks 6 tensors.*blocks\.1\.cross_attn\.k_img\.weight"),
    (without(["head.head"]), r"lacks 1 tensors.*head\.head\.bias"),
    (lambda tensors: {}, "lacks"),
    (lambda tensors: tensors | {"blocks.1.ffn.2.weight": tensors["blocks.1.ffn.0.weight"]},
     r"1 tensors .*blocks\.1\.ffn\.2\.weight with \[512, 256\] instead of \[256, 512\]"),
])
def test_names_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig.from_state_dict(change(empty(golden.TINY.parameter_shapes())))


def test_head_size_is_fixed():
    with pytest.raises(ValueError, match="head size of 64.*use 2 heads"):
        TransformerConfig(dim=256, num_heads=4)
