"""The transformer's weights without ComfyUI: opened and checked first, built on the device when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_checkpoint
from ..config import QUANTISED_COMPANIONS, TransformerConfig
from ..lora import MergeReport, merge_lora
from ..transformer import SCAIL2Transformer


@dataclass
class Weights:
    """An opened SCAIL-2 checkpoint: sizes, and tensors that are still mapped from the file."""

    path: Path
    config: TransformerConfig
    tensors: dict[str, Tensor]

    def merge(self, lora: Path, strength: float) -> MergeReport:
        """Add a LoRA; the tensors that change are then in memory. ValueError if nothing of it fits the model."""
        if not lora.is_file():
            raise RuntimeError(f"The LoRA {lora} (--lora_path) does not exist: check the path.")
        return merge_lora(self.tensors, load_checkpoint(lora)[0], strength)

    def build(self, device: torch.device, dtype: torch.dtype) -> SCAIL2Transformer:
        """The network on `device` in `dtype`. Gives up the tensors one by one, so this works once."""
        model = SCAIL2Transformer(self.config, device="meta")
        names = self.config.parameter_shapes()
        model.load_state_dict({name: self.tensors.pop(name).to(device, dtype) for name in names}, assign=True)
        return model.eval().requires_grad_(False)


def open_weights(path: Path) -> Weights:
    """Open a checkpoint and check its tensors against the network; nothing is loaded.

    RuntimeError for a file that is none or damaged, ValueError for another model and for a quantised one.
    """
    tensors, _ = load_checkpoint(path)
    config = TransformerConfig.from_state_dict(tensors)
    quantised = next((name for name in config.parameter_shapes()
                      if not tensors[name].is_floating_point() or tensors[name].dtype.itemsize == 1), None)
    if quantised or any(name.rpartition(".")[2] in QUANTISED_COMPANIONS for name in tensors):
        raise ValueError(f"{path} is quantised, which only the ComfyUI nodes run: take the bf16 or fp16 file.")
    return Weights(path, config, tensors)
