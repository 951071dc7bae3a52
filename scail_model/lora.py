"""LoRA files merged into the weights of a model.

A LoRA (Hu et al. 2021, arXiv 2106.09685) stores the change of a weight as the product of two thin matrices,
W + strength * (up @ down). LoHa (arXiv 2108.06098) multiplies two such products element by element, LoKr is a Kronecker
product (both as in KohakuBlueleaf/LyCORIS), and DoRA (arXiv 2402.09353) gives the changed weight's rows or columns new
lengths. The files in circulation also carry whole differences: `.diff` of a weight, `.diff_b` of a bias, `.diff_m` of a
modulation. The official code applies only pairs, and multiplies in the file's own dtype; here everything is applied, in
float32, which is the rule of the public minghaop/scail2_exp.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from . import lora_names
from .lora_names import is_lora

__all__ = ["MergeReport", "is_lora", "merge_lora"]

_EXAMPLES = 3
# Parts that make one change of a weight together; those of a kind that a file may leave out are added where they are.
_KINDS = (("down", "up"), ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("diff",))
_EXTRAS = ("alpha", "magnitude")


@dataclass(frozen=True)
class MergeReport:
    """Names of the LoRA file's tensors: those that changed the model, and those that fit nothing in it.

    misfits: a sentence about each module that the model has in another shape.
    """

    applied: list[str]
    unused: list[str]
    misfits: list[str] = field(default_factory=list, compare=False)

    @property
    def summary(self) -> str:
        """For people: how much is merged, and why something is not."""
        text = f"{len(self.applied)} tensors merged"
        if not self.unused:
            return text
        why = self.misfits[0] if self.misfits else f"the model has no place for {self.unused[0]}"
        return f"{text}, {len(self.unused)} unused ({why})"


class _Change(NamedTuple):
    """What changes one model tensor: names of LoRA tensors by part."""

    target: str
    parts: dict[str, str]


def merge_lora(state_dict: dict[str, Tensor], lora: Mapping[str, Tensor], strength: float, *,
               called: str = "The LoRA") -> MergeReport:
    """Add a LoRA to the weights of a model: W + strength * (up @ down), and whatever else LoRA files hold.

    state_dict: official names; the entries that change are replaced by new tensors of their dtype, so mapped and
    shared tensors stay as they are. lora: any names that `lora_names` knows. `alpha / rank` scales a product only where
    there is an `.alpha`. Sums are float32, rounded once. Pairs [out, rank] x [rank, in] also fit a convolution
    [out, channels, t, h, w] whose channels * t * h * w is `in`. Tensors on the meta device show what would fit.
    ValueError, and nothing changed, when no tensor fits, one would go into a quantised weight, one is NaN or infinite,
    or the file holds a kind of change that is not supported. called: how messages name the file.
    """
    _refuse_unsupported(lora, called)
    fitting: dict[str, list[_Change]] = defaultdict(list)
    misfits = []
    for change in _changes(state_dict, lora):
        weight = state_dict[change.target]
        _refuse_quantised(change.target, weight, called)
        shape = _shape(change, lora)
        if _fits(weight, shape, change, lora):
            fitting[change.target].append(change)
        else:
            misfits.append(f"{change.target} has {list(weight.shape)}, and {next(iter(change.parts.values()))} makes "
                           f"{'no weight' if shape is None else list(shape)}")
    applied = {name for changes in fitting.values() for change in changes for name in change.parts.values()}
    if not applied:
        raise ValueError(_nothing_fits(state_dict, lora, misfits, called))
    _refuse_not_finite({name: lora[name] for name in lora if name in applied}, called)
    for target, changes in fitting.items():
        merged = state_dict[target].float()
        for change in changes:
            merged = _changed(merged, change, lora, strength)
        state_dict[target] = merged.to(state_dict[target].dtype)
    return MergeReport([name for name in lora if name in applied], [name for name in lora if name not in applied],
                       misfits)


def _changes(state_dict: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> list[_Change]:
    """What the LoRA would change in this model, before shapes are compared."""
    modules: dict[str, dict[str, str]] = defaultdict(dict)
    for name in lora:
        module, part = lora_names.split(name)
        modules[module][part] = name
    changes = []
    for module, parts in modules.items():
        # A parameter of its own, such as a block's modulation, has no `.weight`.
        weight = f"{module}.weight" if f"{module}.weight" in state_dict else module
        kinds = [*_KINDS, tuple(part for part in parts if part.startswith("lokr_"))]
        for kind in kinds:
            if kind and all(part in parts for part in kind):
                extras = [part for part in _EXTRAS if part in parts and kind != ("diff",)]
                changes.append(_Change(weight, {part: parts[part] for part in (*kind, *extras)}))
        if "diff_b" in parts:
            changes.append(_Change(f"{module}.bias", {"diff": parts["diff_b"]}))
        if "diff_m" in parts:
            changes.append(_Change(f"{module}.modulation", {"diff": parts["diff_m"]}))
    return [change for change in changes if change.target in state_dict]


def _fits(weight: Tensor, shape: tuple[int, ...] | None, change: _Change, lora: Mapping[str, Tensor]) -> bool:
    lengths = lora[change.parts["magnitude"]] if "magnitude" in change.parts else None
    if lengths is not None and (weight.ndim < 2 or lengths.numel() != weight.shape[0 if len(lengths) > 1 else 1]):
        return False
    return shape == tuple(weight.shape) or "diff" not in change.parts and shape == tuple(weight.flatten(1).shape)


def _shape(change: _Change, lora: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """What the change's parts make: a difference's own shape, or the [out, in] of a product; None if they do not fit
    each other."""
    shapes = {part: tuple(lora[name].shape) for part, name in change.parts.items() if part not in _EXTRAS}
    if "diff" in shapes:
        return shapes["diff"]
    if min(map(len, shapes.values())) < 2:
        return None
    if "up" in shapes:
        return _product_shape(lora, change, "up", "down")
    if "hada_w1_a" in shapes:
        first = _product_shape(lora, change, "hada_w1_a", "hada_w1_b")
        return first if first == _product_shape(lora, change, "hada_w2_a", "hada_w2_b") else None
    factors = []
    for factor in ("lokr_w1", "lokr_w2"):
        whole = factor in shapes
        if not whole and not {f"{factor}_a", f"{factor}_b"} <= shapes.keys():
            return None
        factors.append(tuple(lora[change.parts[factor]].flatten(1).shape) if whole
                       else _product_shape(lora, change, f"{factor}_a", f"{factor}_b"))
    return None if None in factors else (factors[0][0] * factors[1][0], factors[0][1] * factors[1][1])


def _product_shape(lora: Mapping[str, Tensor], change: _Change, left: str, right: str) -> tuple[int, int] | None:
    up, down = (lora[change.parts[part]].flatten(1).shape for part in (left, right))
    return (up[0], down[1]) if up[1] == down[0] else None


def _changed(weight: Tensor, change: _Change, lora: Mapping[str, Tensor], strength: float) -> Tensor:
    """A float32 weight with one change added, on the weight's device."""
    parts = {part: lora[name].to(weight.device, torch.float32) for part, name in change.parts.items()
             if part != "alpha"}
    alpha = lora[change.parts["alpha"]].item() if "alpha" in change.parts else None
    difference = _difference(parts, alpha).reshape(weight.shape)
    if "magnitude" not in parts:
        return torch.add(weight, difference, alpha=strength)
    return weight.lerp(_with_lengths(weight + difference, parts["magnitude"]), strength)


