"""Attention in 8-bit floats, on Hopper through cuDNN (`nvidia-cudnn-frontend`, an optional package).

Queries, keys, values and probabilities are float8 e4m3. A mean that all keys share changes no probability, and one that
all values share is simply added to the result, so both are taken out before rounding: otherwise the result, which is
rounded to 8 bits too, would be lost in their mean (as in SageAttention 2, arXiv 2411.10958). The rest has one scale
each; probabilities are multiplied by 16, so that small ones keep their digits and none is too large.

In a trained network a few channels make most of a score, and their rounding most of its error. So queries and keys are
multiplied by a Hadamard matrix first, which changes no score and spreads it over all channels (as in FlashAttention 3,
arXiv 2407.08608). The error that is left grows with queries and keys: a score is off by 0.04 times the product of
their sizes (root mean square of a channel; in the miniature 1.2 to 1.9 each). `prepare_kv` refuses larger keys, and
another attention must compute.

cuDNN is fast only where the keys are a multiple of 256, so a kernel of ours adds the last ones, exactly: softmax over
two sets of keys is the two results, weighted by their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import fp8
from .backends import once_a_device, uncompiled, why_wrong
from .eager.fp8 import HEAD
from .fp8 import Stats
from .ranks import numbers, of_all_heads

KEYS = 256  # cuDNN computes a multiple of this many
LARGEST_KEYS = 1.6  # scores are off by 0.1, if queries are as large as keys, so probabilities by a tenth


@once_a_device
def why_not(device: torch.device) -> str | None:
    """None if the kernels work on a device, which then computes with them; else the reason, the end of a sentence."""
    if device.type != "cuda" or torch.version.hip:
        return "it needs an NVIDIA GPU"
    if torch.cuda.get_device_capability(device) != (9, 0):
        return "it was made for Hopper GPUs"
    reason = why_wrong(partial(_distance, device), 0.15, "nvidia-cudnn-frontend or Triton")
    if reason is not None:
        fp8.use_pytorch(device)
    return reason


@uncompiled
def _load_kernels(device: torch.device) -> None:
    """The backend was chosen on one GPU, and others may compute with it."""
    why_not(device)


def _distance(device: torch.device) -> float:
    """Of the kernels from exact attention."""
    fp8.use_kernels(device)
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = torch.randn(3, 1, 300, HEAD, device=device, dtype=torch.bfloat16, generator=generator)
    result = attention(q, k, v, 1).float()
    heads = [x[:, None].float() for x in (q, k, v)]  # [1, 1, L, 128] each
    exact = torch.nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])[:, 0]
    return float((result - exact).norm() / exact.norm())


@torch.no_grad()
def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B, L, heads * 128], k and v [B, M, heads * 128], M at least 256 -> [B, L, heads * 128] of q's dtype, however
    large the keys."""
    stats = [fp8.stats(item) for item in k]
    return _prepare_kv(k, v, heads, stats, stats, None)(q)


@torch.no_grad()
def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None
               ) -> Callable[[Tensor], Tensor] | None:
    """`attention` to these keys and values as a function of q, for any number of calls; it keeps them in 8 bits, and
    not k and v. None if the keys are too large, those of all heads where several ranks have some each."""
    _load_kernels(k.device)
    stats = [fp8.stats(item) for item in k]
    of_all = [item.of_all_heads(transformer_options) for item in stats]
    sizes = torch.stack([item.size() for item in of_all])
    # the GPU has enough to do meanwhile
    if any(size > LARGEST_KEYS for size in numbers(sizes, transformer_options)):
        return None
    return _prepare_kv(k, v, heads, stats, of_all, transformer_options)


def keys_are_large(k: Tensor, transformer_options: dict[str, Any] | None = None) -> bool:
    """Whether `prepare_kv` would refuse keys k [B, M, heads * 128], or they hold NaN, which int8 would hide. Waits for
    the GPU."""
    # as `Stats.size`, without a float32 copy of k; a head at a time, as a sum of rows has other bits in another width
    squares = [torch.cat([head.var(0, correction=0).float() for head in item.split(HEAD, -1)]) for item in k]
    sizes = of_all_heads(torch.stack(squares), transformer_options).mean(-1).sqrt()  # [B]
    return not numbers((sizes <= LARGEST_KEYS).all(), transformer_options)


def _prepare_kv(k: Tensor, v: Tensor, heads: int, stats: Sequence[Stats], of_all: Sequence[Stats],
                transformer_options: dict[str, Any] | None) -> Callable[[Tensor], Tensor]:
    """stats: of the keys. of_all: the same of all heads."""
    # item by item, so that the scales of one do not touch another
    sources = [_KeysAndValues.of(keys, values, own.mean, every.bound(), heads, transformer_options)
               for keys, values, own, every in zip(k, v, stats, of_all, strict=True)]

    @torch.no_grad()
    def attention(q: Tensor) -> Tensor:
        items = [source.attend(x, transformer_options) for source, x in zip(sources, q, strict=True)]
        return torch.stack(items) if len(items) > 1 else items[0][None]

    return attention


class _KeysAndValues(NamedTuple):
    """Of one item: float8 [M, heads * 128], their scales, and the mean that was taken out of the values."""

    keys: Tensor
    key_scale: Tensor
    values: Tensor
    value_scale: Tensor
    mean: Tensor
    heads: int

    @classmethod
    def of(cls, k: Tensor, v: Tensor, key_mean: Tensor, key_bound: Tensor, heads: int,
           transformer_options: dict[str, Any] | None) -> _KeysAndValues:
        keys, key_scale = _quantize_hadamard(k, key_bound, key_mean)
        stats = fp8.stats(v)
        value_scale = fp8.scale_for(stats.of_all_heads(transformer_options).bound())
        return cls(keys, key_scale, fp8.quantize(v, stats.mean, value_scale), value_scale, stats.mean, heads)

    def attend(self, q: Tensor, transformer_options: dict[str, Any] | None) -> Tensor:
        """q [L, heads * 128] -> the same shape."""
        q8, q_scale = _quantize_hadamard(q, fp8.stats(q).of_all_heads(transformer_options).largest.amax())
        most = len(self.keys) // KEYS * KEYS
        main, sums = fp8.attention(q8, self.keys[:most], self.values[:most], self.heads, q_scale, self.key_scale,
                                   self.value_scale)
        return fp8.merge_tail(main, sums, self.value_scale, q8, self.keys[most:], self.values[most:],
                              q_scale * self.key_scale * HEAD**-0.5, self.value_scale, self.mean, self.heads, q.dtype)


def _quantize_hadamard(x: Tensor, largest: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x [L, heads * 128], less a mean, times the Hadamard matrix -> float8 and its scale."""
    scale = fp8.scale_for(largest * HEAD**0.5)  # a channel is at most that large, when all its terms add up
    return fp8.quantize_hadamard(x, mean, scale), scale
