"""Sizes of a SCAIL-2 transformer, also read from a checkpoint.

Field names and defaults are those of the official `configs/config-14b.json` and of the class
defaults in `wan/modules/model_scail2.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .file_kinds import Shaped, other_model

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
    def from_state_dict(cls, state_dict: Mapping[str, Shaped], *,
                        called: str = "The checkpoint") -> TransformerConfig:
        """Read the sizes from the tensor shapes of a checkpoint with official names.

        Only shapes are read, so tensors on the meta device and mapped files cost nothing. Raises ValueError that names
        the model if it is another one, the missing tensors, or the tensors of a wrong shape. called: how messages name
        the file.
        """
        refuse_other_models(state_dict, called)
        required = ("patch_embedding.weight", "patch_embedding_mask.weight", "head.head.bias", "blocks.0.ffn.0.bias",
                    "time_embedding.0.weight", "text_embedding.0.weight")
        _refuse_missing([name for name in required if name not in state_dict], called)
        dim, in_dim, frames, height, width = state_dict["patch_embedding.weight"].shape
        if dim == 0 or dim % HEAD_DIM:
            raise ValueError(
                f"{called} is not a SCAIL-2 transformer, because patch_embedding.weight has width {dim}, which is not "
                f"a multiple of the head size {HEAD_DIM}: give a SCAIL-2 file."
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
        _refuse_misfits(state_dict, config.parameter_shapes(), called)
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


def _count_layers(state_dict: Mapping[str, Shaped]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in state_dict if name.startswith("blocks."))


def refuse_other_models(tensors: Mapping[str, Shaped], called: str) -> None:
    """Raise ValueError that names the model, if names and shapes show that it is not SCAIL-2."""
    other = other_model(tensors)
    if other is not None:
        raise ValueError(f"{called} is not a SCAIL-2 transformer but {other}: give a SCAIL-2 file.")


def _refuse_missing(names: list[str], called: str) -> None:
    if names:
        raise ValueError(
            f"{called} lacks {len(names)} tensors of SCAIL-2, first {', '.join(names[:3])}: "
            "it is incomplete or another model; download it again or choose another file."
        )


def _refuse_misfits(state_dict: Mapping[str, Shaped], expected: dict[str, tuple[int, ...]], called: str) -> None:
    _refuse_missing([name for name in expected if name not in state_dict], called)
    quantised = {name.rpartition(".")[0] for name in state_dict if name.rpartition(".")[2] in QUANTISED_COMPANIONS}
    wrong = [
        name
        for name, shape in expected.items()
        if tuple(state_dict[name].shape) != shape and name.removesuffix(".weight") not in quantised
    ]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{called} has {len(wrong)} tensors that do not have the shape of a SCAIL-2 of width "
            f"{expected['head.modulation'][2]}, first {first} with {list(state_dict[first].shape)} "
            f"instead of {list(expected[first])}: choose another file."
        )
