"""Which rows of the token sequence each GPU computes."""

from __future__ import annotations

# Rows of a tile in attention's kernels, or a multiple: each tile then holds the rows that it holds on one GPU.
TILE = 256
# Short sequences are cut finer, so that every GPU has rows.
_MULTIPLES = (TILE, 128, 32, 8, 1)


def rows_of(tokens: int, count: int) -> list[slice]:
    """The rows of `tokens` of each of `count` GPUs, in order and about equally many. Raises ValueError for fewer rows
    than GPUs."""
    for multiple in _MULTIPLES:
        tiles = -(-tokens // multiple)
        if tiles >= count:
            bounds = [min(tiles * number // count * multiple, tokens) for number in range(count + 1)]
            return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]
    raise ValueError(f"{tokens} tokens cannot be split over {count} GPUs: use fewer.")


def within(rows: slice, part: slice) -> slice:
    """What of `part` lies in `rows`, both numbered in the whole sequence; empty at its nearer end if nothing does."""
    start = min(max(part.start, rows.start), rows.stop)
    return slice(start, max(min(part.stop, rows.stop), start))


def shifted(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)


def size(rows: slice) -> int:
    return rows.stop - rows.start
