"""What is noted of each block while one forward runs: the hidden stream of a few rows, the size of the keys, and how
far attention is from exact attention to the same keys and values, over all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..attention import AttentionFunction, QueryFunction, sdpa
from ..blocks import Block
from ..kernels import fp8

ROWS = 256  # of the stream, spread over the sequence
_CHUNK = 2048  # queries at a time, where exact attention is computed besides
_SEED = 0

Step = Callable[[int], None]  # told the number of each block before it is computed


@dataclass
class Trace:
    """stream: float32 [rows, dim] after each block, on the CPU; of the last block only the video's rows. key_sizes: as
    `fp8_attention` measures them. attention_errors: relative L2; none of an exact forward. dtype: that linears and
    attention compute in."""

    stream: list[Tensor] = field(default_factory=list)
    key_sizes: list[float] = field(default_factory=list)
    attention_errors: list[float] = field(default_factory=list)
    dtype: str = ""

    def stream_errors(self, exact: Trace) -> list[float]:
        """Relative L2 distance of the stream from exact's after each block."""
        return [distance(ours, theirs) for ours, theirs in zip(self.stream, exact.stream, strict=True)]


def distance(x: Tensor, exact: Tensor) -> float:
    """Relative L2."""
    return float((x.double() - exact.double()).norm() / exact.double().norm())


@contextmanager
def traced(network: nn.Module, tokens: int, video: slice, *, compared: bool) -> Iterator[Trace]:
    """Note a forward of a batch of one that runs in this context; complete when it ends. tokens, video: length of the
    sequence, and the video's rows in it. compared: compute exact attention too."""
    trace, blocks, watched = Trace(), _blocks(network), []
    chosen = torch.randperm(tokens, generator=torch.Generator().manual_seed(_SEED))[:ROWS].sort().values
    of_video = chosen[(chosen >= video.start) & (chosen < video.stop)]
    with ExitStack() as stack:
        for block in blocks:
            rows = of_video if block is blocks[-1] else chosen
            hook = block.register_forward_hook(partial(_note, trace, rows, video.start, tokens))
            stack.callback(hook.remove)
            watched.append(stack.enter_context(_watched(block.self_attn, compared=compared)))
        yield trace
    trace.key_sizes = [layer.key_size for layer in watched]
    if compared:
        trace.attention_errors = [layer.error() for layer in watched]


@contextmanager
def stepping(network: nn.Module, step: Step) -> Iterator[None]:
    """Tell of each block."""
    hooks = [block.register_forward_pre_hook(partial(_tell, step, number))
             for number, block in enumerate(_blocks(network))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blocks(network: nn.Module) -> list[Block]:
    return list(cast(Any, network).blocks)


def _tell(step: Step, number: int, *_) -> None:
    step(number)


def _note(trace: Trace, rows: Tensor, first: int, tokens: int, block: nn.Module, inputs: Any, output: Tensor) -> None:
    whole = output.shape[1] == tokens
    trace.stream.append(output[0, (rows if whole else rows - first).to(output.device)].float().cpu())
    context = inputs[3]
    trace.dtype = str(context.dtype).removeprefix("torch.")


@contextmanager
def _watched(layer: Any, *, compared: bool) -> Iterator[_Watched]:
    """A self-attention whose function is watched in this context."""
    before, layer.attention = layer.attention, _Watched(layer.attention, compared=compared)
    try:
        yield layer.attention
    finally:
        layer.attention = before


class _Watched:
    """An attention function that notes how large its keys are and how far off it is, and computes as `attention`."""

    def __init__(self, attention: AttentionFunction, *, compared: bool) -> None:
        self.attention, self.compared = attention, compared
        self.key_size, self.wrong, self.right = 0.0, 0.0, 0.0  # the last two: sums of squares

    def prepare_kv(self, keys: Tensor, values: Tensor, heads: int, transformer_options: dict[str, Any]
                   ) -> QueryFunction:
        self.key_size = max(float(fp8.stats(item).size()) for item in keys)
        prepare = getattr(self.attention, "prepare_kv", None)
        attend = prepare(keys, values, heads, transformer_options) if prepare is not None else partial(
            self.attention, k=keys, v=values, heads=heads, transformer_options=transformer_options)
        return partial(self._compared, attend, keys, values, heads) if self.compared else attend

    def _compared(self, attend: QueryFunction, keys: Tensor, values: Tensor, heads: int, q: Tensor) -> Tensor:
        result = attend(q)
        for start in range(0, q.shape[1], _CHUNK):
            rows = slice(start, start + _CHUNK)
            exact = sdpa(q[:, rows], keys, values, heads).float()
            self.wrong += float((result[:, rows].float() - exact).square().sum())
            self.right += float(exact.square().sum())
        return result

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:
        return self.attention(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attention, name)

    def error(self) -> float:
        """Relative L2 over all rows so far."""
        return math.sqrt(self.wrong / self.right) if self.right else math.nan
