"""The ranks of a computation: GPUs, or other devices, that compute one video together, a thread for each.

Every rank holds some of the rows of tokens, and in self-attention all rows of some of the heads. What an operation has
to know of the other heads, it asks for here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

RANK = "scail2_rank"  # the key in `transformer_options` of the rank that computes


class Rank(Protocol):
    """One of several: from 0, how many there are, and where it computes."""

    @property
    def number(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def gather(self, x: Tensor) -> list[Tensor]:
        """What each rank has given, in their order, on the own device. All ranks call it, in the same order; it waits
        for the others' threads, and for nothing on a GPU."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Around what waits for the GPU: the other ranks' threads may launch kernels meanwhile."""
        ...


def rank_of(transformer_options: dict[str, Any] | None) -> Rank | None:
    """The rank that computes a call, if there are several."""
    return None if transformer_options is None else transformer_options.get(RANK)


def of_all_heads(x: Tensor, transformer_options: dict[str, Any] | None) -> Tensor:
    """What all ranks have of their heads: x [..., c] -> [..., c of all heads] in the order of the heads, on x's device;
    x itself where there is one. What is added up over heads afterwards has the same shape for any number of ranks, and
    so the same bits. Call it as `Rank.gather`."""
    rank = rank_of(transformer_options)
    return x if rank is None else torch.cat(rank.gather(x), dim=-1)


def numbers(x: Tensor, transformer_options: dict[str, Any] | None) -> Any:
    """x as Python's numbers, for what is decided by them. Waits for the GPU."""
    rank = rank_of(transformer_options)
    with nullcontext() if rank is None else rank.waiting():
        return x.tolist()
