"""LoRA files on a MODEL, in every naming; and what another pack's loader has left of one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, cast

import comfy.model_base
import comfy.sd
import torch
from torch import Tensor, nn

from ..checkpoint import load_checkpoint
from ..config import TransformerConfig
from ..lora import is_lora, merge_lora
from ..lora_names import comfy_name, split
from ..preflight.findings import Finding, fact, warning

_MODULATION = ".modulation"
_SIZES = ("dim", "ffn_dim", "num_heads", "num_layers")


def config_of(model) -> TransformerConfig:
    """The sizes of a SCAIL-2 MODEL, which core's loader and ours both leave in the same place."""
    sizes = model.model.model_config.unet_config
    return TransformerConfig(**{name: sizes[name] for name in _SIZES})


def add(model, path: str | os.PathLike, strength: float):
    """The MODEL with a LoRA file on it, as core's loaders put it there, and a report.

    RuntimeError for a file that cannot be read; ValueError if it is not a LoRA, nothing in it fits, or it holds NaN.
    """
    called = f"The LoRA {os.path.basename(path)}"
    if not isinstance(model.model, comfy.model_base.WAN21_SCAIL2):
        raise ValueError(f"The model is {type(model.model).__name__}, not SCAIL-2: connect Load SCAIL-2 Model, or use "
                         "Load LoRA for other models.")
    lora, _ = load_checkpoint(path)
    if not is_lora(lora):
        raise ValueError(f"{called} is not a LoRA, because it holds {', '.join(list(lora)[:3])}: choose another file.")
    shapes = {name: torch.empty(shape, device="meta") for name, shape in config_of(model).parameter_shapes().items()}
    report = merge_lora(shapes, lora, strength, called=called)
    if strength != 0:
        named = {cast(str, comfy_name(name)): _as_core(name, lora[name]) for name in report.applied}
        model = comfy.sd.load_lora_for_models(model, None, named, strength, 0.0)[0]
        _move_modulations(model)
    return model, f"{called}, strength {strength:g}: {report.summary}"


def _move_modulations(model) -> None:
    """Make object patches of the differences of modulations: ComfyUI never merges what a module holds beside others."""
    for key in [key for key in model.patches if key.endswith(_MODULATION)]:
        before: Any = model.get_model_object(key)
        merged = before.detach().as_subclass(Tensor).float()
        for strength, value, *_ in model.patches.pop(key):
            merged = merged + strength * value[1][0].to(merged)
        model.add_object_patch(key, nn.Parameter(merged.to(before.dtype), requires_grad=False))


def fitting(model) -> list[str]:
    """Names of the tensors that LoRAs and merges change; ComfyUI leaves out what has another shape."""
    shapes = {f"diffusion_model.{name}": shape for name, shape in config_of(model).parameter_shapes().items()}
    return [key for key, patches in model.patches.items()
            if any(_fits(shapes.get(key), value) for _, value, *_ in patches)]


def doubts(model) -> Iterator[Finding]:
    """What another loader's LoRA does not do on this MODEL."""
    fits = fitting(model)
    modulations = [key for key in model.patches if key.endswith(_MODULATION)]
    if any(_of_merge(value) for key in modulations for _, value, *_ in model.patches[key]):
        yield warning("model", f"The merge of models leaves {len(modulations)} modulations (such as {modulations[0]}) "
                               "as they are in model1, because ComfyUI merges none: merge the files outside of "
                               "ComfyUI.")
    elif modulations:
        yield warning("model", f"The LoRA's differences of {len(modulations)} modulations (such as {modulations[0]}) "
                               "are not applied by ComfyUI's loader: load the file with Load SCAIL-2 LoRA.")
    misfits = [key for key in model.patches if key not in set(fits)]
    if misfits and not fits:
        yield warning("model", f"The LoRA changes nothing, because the shapes of its {len(misfits)} tensors are not "
                               f"the model's, first {misfits[0]}: take a LoRA made for SCAIL-2 or Wan 2.1 14B.")
    elif misfits:
        yield fact("model", f"LoRA: {len(misfits)} tensors are left out, because their shapes are not the model's "
                            f"(first {misfits[0]}).")
    if "lora_metadata" in model.attachments and not model.patches and not model.injections:
        yield warning("model", "A LoRA is loaded, but ComfyUI's loader knows none of its tensors by name: load it with "
                               "Load SCAIL-2 LoRA, which reads other trainers' names too.")


def _of_merge(value: Any) -> bool:
    """Whether a patch is another model's weight, as ModelMergeSimple gives it."""
    return isinstance(value, list)


def _as_core(name: str, tensor: Tensor) -> Tensor:
    """Lengths of rows in PEFT's form are a vector, which core would take for lengths of columns."""
    return tensor[:, None] if split(name)[1] == "magnitude" and tensor.ndim == 1 else tensor


def _fits(expected: tuple[int, ...] | None, value: Any) -> bool:
    """Whether a patch has the shape of the weight; True for kinds that do not tell."""
    adapter: Any = value
    if isinstance(value, tuple) and isinstance(value[0], str) and value[0] == "diff":
        shape = tuple(value[1][0].shape)
    elif getattr(value, "name", None) == "lora":  # core's adapter
        up, down = (tensor.flatten(1).shape for tensor in adapter.weights[:2])
        shape = (up[0], down[1])
    else:
        return True
    return expected is None or math.prod(shape) == math.prod(expected)
