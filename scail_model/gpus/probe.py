"""What the link between GPUs delivers, and whether it delivers it whole: measured once a process, in a fraction of a
second.

All copies are issued on streams of their own on both sides. PyTorch lets a copy between GPUs wait for the current
streams of both, so that on those the two directions would run one after the other.
"""

from __future__ import annotations

import time
from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from . import links

_BYTES = 2**26  # of a copy from each GPU to each other one
_COPIES = 8  # of them in a row at most: on a fast link starting one takes about as long as it does
_SECONDS = 0.02  # that are enough, on a slow one
_CHECKED_BYTES = 2**20
_REPEATS = 3


@cache
def why_apart(source: torch.device, target: torch.device) -> str | None:
    """Why rows cannot travel from one device to the other, in a few words; None if they can.

    A driver may promise peer access and then deliver other bytes, as on boards whose IOMMU is on; so what arrives is
    compared. CPUs share their memory.
    """
    if source.type != target.type:
        return "another kind of device"
    if source.type != "cuda" or source == target:
        return None
    if not torch.cuda.can_device_access_peer(source, target):
        return "no peer access"
    sent = torch.randint(256, (_CHECKED_BYTES,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    arrived = sent.to(source).to(target).cpu()
    return None if torch.equal(sent, arrived) else "copies arrive damaged"


@cache
def link_rate(devices: tuple[torch.device, ...]) -> float | None:
    """Bytes a second that each GPU sends while all of them send to all others, the best of a few; None unless there are
    several, all on CUDA or ROCm. devices: with their numbers."""
    if len(devices) < 2 or any(device.type != "cuda" for device in devices):
        return None
    streams = {(pair, device): torch.cuda.Stream(device) for pair in permutations(devices, 2) for device in pair}
    buffers = {device: torch.zeros(2, _BYTES, dtype=torch.uint8, device=device) for device in devices}
    _synchronized(devices)

    def exchange(copies: int) -> float:
        """Seconds for each of so many copies in a row."""
        start = time.perf_counter()
        for source, target in permutations(devices, 2):
            _copy(buffers[source][0], buffers[target][1],
                  (streams[(source, target), source], streams[(source, target), target]), copies)
        _synchronized(devices)
        return (time.perf_counter() - start) / copies

    exchange(1)  # peer access is set up by the first copy
    copies = min(_COPIES, 1 + int(_SECONDS / exchange(1)))
    return (len(devices) - 1) * _BYTES / min(exchange(copies) for _ in range(_REPEATS))


def _copy(source: Tensor, target: Tensor, streams: tuple[torch.cuda.Stream, torch.cuda.Stream], copies: int) -> None:
    with links.streams(streams):
        for _ in range(copies):
            target.copy_(source, non_blocking=True)


def _synchronized(devices: tuple[torch.device, ...]) -> None:
    for device in devices:
        torch.cuda.synchronize(device)
