"""Which rows of the token sequence each GPU computes."""

from __future__ import annotations

# Rows of a tile in attention's kernels, or a multiple: each tile then holds the rows that it holds on one GPU.
TILE = 256
# The last block computes the video's rows alone. A GPU has none of them or at least so many, as matrix products of
# fewer rows may be computed in another order: so many were seen to have the bits that they have on one GPU.
FEWEST = 512
# Short sequences are cut finer, so that every GPU has rows.
_MULTIPLES = (TILE, 128, 32, 8, 1)


def rows_of(tokens: int, count: int, video: slice | None = None) -> list[slice]:
    """The rows of `tokens` of each of `count` GPUs, in order and about equally many. video: its rows, of which no GPU
    gets few in a long sequence. Raises ValueError for fewer rows than GPUs."""
    for multiple in _MULTIPLES:
        tiles = -(-tokens // multiple)
        if tiles >= count:
            bounds = [min(tiles * number // count * multiple, tokens) for number in range(count + 1)]
            if video is not None and tokens >= 4 * FEWEST * count:
                bounds[1:-1] = [_with_enough(bound, video) for bound in bounds[1:-1]]
            return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]
    raise ValueError(f"{tokens} tokens cannot be split over {count} GPUs: use fewer.")


def _with_enough(bound: int, video: slice) -> int:
    """The nearest bound between two GPUs that leaves neither a few of the video's rows."""
    near = sorted(range(bound - FEWEST, bound + FEWEST + 1, TILE), key=lambda other: abs(other - bound))
    return next((other for other in near if not 0 < other - video.start < FEWEST
                 and not 0 < video.stop - other < FEWEST), bound)


def within(rows: slice, part: slice) -> slice:
    """What of `part` lies in `rows`, both numbered in the whole sequence; empty at its nearer end if nothing does."""
    start = min(max(part.start, rows.start), rows.stop)
    return slice(start, max(min(part.stop, rows.stop), start))


def shifted(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)


def size(rows: slice) -> int:
    return rows.stop - rows.start
