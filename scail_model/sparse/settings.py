"""How much of attention is computed, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass

DENSITY, ERROR_LIMIT = 0.15, 0.3


@dataclass(frozen=True)
class SparseSettings:
    """density: share of the pairs of blocks that a layer computes, 0..1. error_limit: relative error of a layer's
    attention beyond which it computes more; 0 for none."""

    density: float = DENSITY
    error_limit: float = ERROR_LIMIT

    @property
    def densities(self) -> tuple[float, ...]:
        """What a layer computes at first, and what comes after that while its error is too large; 1 is dense."""
        return *(self.density * factor for factor in (1, 2) if self.density * factor < 0.5), 1.0
