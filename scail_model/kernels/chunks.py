"""How many token rows a block computes at once: all of them, or chunks where the memory of the card is scarce.

Every output row of a block depends on all keys and values, but on no other row's queries, residual or feed-forward. So
a block can first make keys and values of all rows, and then finish the rows chunk by chunk: the same numbers but for
the rounding of matrix products of another height, with most of the intermediate results only a chunk long. Bytes for
L tokens of width d, in chunks of R:

    whole       14.05 * L * d, measured (`budget`)
    in chunks   8 * L * d + 12 * R * d: the float32 stream, keys and values in two bytes; of a chunk its normalised
                copy, queries and attention's result, and the feed-forward's middle. For each of two sequences in one
                batch 9.4 * L * d + 10.4 * R * d. Up to 3 % more than was measured

Chunks cost time: weights that do not stay on the card are converted for each chunk, and norms before keys are computed
twice. In chunks of 4096 and 6528 rows a forward on an H100 took 8 and 4 % more. What they save would only be room for
weights, whose coming costs nothing while the block before computes, so a card with room for the whole does
without. What decides is the card's size and not what is free on it, so that a run which is continued later, next to
other programs, rounds as it did before.
"""

from __future__ import annotations

WHOLE_BYTES = 14.05  # per token and channel
# per token and channel of all rows, and of the rows of a chunk; of one sequence, and of each in a batch
_ONE, _BATCHED = (8.0, 12.0), (9.4, 10.4)

# The activations may have this share of the card. Beside them it holds two blocks of weights, the one that computes and
# the one that comes: 1.5 GiB in two bytes.
_SHARE = 1 / 3
# A chunk may take this much more.
_CHUNK_SHARE = 1 / 16
_MULTIPLE = 128  # rows of a tile in matrix product and attention kernels: the last of a chunk would be part empty
# Of 4096 rows, the narrowest product (4096 x 5120) is 1280 tiles of 128 x 128: ten for each multiprocessor of the
# largest GPUs. Above 16384 there is nothing left to gain.
_FEWEST, _MOST = 4096, 16384


def rows_at_once(tokens: int, dim: int, total_memory: int, batch: int = 1) -> int | None:
    """Rows of each sequence in a chunk, a multiple of 128; None for all at once.

    tokens: of one sequence. dim: width of the network. total_memory: bytes of the card, free or not; 0 where that is
    not known, as on a CPU.
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
