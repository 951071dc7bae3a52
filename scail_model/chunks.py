"""How many token rows a block computes at once: all of them, or chunks where the memory of the card is scarce.

Every output row of a block depends on all keys and values, but on no other row's queries, residual or feed-forward. So
a block can first make keys and values of all rows, and then finish the rows chunk by chunk: the same numbers but for
the rounding of matrix products of another height, with most of the intermediate results only a chunk long. Bytes for
L tokens of width d, in chunks of R:

    whole       14.05 * L * d, measured (`budget`)
    in chunks   8 * L * d + 12 * R * d: the float32 stream, keys and values in two bytes; of a chunk its normalised
                copy, queries and attention's result, and the feed-forward's middle. Counted, not measured

Chunks cost a little time, because each reads all keys again and is more kernels to start, so a card with room for the
whole does without. What decides is the card's size and not what is free on it, so that a run which is
continued later, next to other programs, rounds as it did before.
"""

from __future__ import annotations

WHOLE_BYTES = 14.05  # per token and channel
KEPT_BYTES, CHUNK_BYTES = 8.0, 12.0  # per token and channel of all rows, and of the rows of a chunk

# Below an eighth the activations cost few of the weights their place; what they give up is streamed in every forward.
_WORTH_IT = 1 / 8
# A chunk may take this much more; larger ones are no faster.
_CHUNK_SHARE = 1 / 64
_MULTIPLE = 128  # rows of a tile in matrix product and attention kernels: the last of a chunk would be part empty
# Of 4096 rows, the narrowest product (4096 x 5120) is 1280 tiles of 128 x 128: ten for each multiprocessor of the
# largest GPUs. Above 16384 there is nothing left to gain.
_FEWEST, _MOST = 4096, 16384


def rows_at_once(tokens: int, dim: int, total_memory: int, batch: int = 1) -> int | None:
    """Rows of each sequence in a chunk, a multiple of 128; None for all at once.

    tokens: of one sequence. dim: width of the network. total_memory: bytes of the card, free or not; 0 where that is
    not known, as on a CPU.
    """
    if not total_memory or WHOLE_BYTES * batch * tokens * dim <= _WORTH_IT * total_memory:
        return None
    rows = int(_CHUNK_SHARE * total_memory / (CHUNK_BYTES * batch * dim))
    rows = min(max(rows // _MULTIPLE * _MULTIPLE, _FEWEST), _MOST)
    return rows if rows < tokens else None


def chunked_bytes(tokens: int, dim: int, rows: int) -> float:
    """Activations of a block in chunks, for one sequence."""
    return (KEPT_BYTES * tokens + CHUNK_BYTES * rows) * dim
