"""GPU memory of a forward beside the weights, in bytes.

Fitted to measurements on one NVIDIA H200 (`tests/bench/budget_h200.json`, `gpus_h200.json`). For L tokens of width d, a
feed-forward width f, R rows in a chunk of rows, which small cards use (`kernels.chunks`):

    in a block    14.05 * L * d: the float32 stream; in two bytes its normalised copy, queries, keys, values and the
                  attention output. 14.84 for each of two conditionings in one batch. In chunks less: `chunks`
    in int8       as much, in 8-bit and fast. In chunks more: attention takes 12.4 * L * d, because all queries come at
                  once, or the feed-forward after it 6.4 * L * d + 3 * (d + f) * R: not measured
    before them   24 * d^2 + 4 * L * d: the float32 copy of the time projection, the stream
    on n GPUs     L is the rows of one of them, and in a block 1.05 + 4 * (n - 1) / n more for each and channel: what
                  any precision took at most. 4 more in chunks
"""

from __future__ import annotations

from ..config import TransformerConfig
from ..gpus.gain import largest_share
from ..kernels import chunks

_BLOCK_BYTES, _BATCHED_BLOCK_BYTES = chunks.WHOLE_BYTES, 14.84  # per token and channel, as what follows
_INT8_ATTENTION_BYTES, _INT8_KEPT_BYTES, _INT8_CHUNK_BYTES = 12.4, 6.4, 3.0
_RANK_BYTES, _TRAVEL_BYTES = 1.05, 4  # on several GPUs, more than on one
_QUERY_BYTES = 4  # on several GPUs in chunks: queries of all rows, twice
_STREAM_BYTES = 4  # of one GPU before the blocks
_PROJECTION_BYTES = 6 * 4  # per square of the width


def activation_bytes(config: TransformerConfig, tokens: int, batch: int = 1, total_vram: int = 0, gpus: int = 1, *,
                     int8: bool = False) -> int:
    """Peak memory of a forward on each of `gpus` GPUs, without the weights. total_vram: bytes of the card if blocks may
    use chunks, else 0. int8: whether most linears are, as in 8-bit and fast."""
    rows, own = chunks.rows_at_once(tokens, config.dim, total_vram, batch), largest_share(tokens, gpus)
    rows = None if rows is None else min(rows, own)
    channels = batch * own * config.dim
    if rows is None:
        blocks = (_BLOCK_BYTES if batch == 1 else _BATCHED_BLOCK_BYTES) * channels
    else:
        blocks = chunks.chunked_bytes(own, config.dim, rows, batch) + _QUERY_BYTES * (gpus > 1) * channels
    if gpus > 1:
        blocks += (_RANK_BYTES + _TRAVEL_BYTES * (gpus - 1) / gpus) * channels
    if int8 and rows is not None:
        blocks = max(blocks, _in_int8_chunks(config, batch * own, batch * rows))
    embedding = _PROJECTION_BYTES * config.dim**2 + _STREAM_BYTES * channels
    return round(max(blocks, embedding))


def _in_int8_chunks(config: TransformerConfig, tokens: int, rows: int) -> float:
    """Of a block that computes so many rows at a time."""
    chunk = _INT8_CHUNK_BYTES * (config.dim + config.ffn_dim) * rows
    return max(_INT8_ATTENTION_BYTES * tokens * config.dim, _INT8_KEPT_BYTES * tokens * config.dim + chunk)
