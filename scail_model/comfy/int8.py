"""int8 linears under ComfyUI, in the format of its own int8 files, so offloading, LoRAs and all cards work as usual.

ComfyUI's format is `int8_tensorwise` with a scale per output; `kernels.linears.Int8` computes with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ops
import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from ..kernels import int8
from ..kernels.eager import int8 as eager
from ..kernels.linears import Int8
from .blocks import is_replaced

_LAYOUT = "TensorWiseINT8Layout"
_FORMAT = {"format": "int8_tensorwise"}


def convert(state_dict: dict[str, Tensor], linears: Iterable[str], device: torch.device) -> None:
    """Store these linears ("blocks.3.ffn.0") in int8, in place, one weight at a time on `device`."""
    mark = torch.tensor(list(json.dumps(_FORMAT).encode()), dtype=torch.uint8)
    for name in linears:
        weight = state_dict[f"{name}.weight"]
        # always in PyTorch: what a file becomes must not depend on whether the kernels have been loaded before
        values, scale = eager.quantize(weight.to(device))  # [N, C], [N]
        state_dict[f"{name}.weight"] = values.to(weight.device)
        state_dict[f"{name}.weight_scale"] = scale[:, None].to(weight.device)
        state_dict[f"{name}.comfy_quant"] = mark.clone()


def stored(layer: nn.Module) -> bool:
    """Whether a layer's weight is in this format, from us or from a file. ComfyUI computes rotated weights itself."""
    weight: Any = layer.weight
    return (isinstance(weight, QuantizedTensor) and weight._layout_cls == _LAYOUT and not weight._params.convrot
            and not is_replaced(layer))


class ComfyInt8(Int8):
    """`Int8` for layers of ComfyUI, which may fold GELU into linears of the formats that it computes itself."""

    def activated(self, layer: nn.Module, x: Tensor) -> Tensor:
        fused = getattr(comfy.ops, "linear_input_act", None)
        if fused is None or not isinstance(layer.weight, QuantizedTensor) or is_replaced(layer):
            return super().activated(layer, x)
        return fused(layer, x, "gelu_tanh")


@contextmanager
def weights(layer: nn.Module, device: torch.device) -> Iterator[tuple[int8.Weight, Tensor | None]]:
    """A layer's weight and bias on a device, from wherever ComfyUI keeps them, patches applied."""
    weight, bias, stream = comfy.ops.cast_bias_weight(
        layer, dtype=layer.weight.dtype, device=device, bias_dtype=torch.float32, offloadable=True,
        compute_dtype=torch.bfloat16, want_requant=True)
    try:
        yield _unwrapped(weight), bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)


def _unwrapped(weight: Any) -> int8.Weight:
    if not isinstance(weight, QuantizedTensor):  # a LoRA that is added at each use returns it in full precision
        return int8.quantize_weight(weight)
    scale = weight._params.scale.float().flatten()
    return int8.Weight(weight._qdata, scale.expand(weight.shape[0]))
