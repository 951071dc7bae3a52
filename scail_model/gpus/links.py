"""Tensors from one GPU's memory to another's, beside what both compute.

PyTorch copies between GPUs on the current stream of the source, and makes the current streams of both wait for each
other. So copies have streams of their own, and events say when what is copied is there, and when it has arrived. On
CPUs, where tests run, a copy is made at once and there is nothing to wait for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

Event = Any  # a torch.cuda.Event, or None on CPUs


def mark(device: torch.device) -> Event:
    """What has been computed on a GPU until now, for others to wait for."""
    if device.type != "cuda":
        return None
    return torch.cuda.current_stream(device).record_event()


def wait(device: torch.device, event: Event) -> None:
    """What is computed on a GPU from now on waits for an event, of any GPU."""
    if event is not None:
        torch.cuda.current_stream(device).wait_event(event)


def copy(source: Tensor, target: Tensor, ready: Sequence[Event]) -> Event:
    """Copy [B, ...] between GPUs when all of `ready` have happened. Both must be held until what is returned has."""
    if source.device.type != "cuda":
        target.copy_(source)
        return None
    leaving, arriving = _streams(source.device, target.device)
    with torch.cuda.stream(arriving), torch.cuda.stream(leaving):
        for event in ready:
            if event is not None:
                leaving.wait_event(event)
        for old, new in zip(source, target, strict=True):  # an item is contiguous where a whole batch is not
            new.copy_(old, non_blocking=True)
        return leaving.record_event()


def fetched(source: Tensor, device: torch.device, ready: Event) -> Tensor:
    """A small tensor of another GPU, on `device`, for what is computed from now on."""
    if source.device == device:
        wait(device, ready)
        return source
    target = torch.empty(source.shape, dtype=source.dtype, device=device)
    wait(device, copy(source[None], target[None], (ready, mark(device))))
    if source.device.type == "cuda":
        source.record_stream(_streams(source.device, device)[0])
    return target


def moved(source: Tensor, device: torch.device, ready: Event) -> tuple[Tensor, Event]:
    """A dense tensor of another GPU in memory of its own on `device`, for what is computed from now on. It arrives
    beside what is computed before. `source` must be held until the event has happened."""
    if source.device.type != "cuda":
        return source.to(device, copy=True), None
    _, arriving = _streams(source.device, device)
    with torch.cuda.stream(arriving):  # the memory is free for this stream, not only after what the GPU now computes
        target = torch.empty_like(source, device=device)
    arrived = copy(source, target, (ready,))
    wait(device, arrived)
    target.record_stream(torch.cuda.current_stream(device))
    return target, arrived


@contextmanager
def streams(current: Sequence[torch.cuda.Stream]) -> Iterator[None]:
    """Make these the current streams of their GPUs; the last one's GPU becomes the current one."""
    with ExitStack() as stack:
        for stream in current:
            stack.enter_context(torch.cuda.stream(stream))
        yield


@functools.cache  # PyTorch has a limited number of streams, and these carry nothing from one forward to the next
def _streams(source: torch.device, target: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    return torch.cuda.Stream(source), torch.cuda.Stream(target)
