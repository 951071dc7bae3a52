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


def current(device: torch.device) -> torch.cuda.Stream | None:
    """The stream on which the calling thread computes on a GPU; None on CPUs."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


@contextmanager
def sending(source: torch.device, others: Sequence[torch.device]) -> Iterator[None]:
    """While this lasts, the calling thread, which computes on `source`, may `send` to other GPUs beside what they
    compute. It costs as much as a copy does, so a whole forward is within."""
    if source.type != "cuda":
        yield
        return
    beside = [_stream(other, source) for other in dict.fromkeys(others) if other != source]
    with streams([*beside, torch.cuda.current_stream(source)]):
        yield


def send(source: torch.device, pieces: Sequence[tuple[Tensor, Tensor]], ready: Sequence[Event]) -> Event:
    """Copy tensors [B, ...] of a GPU to such of others, (source, target) each, when all of `ready` have happened. All
    must be held until what is returned has."""
    if source.type != "cuda":
        _copy(pieces)
        return None
    leaving = _stream(source, source)
    with torch.cuda.stream(leaving):
        for event in ready:
            if event is not None:
                leaving.wait_event(event)
        _copy(pieces)
        return leaving.record_event()


def _copy(pieces: Sequence[tuple[Tensor, Tensor]]) -> None:
    for source, target in pieces:
        # an item is contiguous where a whole batch is not
        for old, new in [(source, target)] if len(source) == 1 else zip(source, target, strict=True):
            new.copy_(old, non_blocking=True)


def fetched(source: Tensor, device: torch.device, ready: Event) -> Tensor:
    """A small tensor of another GPU, on `device`, for what is computed from now on. Within `sending` it does not wait
    for what the other one computes meanwhile."""
    if source.device.type != "cuda":
        return source
    theirs = torch.cuda.current_stream(source.device)
    theirs.wait_event(ready)
    if source.device == device:
        return source
    source.record_stream(theirs)
    return source.to(device, non_blocking=True)


def moved(source: Tensor, device: torch.device, ready: Event) -> tuple[Tensor, Event]:
    """A dense tensor of another GPU in memory of its own on `device`, for what is computed from now on. It arrives
    beside what is computed before. `source` must be held until the event has happened."""
    if source.device.type != "cuda":
        return source.to(device, copy=True), None
    leaving, arriving = _stream(source.device, device), _stream(device, source.device)
    # memory from the arriving stream is free for it now, not only after what the GPU computes
    with streams((arriving, leaving)):
        leaving.wait_event(ready)
        target = torch.empty_like(source, device=device)
        target.copy_(source, non_blocking=True)
        arrived = leaving.record_event()
    computing = torch.cuda.current_stream(device)
    computing.wait_event(arrived)
    target.record_stream(computing)
    return target, arrived


@contextmanager
def streams(current: Sequence[torch.cuda.Stream]) -> Iterator[None]:
    """Make these the current streams of their GPUs; the last one's GPU becomes the current one."""
    with ExitStack() as stack:
        for stream in current:
            stack.enter_context(torch.cuda.stream(stream))
        yield


@functools.cache  # PyTorch has a limited number of streams, and these carry nothing from one forward to the next
def _stream(device: torch.device, other: torch.device) -> torch.cuda.Stream:
    """For what travels between two GPUs, or, where both are the same, for all that leaves it."""
    return torch.cuda.Stream(device)
