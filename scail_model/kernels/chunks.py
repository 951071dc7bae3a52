"""How many token rows a block computes at once: all of them, or chunks where the card has little memory.

Every output row of a block depends on all keys and values, but on no other row's queries, residual or feed-forward. So
a block can compute the keys and values of all rows first, and the rest chunk by chunk: the numbers are the same, except
that matrix products of another height round differently, and most intermediate results are only a chunk long. Bytes
for L tokens of width d, in chunks of R:

    whole       14.05 * L * d, measured (`budget`)
    in chunks   8 * L * d + 12 * R * d: the float32 stream, and keys and values in two bytes; of a chunk its normalised
                copy, queries, attention's result and the feed-forward's hidden tensor. For each of two sequences in one
                batch 9.4 * L * d + 10.4 * R * d. Up to 3 % more than was measured

Chunks cost time: weights that do not stay on the card are converted for each chunk, and the norm before the keys is
computed twice. In chunks of 4096 and 6528 rows a forward on an H100 took 8 and 4 % longer. The memory that they save
could only hold more weights, but streaming weights costs no time while the previous block computes. So a card with room
for the whole computes the whole. The card's size decides, not what is free on it, so that a run that is continued
later, next to other programs, rounds as before.
"""

from __future__ import annotations

WHOLE_BYTES = 14.05  # per token and channel
# per token and channel of all rows, and of the rows of a chunk; of one sequence, and of each in a batch
_ONE, _BATCHED = (8.0, 12.0), (9.4, 10.4)

# The activations may take this share of the card. It also holds two blocks of weights, the current and the next one:
# 1.5 GiB in two bytes.
_SHARE = 1 / 3
# A chunk may take this share in addition.
_CHUNK_SHARE = 1 / 16
_MULTIPLE = 128  # rows of a tile in matrix product and attention kernels, so that the last tile of a chunk is full
# Of 4096 rows, the narrowest product (4096 x 5120) is 1280 tiles of 128 x 128: ten for each multiprocessor of the
# largest GPUs. More than 16384 rows gain nothing.
_FEWEST, _MOST = 4096, 16384


def rows_at_once(tokens: int, dim: int, total_memory: int, batch: int = 1) -> int | None:
    """Rows of each sequence in a chunk, a multiple of 128; None for all at once.

    tokens: of one sequence. dim: width of the network. total_memory: bytes of the card, free or not; 0 if
    unknown, as on a CPU.
    """
    if not total_memory or WHOLE_BYTES * batch * tokens * dim <= _SHARE * total_memory:
        return None
    _, chunk = _ONE if batch == 1 else _BATCHED
    rows = int(_CHUNK_SHARE * total_memory / (chunk * batch * dim))
    rows = min(max(rows // _MULTIPLE * _MULTIPLE, _FEWEST), _MOST)
    return rows if rows < tokens else None


def chunked_bytes(tokens: int, dim: int, rows: int, batch: int = 1) -> float:
    """Activations of a block in chunks."""
    kept, chunk = _ONE if batch == 1 else _BATCHED
    return (kept * tokens + chunk * rows) * batch * dim
