"""How much of attention is computed, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass

AUTOMATIC, KEYS, ERROR_LIMIT = 0.0, 5632, 0.05
_HALF = 0.3  # twice more than this is hardly faster than everything


@dataclass(frozen=True)
class SparseSettings:
    """density: share of the pairs of blocks that a layer computes, 0..1; AUTOMATIC for KEYS keys to each query, because
    what a token has to look at does not grow with the video. error_limit: relative error of a layer's attention beyond
    which it computes more; 0 for none."""

    density: float = AUTOMATIC
    error_limit: float = ERROR_LIMIT

    def first(self, length: int) -> float:
        """The density of every layer at first, for `length` keys."""
        return min(self.density or KEYS / length, 1.0)


def more(density: float) -> float:
    """What comes after a density that leaves too large an error: twice as much, in the end everything."""
    return 2 * density if density < _HALF else 1.0
