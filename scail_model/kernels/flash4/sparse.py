"""`kernels.sparse.attend` in FlashAttention 4 (`flash-attn-4`), which is exact on the chosen blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import flash_attention

if TYPE_CHECKING:
    from ..sparse import Chosen


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, chosen: Chosen, sizes: tuple[int, int]
           ) -> tuple[Tensor, Tensor]:
    """See `sparse.attend`. The blocks must be in rising order: the last one is masked where the keys end."""
    from flash_attn.cute.block_sparsity import BlockSparseTensorsTorch

    none = torch.zeros_like(chosen.counts)
    # no block is masked; without masked blocks their list is not read
    tensors = BlockSparseTensorsTorch(none, chosen.blocks, chosen.counts, chosen.blocks, block_size=sizes)
    out, sums, *_ = flash_attention.call(q, k, v, heads, block_sparse_tensors=tensors, return_lse=True)
    return out.flatten(-2), sums