def _difference(parts: Mapping[str, Tensor], alpha: float | None) -> Tensor:
    """The difference at strength 1."""
    if "diff" in parts:
        return parts["diff"]
    matrices = {part: tensor.flatten(1) for part, tensor in parts.items() if part != "magnitude"}
    if "up" in matrices:
        rank, product = len(matrices["down"]), matrices["up"] @ matrices["down"]
    elif "hada_w1_a" in matrices:
        rank = len(matrices["hada_w1_b"])
        product = (matrices["hada_w1_a"] @ matrices["hada_w1_b"]) * (matrices["hada_w2_a"] @ matrices["hada_w2_b"])
    else:
        # two whole factors have no rank to scale by
        rank = next((len(matrices[part]) for part in ("lokr_w2_b", "lokr_w1_b") if part in matrices), None)
        first, second = (matrices[factor] if factor in matrices else matrices[f"{factor}_a"] @ matrices[f"{factor}_b"]
                         for factor in ("lokr_w1", "lokr_w2"))
        product = torch.kron(first, second)
    return product if alpha is None or rank is None else product * (alpha / rank)


def _with_lengths(weight: Tensor, magnitude: Tensor) -> Tensor:
    """A weight [out, in, ...] with rows, or columns, of these lengths: [out], [out, 1, ...] or [1, in, ...]."""
    by_rows = len(magnitude) == len(weight)
    axes = tuple(axis for axis in range(weight.ndim) if axis != (0 if by_rows else 1))
    lengths = weight.norm(dim=axes, keepdim=True)
    return weight * (magnitude.reshape(lengths.shape) / lengths.clamp(min=torch.finfo(weight.dtype).tiny))


def _refuse_unsupported(lora: Mapping[str, Tensor], called: str) -> None:
    found = lora_names.unsupported(lora)
    if found:
        raise ValueError(f"{called} holds {found[1]} ({found[0]}), which is not supported: take a LoRA, LoHa, LoKr or "
                         "DoRA file.")


def _refuse_quantised(name: str, weight: Tensor, called: str) -> None:
    if not weight.is_floating_point() or weight.dtype.itemsize == 1:
        raise ValueError(f"{called} would change {name}, which is quantised "
                         f"({str(weight.dtype).removeprefix('torch.')}): load the bf16 or fp16 file of the model.")


def _refuse_not_finite(tensors: Mapping[str, Tensor], called: str) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_meta and not tensor.float().isfinite().all():
            raise ValueError(f"{called} holds NaN or infinite numbers, first in {name}: it is damaged or its training "
                             "failed; download it again, or take another LoRA.")


def _nothing_fits(state_dict: Mapping[str, Tensor], lora: Mapping[str, Tensor], misfits: list[str], called: str) -> str:
    model = lora_names.made_for(lora)
    of_model = f" was made for {model}, so" if model else " cannot be merged, because"
    why = misfits[0] if misfits else f"it has {_examples(lora)}, the model has {_examples(state_dict)}"
    return (f"{called}{of_model} none of the {len(lora)} LoRA tensors fits the model ({why}): take one made for "
            "SCAIL-2 or Wan 2.1 14B.")


def _examples(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_EXAMPLES]) or "no tensors"
