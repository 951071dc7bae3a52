"""A batch of ComfyUI's, its items computed one after the other.

ComfyUI puts both prompts of a step into one batch if there is memory for that just then, and else computes them one
after the other, or on two GPUs. Products of twice as many rows may be rounded differently, so the result would depend
on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..blocks import Block
from . import overrides
from .blocks import is_patched

_OF_CHUNKS = ("cond_or_uncond", "uuids")  # core's lists with an entry for each prompt of the batch


def separable(count: int, blocks: Iterable[Block], transformer_options: dict[str, Any]) -> bool:
    """Whether a batch of `count` items is computed so. Not where another node's code may read which item is which, nor
    while PyTorch compiles the network."""
    return (count > 1 and not torch.compiler.is_compiling() and overrides.OVERRIDE not in transformer_options
            and not any(transformer_options.get("patches", {}).values())
            and not any(transformer_options.get("patches_replace", {}).values())
            and not any(is_patched(block, transformer_options) for block in blocks))


def one_by_one(forward: Callable[..., Tensor], *inputs: Any, transformer_options: dict[str, Any],
               **conditions: Any) -> Tensor:
    """`forward` of a batch, whose first input is x. Tensors with as many items as that are cut; all else is for every
    item."""
    count = inputs[0].shape[0]

    def of(item: int, value: Any) -> Any:
        cut = isinstance(value, Tensor) and value.ndim and value.shape[0] == count
        return value[item : item + 1] if cut else value

    def options_of(item: int) -> dict[str, Any]:
        options = dict(transformer_options)
        for name in _OF_CHUNKS:
            if name in options:
                chunks = options[name]
                options[name] = [chunks[item * len(chunks) // count]]
        return options

    return torch.cat([forward(*(of(item, value) for value in inputs), transformer_options=options_of(item),
                              **{name: of(item, value) for name, value in conditions.items()})
                      for item in range(count)])
