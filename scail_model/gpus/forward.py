"""One forward of the network on several GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.ranks import RANK
from ..kernels.sparse_attention import RUN
from . import links
from .team import Checked, Rank, Team


def forward_together(devices: Sequence[torch.device], forwards: Sequence[Callable[..., Tensor]], *inputs: Any,
                     transformer_options: dict[str, Any], within: Checked | None = None, **conditions: Any) -> Tensor:
    """`SCAIL2Transformer.forward` of a network that is on each of `devices`, with the same weights. forwards: of each;
    called with the inputs on its device and with its rank in the options. within: as in `Team`. The velocity is on the
    first device.

    Raises what one of them raises, when all have stopped.
    """

    def work(rank: Rank) -> Tensor:
        there = {name: _moved(value, rank.device) for name, value in conditions.items()}
        own = [_moved(value, rank.device) for value in inputs]
        with links.sending(rank.device, devices), rank.launching():
            return forwards[rank.number](*own, transformer_options={**transformer_options, RANK: rank}, **there)

    if RUN in transformer_options:
        transformer_options[RUN].share(len(devices), transformer_options)
    return Team(devices, within).run(work)[0]


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
