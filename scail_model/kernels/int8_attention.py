"""Attention in int8, by comfy-kitchen (a package that newer ComfyUIs bring): for cards that have no float8 attention.

Queries, keys and values are int8, probabilities 8 bits without a sign. The kernel multiplies queries and keys by a
Hadamard matrix first and takes what all keys share out of them, as `fp8_attention` does, and has a scale for every few
rows. It runs on NVIDIA cards from Turing and on AMD's from RDNA 3, says the package; whether it is worth it on the card
at hand is measured there. Keys and values are converted in every call, so once for each chunk of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from .attention_probe import Candidate, kitchen_lacks
from .fp8_attention import keys_are_large


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B, L, heads * 128], k and v [B, M, heads * 128] in bfloat16 or float16 -> [B, L, heads * 128], however large
    the keys."""
    import comfy_kitchen

    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    return comfy_kitchen.int8_attention(q, k, v).transpose(1, 2).flatten(2)


def prepare_kv(k: Tensor, v: Tensor, heads: int, transformer_options: dict[str, Any] | None = None
               ) -> Callable[[Tensor], Tensor] | None:
    """`attention` to these keys and values as a function of q; None if the keys are too large."""
    return None if keys_are_large(k, transformer_options) else partial(attention, k=k, v=v, heads=heads)


_candidate = Candidate("int8", attention, partial(kitchen_lacks, "int8_attention"))
why_not, not_worth = _candidate.why_not, _candidate.not_worth
