"""The transformer's weights without ComfyUI: opened and checked first, built on the device when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..attention import sdpa
from ..checkpoint import load_checkpoint
from ..config import QUANTISED_COMPANIONS, TransformerConfig
from ..files.content_keys import digest
from ..kernels.attention_choice import AttentionFunction
from ..kernels.precision import EXACT, int8_linears, int8_storage
from ..lora import MergeReport, is_lora, merge_lora
from ..transformer import SCAIL2Transformer
from . import int8
from .file_keys import file_key


@dataclass(frozen=True)
class Lora:
    """A LoRA file that fits the model. report: which of its tensors are used."""

    path: Path
    strength: float
    report: MergeReport

    def __str__(self) -> str:
        return f"LoRA {self.path}, strength {self.strength:g}: {self.report.summary}"


@dataclass
class Weights:
    """An opened SCAIL-2 checkpoint: sizes, tensors that are still mapped from the file, and the LoRAs to merge."""

    path: Path
    config: TransformerConfig
    tensors: dict[str, Tensor]
    loras: Sequence[Lora] = ()

    @property
    def key(self) -> str:
        return digest(file_key(self.path), [(file_key(lora.path), lora.strength) for lora in self.loras])

    def check_lora(self, path: Path, strength: float) -> Lora:
        """Open a LoRA, read it and compare its shapes with the model's, without merging it. RuntimeError for a file
        that cannot be read, ValueError if nothing in it fits or it is not a LoRA."""
        if path.is_dir():
            raise RuntimeError(f"The LoRA {path} (--lora_path) is a folder: give the .safetensors file in it.")
        if not path.is_file():
            raise RuntimeError(f"The LoRA {path} (--lora_path) does not exist: check the path.")
        lora = load_checkpoint(path)[0]
        if not is_lora(lora):
            raise ValueError(f"{path} (--lora_path) is not a LoRA, because it holds {', '.join(list(lora)[:3])}: give "
                             "the LoRA's file.")
        shapes = {name: tensor.to("meta") for name, tensor in self.tensors.items()}
        return Lora(path, strength, merge_lora(shapes, lora, strength, called=f"The LoRA {path}"))

    def build(self, device: torch.device, dtype: torch.dtype, attention: AttentionFunction = sdpa,
              precision: str = EXACT, *, home: torch.device | None = None) -> SCAIL2Transformer:
        """The network in `dtype`, with the LoRAs merged before anything is stored in 8 bits. It lies at `home`, or on
        the `device` that it computes on. Gives up the tensors, so this works once."""
        for lora in self.loras:
            merge_lora(self.tensors, load_checkpoint(lora.path)[0], lora.strength)
        model = self.empty(attention, precision)
        narrow = {f"{name}.weight" for name in self._narrow(precision)}
        model.load_state_dict(self._placed(device, dtype, home or device, narrow), assign=True)
        return model

    def empty(self, attention: AttentionFunction = sdpa, precision: str = EXACT) -> SCAIL2Transformer:
        """The network without its weights, which are on the `meta` device."""
        model = SCAIL2Transformer(self.config, attention=attention, linears=int8.linears(), device="meta")
        int8.replace(model, self._narrow(precision))
        return model.eval().requires_grad_(False)

    def _narrow(self, precision: str) -> list[str]:
        return int8_linears(self.config.num_layers) if int8_storage(precision) else []

    def _placed(self, device: torch.device, dtype: torch.dtype, home: torch.device, narrow: Collection[str]
                ) -> dict[str, Tensor]:
        """All tensors, one after the other; these in 8 bits."""
        placed: dict[str, Tensor] = {}
        for name in self.config.parameter_shapes():
            tensor = self.tensors.pop(name)
            stored = int8.stored(name, tensor.to(device)) if name in narrow else {name: tensor.to(home, dtype)}
            placed |= {part: value.to(home) for part, value in stored.items()}
        return placed

    def spoilt(self, name: str) -> bool:
        """Whether a tensor of the file itself, without the LoRAs, holds NaN or infinite numbers."""
        return not load_checkpoint(self.path)[0][name].isfinite().all()


def open_weights(path: Path) -> Weights:
    """Open a checkpoint and check its tensors against the network; nothing is loaded.

    RuntimeError for a file that cannot be read, ValueError for another model and for a quantised one.
    """
    tensors, _ = load_checkpoint(path)
    config = TransformerConfig.from_state_dict(tensors, called=str(path))
    quantised = next((name for name in config.parameter_shapes()
                      if not tensors[name].is_floating_point() or tensors[name].dtype.itemsize == 1), None)
    if quantised or any(name.rpartition(".")[2] in QUANTISED_COMPANIONS for name in tensors):
        raise ValueError(f"{path} is quantised, which only the ComfyUI nodes run: take the bf16 or fp16 file.")
    return Weights(path, config, tensors)
