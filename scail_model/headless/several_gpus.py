"""The transformer on several GPUs, with a network of the same weights on each.

Guidance asks for two velocities. An even number of GPUs computes them at once, each half of the GPUs one of them;
otherwise all GPUs share the rows of one after the other. Either way the numbers are those of one GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..gpus.forward import forward_together
from ..gpus.team import Checked, Rank, Team
from ..transformer import SCAIL2Transformer

Call = dict[str, Any]  # the transformer's arguments, on the first GPU


@dataclass(frozen=True)
class SeveralGpus:
    """networks: one on each of the devices, which may be one, with equal weights. check: called between blocks by each
    GPU's thread; what it raises ends all."""

    networks: Sequence[SCAIL2Transformer]
    devices: Sequence[torch.device]
    check: Callable[[], None] = lambda: None

    def velocities(self, calls: Sequence[Call]) -> list[Tensor]:
        """Of each call, on the first GPU. Raises the first error of any GPU when all have stopped."""
        half, odd = divmod(len(self.devices), 2)
        if len(calls) != 2 or odd:
            return [self._velocity(call, slice(None), self) for call in calls]

        def of_half(rank: Rank) -> Tensor:
            first = half * rank.number
            return self._velocity(calls[rank.number], slice(first, first + half), rank)

        halves = Team(self.devices[::half], self).run(of_half)
        return [velocity.to(self.devices[0]) for velocity in halves]

    def _velocity(self, call: Call, part: slice, within: Checked) -> Tensor:
        """By some of the GPUs, on the first of them."""
        return forward_together(self.devices[part], self.networks[part], within=within, **call)


def fill(network: SCAIL2Transformer, source: SCAIL2Transformer, device: torch.device) -> None:
    """Give a network the weights of another one, copied to its own device, unless it has them already. Another thread
    may move the source meanwhile."""
    if next(network.parameters()).is_meta:
        weights = source.state_dict(keep_vars=True)  # each is looked up, and held, only while it is copied
        network.load_state_dict({name: weight.data.to(device) for name, weight in weights.items()}, assign=True)
