"""Which linears the 8-bit mode stores in int8.

Chosen from measurements on random 14B weights (`tests/bench/sensitivity_gpu.py`): the output of cross-attention, which
no gate makes smaller, causes an error of 1.0 % alone; every other kind causes less than half of that, and all others
together 0.6 %. So that one keeps its precision. So do keys and values of text and image, which have few rows, and
everything outside the blocks, which is small.
"""

from __future__ import annotations

EXACT, EIGHT_BIT = "exact", "8-bit"
PRECISIONS = (EXACT, EIGHT_BIT)

_LINEARS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q", "ffn.0", "ffn.2")


def int8_linears(num_layers: int) -> list[str]:
    """Names of the linears that are stored in int8 ("blocks.3.ffn.0")."""
    return [f"blocks.{block}.{name}" for block in range(num_layers) for name in _LINEARS]
