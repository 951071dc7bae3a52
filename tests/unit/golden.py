"""Reading the golden data: numbers that the official code computed (tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from scail_model.config import TransformerConfig
from scail_model.transformer import SCAIL2Transformer

GOLDEN = Path(__file__).parent.parent / "golden"
TINY = TransformerConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=2)


def load(name: str) -> tuple[dict[str, Tensor], dict | list]:
    """Tensors (floats upcast to float32, as their README asks) and the case's parameters."""
    path = GOLDEN / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        info = json.loads((file.metadata() or {}).get("info", "{}"))
    return {key: _upcast(value) for key, value in load_file(path).items()}, info


def tiny_weights() -> dict[str, Tensor]:
    return load("weights_tiny")[0]


def tiny_transformer(dtype: torch.dtype = torch.float32, **options) -> SCAIL2Transformer:
    model = SCAIL2Transformer(TINY, dtype=dtype, **options)
    model.load_state_dict(tiny_weights())
    return model.requires_grad_(False)


def clip_features(index: int) -> Tensor:
    base = load("A_clip_shared")[0]["clip_fea.0"]
    return base if index == 0 else -base.flip(0)


def forward_inputs(tensors: dict[str, Tensor], info: dict, run: dict) -> dict:
    """The arguments of `SCAIL2Transformer.forward` for one run of a case A file."""
    additional = run["additional_refs"]
    contexts = _contexts(tensors)
    length = max(len(context) for context in contexts)
    return {
        "x": tensors["in.x"],
        "timestep": torch.tensor(run["t"]),
        "context": torch.stack([torch.nn.functional.pad(c, (0, 0, 0, length - len(c))) for c in contexts]),
        "clip_features": torch.stack([clip_features(index) for index in info["clip_ids"]]),
        "reference_latents": tensors["in.ref_latents"],
        "reference_masks": tensors["in.ref_masks"],
        "driving_latents": tensors["in.pose_latents"],
        "driving_masks": tensors["in.driving_masks"],
        "replacement": run["replace_flag"],
        "history_mask": tensors["in.history_mask"] if run["history"] else None,
        "additional_latents": tensors["in.additional_ref_latents"][:, :, :additional] if additional else None,
        "additional_masks": tensors["in.additional_ref_masks"][:, :, :additional] if additional else None,
    }


def _contexts(tensors: dict[str, Tensor]) -> list[Tensor]:
    if "in.context_base" in tensors:
        return [tensors["in.context_base"][tensors["in.context_index"]] * tensors["in.context_scale"][:, None]]
    return [tensors[f"in.context.{item}"] for item in range(len(tensors["in.x"]))]


def _upcast(tensor: Tensor) -> Tensor:
    small = (torch.float16, torch.bfloat16, torch.float8_e4m3fn)
    return tensor.float() if tensor.dtype in small else tensor


def pose_case(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and parameters of a case of pose-driven preprocessing (`golden/poses`)."""
    with np.load(GOLDEN / "poses" / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("info")))
