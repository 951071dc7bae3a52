"""The parts of attention in 8-bit floats (float8 e4m3), of one item of a batch; `fp8_attention` puts them together.

A scale, float32 [], is what one unit of a float8 tensor stands for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .backends import Backends
from .eager.fp8 import LARGEST
from .ranks import of_all_heads

_QUANTIZING, _PRODUCT = Backends("fp8"), Backends("fp8")


def use_kernels(device: torch.device) -> None:
    """Compute on a device with Triton and cuDNN from now on. Raises ImportError where one of them is missing."""
    _QUANTIZING.use("triton", device)
    _PRODUCT.use("cudnn", device)


def use_pytorch(device: torch.device) -> None:
    """Compute on a device with PyTorch from now on."""
    _QUANTIZING.drop(device)
    _PRODUCT.drop(device)


class Stats(NamedTuple):
    """Of each column of x [L, C]: its mean, its largest absolute value and its mean square, each float32 [C]. They do
    not depend on how many columns there are."""

    mean: Tensor
    largest: Tensor
    square: Tensor

    def of_all_heads(self, transformer_options: dict[str, Any] | None) -> Stats:
        """Where x is of some heads: of those of all ranks (`ranks.of_all_heads`)."""
        return Stats(*of_all_heads(torch.stack(self), transformer_options))

    def size(self) -> Tensor:
        """Root mean square of x less its columns' means, []."""
        return (self.square.mean() - self.mean.square().mean()).clamp(min=0).sqrt()

    def bound(self) -> Tensor:
        """What no value of x less its columns' means is beyond, []: floats do not lose digits by a scale that is
        somewhat too large."""
        return self.largest.amax() + self.mean.abs().amax()


def stats(x: Tensor) -> Stats:
    """x [L, C], read once."""
    return Stats(*_QUANTIZING.of(x).stats(x))


def scale_for(largest: Tensor) -> Tensor:
    """The scale with which values up to `largest` fit into float8."""
    return largest.clamp(min=1e-30) / LARGEST


def quantize(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(x [L, C] - mean float32 [C]) / scale -> float8 [L, C]."""
    return _QUANTIZING.of(x).quantize(x, mean, scale)


def quantize_hadamard(x: Tensor, mean: Tensor | None, scale: Tensor) -> Tensor:
    """`quantize` of x [L, heads * 128], each head multiplied by the orthogonal Hadamard matrix; no mean is 0."""
    return _QUANTIZING.of(x).quantize_hadamard(x, mean, scale)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, q_scale: Tensor, k_scale: Tensor,
              v_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of q float8 [L, heads * 128] to k and v float8 [M, heads * 128], with probabilities in float8.

    Returns the result, float8 [L, heads * 128] with v's scale, and the logarithms of the sums of exp(score), float32
    [heads, L]. cuDNN is fast only where M is a multiple of 256.
    """
    return _PRODUCT.of(q).attention(q, k, v, heads, q_scale, k_scale, v_scale)


def merge_tail(main: Tensor, sums: Tensor, main_scale: Tensor, q: Tensor, k: Tensor, v: Tensor, score_scale: Tensor,
               v_scale: Tensor, mean: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Add the last few keys to `attention`: its results `main` and `sums`, and k and v float8 [n, heads * 128] -> the
    result for all keys, plus `mean` float32 [heads * 128], as [L, heads * 128] in `dtype`.

    score_scale: of a product of q and k, 1 / sqrt(128) included.
    """
    return _QUANTIZING.of(q).merge_tail(main, sums, main_scale, q, k, v, score_scale, v_scale, mean, heads, dtype)
