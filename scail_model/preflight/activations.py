"""GPU memory of a forward beside the weights, in bytes.

Fitted to measurements on one NVIDIA H200 (`tests/bench/budget_h200.json`, `gpus_h200.json`). For L tokens of width d, a
feed-forward width f, R rows in a chunk of rows, which small cards use (`kernels.chunks`):

    in a block    14.05 * L * d: the float32 stream; in two bytes its normalised copy, queries, keys, values and the
                  attention output. 14.84 for each of two conditionings in one batch. In chunks less: `chunks`
    in int8       the feed-forward needs most, in 8-bit and fast: (7.4 * d + 3 * f) * L + 4 * f * d. That is the stream,
                  its copy in a byte and the result in two, of the hidden values two bytes and, after GELU, one; and a
                  weight in int32, whose rows are added up. In chunks attention, 12.4 * L * d, because all queries come
                  at once, or the feed-forward after it, 6.4 * L * d + 3 * (d + f) * R + 4 * f * d: not measured
    before them   24 * d^2 + 4 * L * d: the float32 copy of the time projection, the stream
    on n GPUs     L is the rows of one of them, and in a block 2.45 + 4 * (n - 1) / n more for each and channel: what
                  any precision took at most. 4 more in chunks
"""

from __future__ import annotations

from ..config import TransformerConfig
from ..gpus.gain import largest_share
from ..kernels import chunks

_BLOCK_BYTES, _BATCHED_BLOCK_BYTES = chunks.WHOLE_BYTES, 14.84  # per token and channel, as what follows
_INT8_BYTES, _HIDDEN_BYTES = 7.4, 3.0  # the latter for each hidden channel
_SUM_BYTES = 4  # per number of a weight
_INT8_ATTENTION_BYTES, _INT8_KEPT_BYTES, _INT8_CHUNK_BYTES = 12.4, 6.4, 3.0
_RANK_BYTES, _TRAVEL_BYTES = 2.45, 4  # on several GPUs, more than on one
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
    if int8:
        blocks = max(blocks, _in_int8(config, batch * own, None if rows is None else batch * rows))
    embedding = _PROJECTION_BYTES * config.dim**2 + _STREAM_BYTES * channels
    return round(max(blocks, embedding))


def _in_int8(config: TransformerConfig, tokens: int, rows: int | None) -> float:
    """Of a block. rows: in a chunk, None for all at once."""
    channels, hidden, sums = tokens * config.dim, config.ffn_dim, _SUM_BYTES * config.ffn_dim * config.dim
    if rows is None:
        return _INT8_BYTES * channels + _HIDDEN_BYTES * hidden * tokens + sums
    chunk = (_INT8_CHUNK_BYTES * config.dim + _HIDDEN_BYTES * hidden) * rows
    return max(_INT8_ATTENTION_BYTES * channels, _INT8_KEPT_BYTES * channels + chunk + sums)
