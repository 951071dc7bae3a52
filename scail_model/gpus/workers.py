"""Threads that wait for work on a GPU, one for each beside the caller's own.

They are kept for a while, because libraries keep what they have prepared for each thread: cuDNN's plans for attention
take longer than a layer. Who has had no work for a minute ends, so nothing is left of a run that is over.
"""

from __future__ import annotations

import contextvars
import threading
from collections import defaultdict
from collections.abc import Callable
from queue import Empty, Queue

import torch

IDLE_SECONDS = 60.0

_idle: defaultdict[torch.device, list[_Worker]] = defaultdict(list)
_lock = threading.Lock()


def start(device: torch.device, work: Callable[[], None]) -> threading.Event:
    """Do `work`, which raises nothing, in a thread of the device, in the caller's context. Returns what is set when it
    is done."""
    with _lock:
        worker = _idle[device].pop() if _idle[device] else None
    worker = worker or _Worker(device)
    done, context = threading.Event(), contextvars.copy_context()
    worker.jobs.put((lambda: context.run(work), done))
    return done


class _Worker(threading.Thread):
    def __init__(self, device: torch.device) -> None:
        super().__init__(name=f"SCAIL-2 {device}", daemon=True)
        self.device = device
        self.jobs: Queue[tuple[Callable[[], None], threading.Event]] = Queue()
        self.start()

    def run(self) -> None:
        while True:
            try:
                job, done = self.jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with _lock:
                    if self in _idle[self.device]:
                        _idle[self.device].remove(self)
                        return
                continue  # somebody has just taken it for work
            job()
            del job  # with all that it holds
            with _lock:
                _idle[self.device].append(self)
            done.set()
