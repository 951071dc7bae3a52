"""int8 linears without ComfyUI: the weights of a network's linears in 8 bits, which replace those of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kernels import int8
from ..kernels.eager import int8 as eager
from ..kernels.linears import Int8

_SCALE = "_scale"


class Int8Linear(nn.Module):
    """A linear whose weight is in int8: weight [N, C] and weight_scale float32 [N] as in `int8.Weight`, bias [N]."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        self.weight = nn.Parameter(torch.empty_like(weight, dtype=torch.int8), requires_grad=False)
        self.weight_scale = nn.Parameter(torch.empty_like(weight[:, 0], dtype=torch.float32), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Where the kernels of `Int8` do not work: in x's dtype."""
        weight = self.weight.float() * self.weight_scale[:, None]
        return F.linear(x, weight.to(x.dtype), self.bias)


def linears() -> Int8:
    """What computes the linears of a network of which some are `Int8Linear`s."""
    return Int8(lambda layer: isinstance(layer, Int8Linear), _weights)


def replace(network: nn.Module, names: Iterable[str]) -> None:
    """Put int8 linears of the same sizes, not filled yet, into the place of these ("blocks.3.ffn.0")."""
    for name in names:
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, Int8Linear(cast(nn.Linear, network.get_submodule(name))))


def stored(name: str, weight: Tensor) -> dict[str, Tensor]:
    """A weight of the file, as the parameters of an `Int8Linear`."""
    # always in PyTorch: what a file becomes must not depend on whether the kernels have been loaded before
    values, scale = eager.quantize(weight)
    return {name: values, f"{name}{_SCALE}": scale}


def name_in_file(name: str) -> str:
    """Of the tensor that a parameter comes from: NaN in a weight shows in its scales."""
    return name.removesuffix(_SCALE)


@contextmanager
def _weights(layer: nn.Module, device: torch.device) -> Iterator[tuple[int8.Weight, Tensor | None]]:
    stored = cast(Int8Linear, layer)
    yield int8.Weight(stored.weight, stored.weight_scale), stored.bias
