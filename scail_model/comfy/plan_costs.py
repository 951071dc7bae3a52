"""Memory and time of a plan, as far as runs have told of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config import TransformerConfig
from ..kernels import chunks
from ..preflight import budget
from ..preflight.budget import Work, duration

LATER = "known after the first run or check"
_GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Of a video: GPU memory beside the weights, in bytes; rows that a block computes at once, None for all; seconds of
    the longest segment and of all of them, None where they are not known."""

    activation_bytes: int
    rows_at_once: int | None
    segment_seconds: float | None = None
    seconds: float | None = None


def costs(width: int, height: int, additional: int, lengths: Sequence[int], steps: int | None, guidance: float | None,
          machine: Mapping[str, Any]) -> tuple[Estimate, str]:
    """Numbers and words. lengths: frames of the segments. steps, guidance: None where the node has none, or they are
    not known. machine: what `plan_facts` tells of GPU and model; the 14B model where nothing was told yet."""
    gpu, weights, pace = machine.get("gpu_bytes", 0), machine.get("weight_bytes", 0), machine.get("pace")
    config = TransformerConfig(**machine.get("model", {}))
    tokens = budget.token_count(width, height, max(lengths), additional)
    estimate = Estimate(budget.activation_bytes(config, tokens, 1, gpu), chunks.rows_at_once(tokens, config.dim, gpu))
    text = _memory(estimate.activation_bytes, weights, gpu)
    if not pace:
        return estimate, f"{text}; time: {LATER}."
    if not (steps and guidance):
        return estimate, f"{text}, {duration(pace * budget.token_seconds(config, tokens))} a forward pass."
    work = Work(config, width, height, tuple(lengths), additional, steps, guidance, weights, width, height)
    coder_pace = machine.get("coder_pace", pace)
    one, whole = (pace * budget.sampling_seconds(part) + coder_pace * budget.coding_seconds(part)
                  for part in (replace(work, lengths=(max(lengths),)), work))
    together = f", {duration(whole)} in all" if len(lengths) > 1 else ""
    return replace(estimate, segment_seconds=one, seconds=whole), f"{text}, {duration(one)} a segment{together}."


def _memory(activations: int, weights: int, gpu: int) -> str:
    whole = weights + activations
    card = f" (this GPU has {_gib(gpu)})" if gpu else ""
    if weights and (not gpu or whole <= gpu):
        return f"About {_gib(whole)} of GPU memory{card}"
    streamed = ", which come and go" if weights else ""
    return f"About {_gib(activations)} of GPU memory beside the weights{streamed}{card}"


def _gib(count: int) -> str:
    return f"{max(count / _GIB, 0.1):.{1 if count < 10 * _GIB else 0}f} GiB"
