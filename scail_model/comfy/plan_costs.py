"""Memory and time of a plan, as far as runs have told of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config import TransformerConfig
from ..gpus.gain import ALONE, NVLINK, Together
from ..kernels import chunks
from ..preflight import budget
from ..preflight.budget import Work, duration

LATER = "known after the first run or check"
_GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Of a video: memory of each GPU beside the weights, in bytes; rows that a block computes at once, None for all;
    seconds of the longest segment and of all of them, None where they are not known."""

    activation_bytes: int
    rows_at_once: int | None
    segment_seconds: float | None = None
    seconds: float | None = None


def costs(width: int, height: int, additional: int, lengths: Sequence[int], steps: int | None, guidance: float | None,
          machine: Mapping[str, Any], lanes: Sequence[Sequence[int]] = ()) -> tuple[Estimate, str]:
    """Numbers and words. lengths: frames of the segments. steps, guidance: None where the node has none, or they are
    not known. machine: what `plan_facts` tells of GPU and model; the 14B model where nothing was told yet. lanes:
    where GPUs make scenes at the same time, the frames of the segments of each."""
    gpu, weights, pace = machine.get("gpu_bytes", 0), machine.get("weight_bytes", 0), machine.get("pace")
    config = TransformerConfig(**machine.get("model", {}))
    tokens = budget.token_count(width, height, max(lengths), additional)
    together = ALONE if lanes else Together(machine.get("gpus") or 1, machine.get("link") or NVLINK)
    last = tuple(max(lanes, key=sum, default=lengths))  # of the lane that ends last
    work = Work(config, width, height, last, additional, steps or 1, guidance or 1.0, weights, width, height,
                together=together)
    activations = budget.activation_bytes(config, tokens, 1, gpu, work.shared[1].gpus,
                                          int8=machine.get("int8", False))
    estimate = Estimate(activations, chunks.rows_at_once(tokens, config.dim, gpu))
    text = _memory(activations, weights, gpu, len(lanes) or together.gpus)
    if not pace:
        return estimate, f"{text}; time: {LATER}."
    if not (steps and guidance):
        forward = pace * budget.token_seconds(config, tokens, together=together)
        return estimate, f"{text}, {duration(forward)} a forward pass."
    coder_pace = machine.get("coder_pace", pace)
    one, whole = (pace * budget.sampling_seconds(part) + coder_pace * budget.coding_seconds(part)
                  for part in (replace(work, lengths=(max(lengths),)), work))
    in_all = f", {duration(whole)} in all" if len(last) > 1 else ""
    return replace(estimate, segment_seconds=one, seconds=whole), f"{text}, {duration(one)} a segment{in_all}."


def _memory(activations: int, weights: int, gpu: int, count: int) -> str:
    whole, each = weights + activations, "" if count == 1 else f" on each of {count} GPUs"
    card = f" ({'this GPU has' if count == 1 else 'with'} {_gib(gpu)})" if gpu else ""
    if weights and (not gpu or whole <= gpu):
        return f"About {_gib(whole)} of GPU memory{each}{card}"
    streamed = ", which come and go" if weights else ""
    return f"About {_gib(activations)} of GPU memory{each} beside the weights{streamed}{card}"


def _gib(count: int) -> str:
    return f"{max(count / _GIB, 0.1):.{1 if count < 10 * _GIB else 0}f} GiB"
