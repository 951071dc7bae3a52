"""The parts of block-sparse attention; `sparse_attention` puts them together.

Queries and keys are cut into blocks of rows, and these into pieces, whose means are enough to estimate how much
attention a block of queries pays to a block of keys. What is estimated to matter is computed exactly; each of the other
blocks counts as that many equal keys and values, its means.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .backends import Backends

_CHOOSING, _PRODUCT = Backends("sparse"), Backends("sparse")


def use_kernels(device: torch.device) -> None:
    """Compute on a device with Triton and FlashAttention 4 from now on. Raises ImportError where one is missing."""
    _CHOOSING.use("triton", device)
    _PRODUCT.use("flash4", device)


def use_pytorch(device: torch.device) -> None:
    """Compute on a device with PyTorch from now on."""
    _CHOOSING.drop(device)
    _PRODUCT.drop(device)


class Chosen(NamedTuple):
    """Which blocks of keys each block of queries attends to exactly: `kept` uint8 [B, heads, queries, keys], and the
    same as `counts` int32 [B, heads, queries] and `blocks` int32 [B, heads, queries, keys], rising from the left."""

    kept: Tensor
    counts: Tensor
    blocks: Tensor

    def of(self, queries: slice) -> Chosen:
        """Those of some blocks of queries."""
        return Chosen(*(x[:, :, queries].contiguous() for x in self))


def pool(x: Tensor, heads: int, size: int) -> Tensor:
    """The means of `size` rows each of x [B, L, heads * 128]: [B, heads, n, 128] in x's dtype. The last one is of the
    rows that there are."""
    return _CHOOSING.of(x).pool(x, heads, size)


def estimate(queries: Tensor, keys: Tensor, length: int, size: int, groups: tuple[int, int]) -> Tensor:
    """How much of its attention each block of queries pays to each block of keys, as the root mean square over the
    block's pieces, because errors add up as squares: float32 [B, heads, blocks of queries, blocks of keys].

    queries, keys [B, heads, n, 128]: the means of `size` rows each; groups: how many of each make a block. Every mean
    of queries looks at every mean of keys, which counts as often as it has rows; length: how many keys there are.
    """
    return _CHOOSING.of(queries).estimate(queries, keys, length, size, groups)


def choose(weights: Tensor, least: Tensor) -> Chosen:
    """The blocks whose estimated weight, float32 [B, heads, queries, keys], is at least the row's `least` [B, heads,
    queries]."""
    return Chosen(*_CHOOSING.of(weights).choose(weights, least))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, chosen: Chosen, sizes: tuple[int, int]
           ) -> tuple[Tensor, Tensor]:
    """Attention of q [B, L, heads * 128] to the chosen blocks of k and v [B, M, heads * 128]. sizes: rows of a block of
    queries, and of keys.

    Returns the result [B, L, heads * 128], and the logarithms of the sums of exp(score), float32 [B, heads, L].
    """
    return _PRODUCT.of(q).attend(q, k, v, heads, chosen, sizes)


def add_rest_(out: Tensor, sums: Tensor, q: Tensor, keys: Tensor, values: Tensor, logarithms: Tensor, kept: Tensor,
              size: int) -> Tensor:
    """Add the blocks that are not kept to what `attend` returned, and write the result over `out`.

    keys, values [B, heads, n, 128] in q's dtype: the blocks' means. logarithms, float32 [n]: of how many
    keys each stands for. size: rows of a block of queries.
    """
    return _CHOOSING.of(q).add_rest_(out, sums, q, keys, values, logarithms, kept, size)
