"""Attention in which one query's result depends on the others, but which, once it has seen all of them, can compute the
rows part by part: where several GPUs share a layer, results travel while the next part is computed."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .backends import uncompiled

Rows = Callable[[slice], Tensor]  # attention of some of the queries' rows. Parts begin at multiples of 256 rows


class InParts:
    """Attention as a function of queries [B, L, C]. begin: see all of them, and return `Rows`."""

    def __init__(self, begin: Callable[[Tensor], Rows]) -> None:
        self.begin = begin

    @uncompiled
    def __call__(self, q: Tensor) -> Tensor:
        return self.begin(q)(slice(0, q.shape[1]))


class SparseInParts:
    """Attention as a function of queries [B, L, C] and a density, the share of the blocks of keys that is computed.
    Returned are the result [B, L, C], and the share that was computed of each head, float32 [B, heads]. begin: as
    above, with that share."""

    def __init__(self, begin: Callable[[Tensor, float], tuple[Rows, Tensor]]) -> None:
        self.begin = begin

    def __call__(self, q: Tensor, density: float) -> tuple[Tensor, Tensor]:
        rows, computed = self.begin(q, density)
        return rows(slice(0, q.shape[1])), computed


def begun(attend: Callable[[Tensor], Tensor], q: Tensor) -> Rows:
    """Attention of all queries q, part by part where it can be."""
    return attend.begin(q) if isinstance(attend, InParts) else of_whole(attend(q))


def of_whole(out: Tensor) -> Rows:
    """The rows of a result that is there."""
    return lambda part: out[:, part]
