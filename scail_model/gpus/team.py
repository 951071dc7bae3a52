"""Several GPUs at one piece of work: a thread for each, in the process that is there anyway. The first error in one of
them, which may be a user's cancel, ends all."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import product
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from . import links, workers
from .turns import Turn

T = TypeVar("T")

_WORK, _GATHER = "work", "gather"  # what ranks exchange, and what attention gathers in the midst of that
_LAYERS_AHEAD = 2  # of its GPU that a thread may be: what is queued there still runs after a cancel


class Checked(Protocol):
    def check(self) -> None:
        """Raise if the work has to end; asked by the threads of all ranks."""
        ...


class Team:
    """devices: of each rank. The first one's rank works in the thread that calls `run`. within: another team's rank
    as which it works, or whoever else knows when it has to end."""

    def __init__(self, devices: Sequence[torch.device], within: Checked | None = None) -> None:
        self.devices, self.within = tuple(devices), within

    def run(self, work: Callable[[Rank], T]) -> list[T]:
        """What `work` returns for each rank. Raises the first error of any rank, when all have stopped."""
        run = _Run(len(self.devices), self.within)
        first, *others = [Rank(number, device, run) for number, device in enumerate(self.devices)]
        results: dict[int, T] = {}
        state = _ThreadState(self.devices)

        def in_thread(rank: Rank) -> None:
            try:
                with state.entered(rank.device):
                    results[rank.number] = work(rank)
            except BaseException as error:
                run.end(error)

        done: list[threading.Event] = []
        try:
            for rank in others:
                done.append(workers.start(rank.device, partial(in_thread, rank)))
            with state.entered(first.device):  # the caller's GPU may be another one
                results[0] = work(first)
            _wait(done)
        except BaseException as error:
            run.end(error)
        _wait(done)
        if run.error is None:
            return [results[number] for number in range(len(self.devices))]
        for device in self.devices:  # copies may still be on their way into memory that was given back
            if device.type == "cuda":
                with suppress(RuntimeError):  # of a GPU that is broken: the first error is the one to tell
                    torch.cuda.synchronize(device)
        error, run.error = run.error, None  # nothing else may hold what its traceback holds
        try:
            raise error
        finally:
            del error


class Ended(Exception):
    """Another rank has failed, which is the error to tell."""


class Rank:
    """One GPU's part in a run. All ranks must exchange the same things in the same order."""

    def __init__(self, number: int, device: torch.device, run: _Run) -> None:
        self.number, self.device, self._run = number, device, run
        self._layers: deque[links.Event] = deque()
        self._turn = Turn()

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream | None:
        return links.current(self.device)  # asked in the rank's own thread, once: it takes a while

    @property
    def count(self) -> int:
        return self._run.count

    @property
    def others(self) -> list[int]:
        """The other ranks, each rank's in another order: so that not all send to the same one first."""
        return [(self.number + step) % self.count for step in range(1, self.count)]

    def put(self, to: int, item: Any, line: str = _WORK) -> None:
        """Give another rank's thread something. On each line it gets things in their order."""
        self._run.queue(self.number, to, line).put(item)

    def get(self, source: int, line: str = _WORK) -> Any:
        """The next thing that another rank's thread gives; waits for it. Raises Ended if a rank has failed."""
        queue = self._run.queue(source, self.number, line)
        with self.waiting() if queue.empty() else nullcontext():
            item = queue.get()
        if item is _END:
            queue.put(_END)
            raise Ended
        return item

    def mark(self) -> links.Event:
        """What has been computed here until now, for others to wait for."""
        return None if self._stream is None else self._stream.record_event()

    def wait(self, event: links.Event) -> None:
        """What is computed here from now on waits for an event, of any rank."""
        if self._stream is not None and event is not None:
            self._stream.wait_event(event)

    def gather(self, x: Tensor) -> list[Tensor]:
        """A small tensor of each rank, in their order, on the own device."""
        ready = self.mark()
        for other in self.others:
            self.put(other, (x, ready), _GATHER)
        pieces = {self.number: x}
        for other in self.others:
            piece, ready = self.get(other, _GATHER)
            pieces[other] = links.fetched(piece, self.device, ready)
        return [pieces[number] for number in range(self.count)]

    def check(self) -> None:
        """Raise Ended if another rank has failed, of this team or of one that this team works for."""
        if self._run.error is not None:
            raise Ended
        if self._run.within is not None:
            self._run.within.check()

    def layer_queued(self) -> None:
        """A layer has been queued: wait until the GPU is not far behind."""
        self.check()
        self._layers.append(self.mark())
        if len(self._layers) > _LAYERS_AHEAD:
            event = self._layers.popleft()
            if event is not None:
                with self.waiting():
                    event.synchronize()

    def launching(self) -> AbstractContextManager[None]:
        """While this lasts, the thread launches kernels in turn with those of other ranks. On CPUs, which compute what
        they are told at once, nobody has to wait."""
        return self._turn.launching() if self.device.type == "cuda" else nullcontext()

    def waiting(self) -> AbstractContextManager[None]:
        """Around what waits for the GPU: the other ranks' threads may launch meanwhile."""
        return self._turn.waiting()


_END = object()


class _Run:
    def __init__(self, count: int, within: Checked | None) -> None:
        self.count, self.within = count, within
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        ranks = range(count)
        self._queues: dict[tuple[int, int, str], SimpleQueue[Any]] = {
            place: SimpleQueue() for place in product(ranks, ranks, (_WORK, _GATHER))}

    def queue(self, source: int, target: int, line: str) -> SimpleQueue[Any]:
        return self._queues[source, target, line]

    def end(self, error: BaseException) -> None:
        """Wake everybody who waits. The first error is kept, of which the others follow."""
        with self._lock:
            if self.error is None:
                self.error = error
        for queue in self._queues.values():
            queue.put(_END)


class _ThreadState:
    """What PyTorch keeps for each thread, as it is where this is made."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.streams = [torch.cuda.current_stream(device) for device in dict.fromkeys(devices)
                        if device.type == "cuda"]
        self.inference, self.grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    @contextmanager
    def entered(self, device: torch.device) -> Iterator[None]:
        own_last = sorted(self.streams, key=lambda stream: stream.device == device)
        with torch.inference_mode(self.inference), torch.set_grad_enabled(self.grad), links.streams(own_last):
            yield


def _wait(events: Sequence[threading.Event]) -> None:
    for event in events:
        event.wait()
