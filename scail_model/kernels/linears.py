"""How a block computes its linears, and in which form norms and activations pass their results to them.

`FullPrecision` is the official code: every linear in its own precision. `Int8` gives the linears whose weights are
stored in int8 their inputs in int8, and leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from . import elementwise, int8

Input = Tensor | int8.QuantizedTokens
# a linear and a device -> its weight and bias there, for as long as the context lasts
Weights = Callable[[nn.Module, torch.device], AbstractContextManager[tuple[int8.Weight, Tensor | None]]]


class FullPrecision:
    """Linears as their layers compute them."""

    def product(self, layer: nn.Module, x: Input) -> Tensor:
        """[B, L, C] -> [B, L, N]."""
        # PyTorch adds the bias in another way where a batch is not contiguous
        return layer(x.contiguous() if isinstance(x, Tensor) else x)

    def norm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype, reader: nn.Module) -> Input:
        """LayerNorm(x) * weight + bias, in the form that `reader`, the linear that comes next, computes with."""
        return elementwise.layer_norm(x, weight, bias, eps, dtype)

    def add_norm_(self, x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                  dtype: torch.dtype, reader: nn.Module) -> tuple[Tensor, Input]:
        """x + y * gate, written over x, and its `norm`."""
        return elementwise.add_gated_norm_(x, y, gate, weight, bias, eps, dtype)

    def feed_forward(self, layers: nn.Sequential, x: Input) -> Tensor:
        """[B, L, C] through linear, GELU, linear."""
        return layers(x)


class Int8(FullPrecision):
    """int8 where `stored(layer)` says that a linear has an int8 weight, which `weights` fetches."""

    def __init__(self, stored: Callable[[nn.Module], bool], weights: Weights) -> None:
        self.stored, self.weights = stored, weights

    def product(self, layer: nn.Module, x: Input) -> Tensor:
        if not self.uses(layer, x.device):
            return layer(x.dequantize().to(x.dtype) if isinstance(x, int8.QuantizedTokens) else x)
        tokens = x if isinstance(x, int8.QuantizedTokens) else int8.quantize(x)
        del x  # from here on only the 8-bit copy is needed
        with self.weights(layer, tokens.device) as (weight, bias):
            return int8.linear(tokens, weight, bias)

    def norm(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype, reader: nn.Module) -> Input:
        if not self.uses(reader, x.device):
            return super().norm(x, weight, bias, eps, dtype, reader)
        return int8.layer_norm(x, weight, bias, eps, dtype)

    def add_norm_(self, x: Tensor, y: Tensor, gate: Tensor | None, weight: Tensor, bias: Tensor, eps: float,
                  dtype: torch.dtype, reader: nn.Module) -> tuple[Tensor, Input]:
        if not self.uses(reader, x.device):
            return super().add_norm_(x, y, gate, weight, bias, eps, dtype, reader)
        return int8.add_gated_norm_(x, y, gate, weight, bias, eps, dtype)

    def feed_forward(self, layers: nn.Sequential, x: Input) -> Tensor:
        first, _, second = layers
        middle: Input = self.product(first, x)
        if not self.uses(second, middle.device):
            return self.activated(second, middle)
        middle = int8.gelu(middle)  # the hidden values themselves are the largest tensor of all
        return self.product(second, middle)

    def activated(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A linear that is not stored in int8 of GELU(x)."""
        return layer(elementwise.gelu(x))

    def uses(self, layer: nn.Module, device: torch.device) -> bool:
        return self.stored(layer) and int8.ready(device) and not torch.is_grad_enabled()


class QuantizingInt8(Int8):
    """int8 for a network whose layers hold plain weights: int8 copies of some are kept beside them."""

    def __init__(self) -> None:
        self.copies: dict[nn.Module, int8.Weight] = {}
        super().__init__(self.copies.__contains__, self._weights)

    def quantize(self, network: nn.Module, names: Iterable[str]) -> None:
        """Compute these linears ("blocks.3.ffn.0") in int8 from now on, and no others."""
        self.copies.clear()
        for name in names:
            layer = cast(nn.Linear, network.get_submodule(name))
            self.copies[layer] = int8.quantize_weight(layer.weight.detach())

    @contextmanager
    def _weights(self, layer: nn.Module, device: torch.device) -> Iterator[tuple[int8.Weight, Tensor | None]]:
        yield self.copies[layer], cast(nn.Linear, layer).bias
