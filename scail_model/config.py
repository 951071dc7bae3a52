"""Sizes of a SCAIL-2 transformer, also read from a checkpoint.

Field names and defaults are those of the official `configs/config-14b.json` and of the class
defaults in `wan/modules/model_scail2.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

HEAD_DIM = 128
CLIP_DIM = 1280
CLIP_TOKENS = 257

# Tensors that a quantised file stores next to a layer's weight; such a weight may be packed, so its own shape says
# nothing about the network.
QUANTISED_COMPANIONS = ("comfy_quant", "weight_scale", "weight_scale_2", "scale_weight")


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the network; the defaults are the 14B model."""

    dim: int = 5120
    ffn_dim: int = 13824
    num_heads: int = 40
    num_layers: int = 40
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512  # text tokens after padding
    in_dim: int = 20  # 16 latent channels and 4 that mark clean frames
    mask_dim: int = 28  # 7 colours for each of the 4 frames in a latent frame
    out_dim: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    model_type: str = "i2v"

    def __post_init__(self) -> None:
        if self.dim != self.num_heads * HEAD_DIM:
            raise ValueError(
                f"dim {self.dim} with {self.num_heads} heads gives a head size of {self.dim / self.num_heads:g}, "
                f"but SCAIL-2 heads have {HEAD_DIM}: use {self.dim / HEAD_DIM:g} heads."
            )

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> TransformerConfig:
        """Read the sizes from the tensor shapes of a checkpoint with official names.

        Only shapes are read, so tensors on the meta device and mapped files cost nothing. Raises ValueError that names
        the model if it is another one, the missing tensors, or the tensors of a wrong shape.
        """
        _refuse_other_models(state_dict)
        required = ("patch_embedding.weight", "patch_embedding_mask.weight", "head.head.bias", "blocks.0.ffn.0.bias",
                    "time_embedding.0.weight", "text_embedding.0.weight")
        _refuse_missing([name for name in required if name not in state_dict])
        dim, in_dim, frames, height, width = state_dict["patch_embedding.weight"].shape
        if dim == 0 or dim % HEAD_DIM:
            raise ValueError(
                f"patch_embedding.weight has width {dim}, which is not a multiple of the head size {HEAD_DIM}: "
                "this is not a SCAIL-2 transformer."
            )
        config = cls(
            dim=dim,
            ffn_dim=state_dict["blocks.0.ffn.0.bias"].shape[0],
            num_heads=dim // HEAD_DIM,
            num_layers=_count_layers(state_dict),
            freq_dim=state_dict["time_embedding.0.weight"].shape[1],
            text_dim=state_dict["text_embedding.0.weight"].shape[1],
            in_dim=in_dim,
            mask_dim=state_dict["patch_embedding_mask.weight"].shape[1],
            out_dim=state_dict["head.head.bias"].shape[0] // (frames * height * width),
            patch_size=(frames, height, width),
        )
        _refuse_misfits(state_dict, config.parameter_shapes())
        return config

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Official name -> shape of every tensor of the network (1,307 of them at 14B)."""
        dim, patch = self.dim, self.patch_size
        patch_volume = patch[0] * patch[1] * patch[2]
        shapes: dict[str, tuple[int, ...]] = {}

        def linear(name: str, outputs: int, inputs: int) -> None:
            shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

        for name, channels in (("", self.in_dim), ("_pose", self.in_dim), ("_mask", self.mask_dim)):
            shapes[f"patch_embedding{name}.weight"] = (dim, channels, *patch)
            shapes[f"patch_embedding{name}.bias"] = (dim,)
        linear("text_embedding.0", dim, self.text_dim)
        linear("text_embedding.2", dim, dim)
        linear("time_embedding.0", dim, self.freq_dim)
        linear("time_embedding.2", dim, dim)
        linear("time_projection.1", 6 * dim, dim)
        shapes["img_emb.proj.0.weight"] = shapes["img_emb.proj.0.bias"] = (CLIP_DIM,)
        linear("img_emb.proj.1", CLIP_DIM, CLIP_DIM)
        linear("img_emb.proj.3", dim, CLIP_DIM)
        shapes["img_emb.proj.4.weight"] = shapes["img_emb.proj.4.bias"] = (dim,)
        linear("head.head", patch_volume * self.out_dim, dim)
        shapes["head.modulation"] = (1, 2, dim)
        for layer in range(self.num_layers):
            block = f"blocks.{layer}"
            shapes[f"{block}.modulation"] = (1, 6, dim)
            shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (dim,)
            for projection in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q",
                               "cross_attn.k", "cross_attn.v", "cross_attn.o", "cross_attn.k_img", "cross_attn.v_img"):
                linear(f"{block}.{projection}", dim, dim)
            for norm in ("self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k",
                         "cross_attn.norm_k_img"):
                shapes[f"{block}.{norm}.weight"] = (dim,)
            linear(f"{block}.ffn.0", self.ffn_dim, dim)
            linear(f"{block}.ffn.2", dim, self.ffn_dim)
        return shapes


def _count_layers(state_dict: Mapping[str, torch.Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in state_dict if name.startswith("blocks."))


# Tensor names, or their beginnings, that identify another model; tried in this order.
_FOREIGN_NAMES = (
    ("model.diffusion_model.transformer.layers.", "a SCAIL-2 checkpoint in SAT form: pass it through convert_sat"),
    ("model.diffusion_model.mixins.", "a SCAIL-2 checkpoint in SAT form: pass it through convert_sat"),
    ("diffusion_model.", "a file whose names still carry a prefix: read it with load_checkpoint"),
    ("model.diffusion_model.", "a file whose names still carry a prefix: read it with load_checkpoint"),
    ("vace_blocks.", "Wan 2.1 VACE"),
    ("face_adapter.", "Wan 2.2 Animate"),
    ("motion_encoder.", "Wan 2.2 Animate"),
    ("double_blocks.", "a Flux or Hunyuan transformer"),
    ("transformer_blocks.", "a diffusers transformer"),
    ("decoder.middle.", "a Wan VAE"),
    ("shared.weight", "a T5 text encoder"),
)
_WAN_BY_CHANNELS = {16: "Wan 2.1 text-to-video", 36: "Wan 2.1 image-to-video", 48: "Wan 2.2 5B"}


def _refuse_other_models(state_dict: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError that names the model, if the tensor names show that it is not SCAIL-2."""
    if "patch_embedding_mask.weight" in state_dict:
        return
    other = _other_model(state_dict)
    if other is not None:
        raise ValueError(f"The checkpoint is not a SCAIL-2 transformer but {other}.")


