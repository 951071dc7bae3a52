"""LoRA files merged into the weights of a model.

A LoRA (Hu et al. 2021, arXiv 2106.09685) stores the change of a weight as the product of two thin matrices,
W + strength * (up @ down). The files in circulation also carry whole differences: `.diff` of a weight, `.diff_b` of
a bias. The official code applies only pairs, and multiplies in the file's own dtype; here everything is applied, in
float32, which is the rule of the public minghaop/scail2_exp.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import sat_names

_PARTS = {
    ".lora_down.weight": "down",
    ".lora_A.weight": "down",
    ".lora_up.weight": "up",
    ".lora_B.weight": "up",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".alpha": "alpha",
}
_KOHYA_PREFIX = "lora_unet_"
_EXAMPLES = 3


@dataclass(frozen=True)
class MergeReport:
    """Names of the LoRA file's tensors: those that changed the model, and those that fit nothing in it."""

    applied: list[str]
    unused: list[str]


class _Change(NamedTuple):
    """What adds to one model tensor: names of LoRA tensors by part, a pair or a single difference."""

    target: str
    parts: dict[str, str]


def is_lora(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a LoRA, in any of the known forms, and not a model."""
    endings = tuple(ending for ending in _PARTS if ending != ".alpha")
    return any(name.endswith(endings) or sat_names.is_sat_lora_key(name) for name in names)


def merge_lora(state_dict: dict[str, Tensor], lora: Mapping[str, Tensor], strength: float) -> MergeReport:
    """Add a LoRA to the weights of a model: W + strength * (up @ down), and the same for `.diff` and `.diff_b`.

    state_dict: official names; the entries that change are replaced by new tensors of their dtype, so mapped and
    shared tensors stay as they are. lora: names with or without `diffusion_model.` or `model.diffusion_model.`, SAT
    names, or `lora_unet_` names with underscores. `alpha / rank` scales a pair only where there is an `.alpha`. Sums
    are float32, rounded once. Pairs [out, rank] x [rank, in] also fit a convolution [out, channels, t, h, w] whose
    channels * t * h * w is `in`.
    ValueError, and nothing changed, when no tensor fits or one would go into a quantised weight.
    """
    fitting: dict[str, list[_Change]] = defaultdict(list)
    for change in _changes(state_dict, lora):
        _refuse_quantised(change.target, state_dict[change.target])
        if _fits(state_dict[change.target], change, lora):
            fitting[change.target].append(change)
    applied = {name for changes in fitting.values() for change in changes for name in change.parts.values()}
    if not applied:
        raise ValueError(f"none of the {len(lora)} LoRA tensors fits the model: the LoRA has {_examples(lora)}, the "
                         f"model has {_examples(state_dict)}; use a LoRA made for SCAIL-2 or Wan 2.1 14B")
    for target, changes in fitting.items():
        weight = state_dict[target]
        merged = weight.float()
        for change in changes:
            merged = torch.add(merged, _difference(weight, change, lora), alpha=strength)
        state_dict[target] = merged.to(weight.dtype)
    return MergeReport([name for name in lora if name in applied], [name for name in lora if name not in applied])


def _changes(state_dict: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> list[_Change]:
    """What the LoRA would change in this model, before shapes are compared."""
    kohya_modules = {_KOHYA_PREFIX + name.removesuffix(".weight").replace(".", "_"): name.removesuffix(".weight")
                     for name in state_dict}
    modules: dict[str, dict[str, str]] = defaultdict(dict)
    for name in lora:
        module, part = _module_and_part(name)
        modules[kohya_modules.get(module, module)][part] = name
    changes = []
    for module, parts in modules.items():
        # A parameter of its own, such as a block's modulation, has no `.weight`.
        weight = f"{module}.weight" if f"{module}.weight" in state_dict else module
        if "down" in parts and "up" in parts:
            changes.append(_Change(weight, {part: parts[part] for part in ("down", "up", "alpha") if part in parts}))
        if "diff" in parts:
            changes.append(_Change(weight, {"diff": parts["diff"]}))
        if "diff_b" in parts:
            changes.append(_Change(f"{module}.bias", {"diff": parts["diff_b"]}))
    return [change for change in changes if change.target in state_dict]


def _module_and_part(name: str) -> tuple[str, str]:
    """Module (official or kohya name, no prefix) and part of a LoRA tensor; the part is "" for an unknown one."""
    if sat_names.is_sat_lora_key(name):
        try:
            name = sat_names.official_lora_key(name)
        except ValueError:
            return name, ""
    name = sat_names.without_prefix(name)
    for ending, part in _PARTS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), part
    return name, ""


def _refuse_quantised(name: str, weight: Tensor) -> None:
    if not weight.is_floating_point() or weight.dtype.itemsize == 1:
        raise ValueError(f"{name} is quantised ({str(weight.dtype).removeprefix('torch.')}), so a LoRA cannot be merged"
                         " into it; load the bf16 or fp16 file of the model")


def _fits(weight: Tensor, change: _Change, lora: Mapping[str, Tensor]) -> bool:
    if "diff" in change.parts:
        return lora[change.parts["diff"]].shape == weight.shape
    down, up = lora[change.parts["down"]], lora[change.parts["up"]]
    if min(down.ndim, up.ndim, weight.ndim) < 2:
        return False
    # As matrices: up [out, rank], down [rank, in], weight [out, in].
    up, down, weight = up.flatten(1), down.flatten(1), weight.flatten(1)
    return up.shape[1] == down.shape[0] and (up.shape[0], down.shape[1]) == weight.shape


def _difference(weight: Tensor, change: _Change, lora: Mapping[str, Tensor]) -> Tensor:
    """The float32 difference at strength 1, in the weight's shape and on its device."""
    parts = {part: lora[name].to(weight.device, torch.float32) for part, name in change.parts.items()}
    if "diff" in parts:
        return parts["diff"]
    down, up = parts["down"].flatten(1), parts["up"].flatten(1)  # [rank, in], [out, rank]
    scale = parts["alpha"].item() / down.shape[0] if "alpha" in parts else 1.0
    return (up @ down).reshape(weight.shape) * scale


def _examples(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_EXAMPLES]) or "no tensors"
