"""Work beside the caller's: threads for what a loop need not wait for, whose errors reach it, and which end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
Tick = Callable[[], None]

_PATIENCE = 0.1  # seconds between two ticks of somebody who waits


class Cancelled(Exception):
    """Ends work that nobody waits for any more."""


class WorkerPool:
    """Threads that work beside the caller, started as they are needed.

    The caller's tick raises once when the user has cancelled, so no other thread may call it. Work gets a tick of its
    own, to be called for every frame, which raises `Cancelled` after `stop`.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads, self._stopped = ThreadPoolExecutor(threads, "scail2"), Event()

    def start(self, work: Callable[..., R], *given: Any) -> Future[R]:
        """Begin `work(*given, tick)`, after what was begun before if all threads are busy."""
        return self._threads.submit(_as_here, torch.is_inference_mode_enabled(), work, *given, self._tick)

    def stop(self) -> None:
        """End what is in work at its next tick, forget what was not begun, and wait for the threads."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def _tick(self) -> None:
        if self._stopped.is_set():
            raise Cancelled


def result(future: Future[R], tick: Tick) -> R:
    """Wait for work; raises what it raised, or what `tick` raises, which is called meanwhile."""
    while not future.done():
        tick()
        wait([future], _PATIENCE)
    return future.result()


def together(work: Callable[[T, Tick], R], items: Sequence[T], threads: int, tick: Tick) -> list[R]:
    """`work(item, tick)` of all items, several at a time; the first error, in their order, ends the others."""
    aside = WorkerPool(min(threads, len(items)))
    try:
        return [result(future, tick) for future in [aside.start(work, item) for item in items]]
    finally:
        aside.stop()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, of which the next is made in another thread while one is used."""
    with ThreadPoolExecutor(1, "scail2") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _as_here(inference: bool, work: Callable[..., R], *given: Any) -> R:
    """A thread begins outside of torch's inference mode, in which ComfyUI runs nodes."""
    with torch.inference_mode(inference):
        return work(*given)
