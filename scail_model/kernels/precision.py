"""The modes that a user can choose, and which linears those in 8 bits store in int8.

The linears were chosen from measurements on random 14B weights (`tests/bench/sensitivity_gpu.py`): the output of
cross-attention, which no gate makes smaller, causes an error of 1.0 % alone; every other kind causes less than half of
that, and all others together 0.6 %. So that one keeps its precision. So do keys and values of text and image, which
have few rows, and everything outside the blocks, which is small.
"""

from __future__ import annotations

EXACT, EIGHT_BIT, FAST = "exact", "8-bit", "fast"
PRECISIONS = (EXACT, EIGHT_BIT, FAST)

_LINEARS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q", "ffn.0", "ffn.2")


def int8_storage(precision: str) -> bool:
    """Whether a mode stores `int8_linears` in int8."""
    return precision in (EIGHT_BIT, FAST)


def int8_linears(num_layers: int) -> list[str]:
    """Names of the linears that are stored in int8 ("blocks.3.ffn.0")."""
    return [f"blocks.{block}.{name}" for block in range(num_layers) for name in _LINEARS]
