"""Sparse attention in int8, by comfy-kitchen (a package that newer ComfyUIs bring): for cards without FlashAttention 4.

Sol-Attn (arXiv 2607.24027): each block of 64 queries attends exactly, in int8, to the blocks of 64 keys whose mean it
scores highest, to its own and to that one's neighbours; every other block counts with its mean key and the sum of its
values. The kernel takes as many queries as keys only, of a length that need be no multiple of 64, on NVIDIA cards from
Ampere and on AMD's from RDNA 3, says the package; whether it is worth it on the card at hand is measured there.

The result grows less exact with larger keys as `fp8_attention` says, so those are left to another attention.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .attention_probe import Candidate, kitchen_lacks
from .in_parts import Rows, SparseInParts, of_whole

_DENSITY = 0.2  # for which it is measured
FEWEST_KEYS = 12288  # below, it gains little
_HEADS = 8  # at a time: the kernel keeps three copies in int8 and more of what it is given


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, density: float = _DENSITY) -> Tensor:
    """q, k, v [B, L, heads * 128] in bfloat16 or float16 -> [B, L, heads * 128], however large the keys.

    density: above 0 and below 1.
    """
    import comfy_kitchen

    out = torch.empty_like(q)
    # item by item and a few heads at a time: nothing that is computed goes over either
    for queries, keys, values, result in zip(*(x.unflatten(-1, (heads, -1)) for x in (q, k, v, out)), strict=True):
        for first in range(0, heads, _HEADS):
            part = slice(first, first + _HEADS)  # [L, up to 8, 128]
            result[:, part] = comfy_kitchen.sol_attn(
                *(x[None, :, part] for x in (queries, keys, values)), topk_ratio=density)[0]
    return out


def prepare_kv(k: Tensor, v: Tensor, heads: int) -> SparseInParts:
    """`attention` as `sparse_attention.prepare_kv` has it: of q, as many as there are keys, and the share of the blocks
    that is computed, without those that always are."""

    def begin(q: Tensor, density: float) -> tuple[Rows, Tensor]:
        return of_whole(attention(q, k, v, heads, density)), torch.full((len(q), heads), density, device=q.device)

    return SparseInParts(begin)


_candidate = Candidate("sol", attention, partial(kitchen_lacks, "sol_attn"))
why_not, not_worth = _candidate.why_not, _candidate.not_worth