def _other_model(state_dict: Mapping[str, torch.Tensor]) -> str | None:
    if any(".lora_" in name for name in state_dict):
        return "a LoRA"
    for beginning, model in _FOREIGN_NAMES:
        if any(name.startswith(beginning) for name in state_dict):
            return model
    if "patch_embedding_pose.weight" in state_dict:
        return "SCAIL-1 (SCAIL-Preview), which has no mask embedding"
    if "patch_embedding.weight" in state_dict:
        return _WAN_BY_CHANNELS.get(state_dict["patch_embedding.weight"].shape[1])
    return None


def _refuse_missing(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"The checkpoint lacks {len(names)} tensors of SCAIL-2, first {', '.join(names[:3])}: "
            "it is incomplete or another model; download it again or choose another file."
        )


def _refuse_misfits(state_dict: Mapping[str, torch.Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    _refuse_missing([name for name in expected if name not in state_dict])
    quantised = {name.rpartition(".")[0] for name in state_dict if name.rpartition(".")[2] in QUANTISED_COMPANIONS}
    wrong = [
        name
        for name, shape in expected.items()
        if tuple(state_dict[name].shape) != shape and name.removesuffix(".weight") not in quantised
    ]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong)} tensors of the checkpoint do not have the shape of a SCAIL-2 of width "
            f"{expected['head.modulation'][2]}, first {first} with {list(state_dict[first].shape)} "
            f"instead of {list(expected[first])}: choose another file."
        )
