"""Several threads, one watch: all that they tell it is said in the thread that waits for them."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..media.workers import Cancelled, result
from .host import Watch

R = TypeVar("R")
_PATIENCE = 0.1  # seconds between two ticks of somebody who waits


class Relay:
    """A `Watch` before another one, which need not know of threads: in the thread that has made it, it is that one; to
    `run`'s threads it listens there. Their tick raises `Cancelled` when one of them has failed, or the watch has."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._home = watch, threading.get_ident()
        self._told: queue.SimpleQueue[tuple[Future[None], Callable[[], None]]] = queue.SimpleQueue()
        self._ended = threading.Event()

    def run(self, works: Sequence[Callable[[], R]]) -> list[R]:
        """All of them at once, each in a thread with the caller's context. What one of them or the watch raises ends
        the others, and is raised when all have ended; a cancel goes before an error."""
        with ThreadPoolExecutor(len(works), "scail2-lane") as threads:
            running = [threads.submit(contextvars.copy_context().run, _as_here, torch.is_inference_mode_enabled(), work)
                       for work in works]
            try:
                while not all(work.done() for work in running):
                    self._watch.tick()
                    self._listen()
                    if any(_error(work) for work in running):
                        break
            finally:
                if not all(work.done() and not _error(work) for work in running):
                    self._ended.set()
        errors = list(filter(None, map(_error, running)))
        try:
            if errors:
                raise min(errors, key=_rank)
            return [work.result() for work in running]
        finally:
            del errors, running  # else the error would hold itself, and all that was on the GPUs

    def at_once(self, lanes: Mapping[str, Sequence[int]]) -> None:
        self._tell(self._watch.at_once, lanes)

    def placed(self, segment: int, place: str) -> None:
        self._tell(self._watch.placed, segment, place)

    def stage(self, segment: int, text: str) -> None:
        self._tell(self._watch.stage, segment, text)

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        self._tell(self._watch.step, segment, step, denoised)

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        self._tell(self._watch.finished, segment, part, kept=kept)

    def tick(self) -> None:
        if threading.get_ident() == self._home:
            self._watch.tick()
        elif self._ended.is_set():
            raise Cancelled

    def _tell(self, tell: Callable[..., None], *given: Any, **named: Any) -> None:
        """Returns when it is told."""
        if threading.get_ident() == self._home:
            tell(*given, **named)
            return
        done: Future[None] = Future()
        self._told.put((done, partial(tell, *given, **named)))
        result(done, self.tick)

    def _listen(self) -> None:
        """Pass on what is told, or wait for it for a moment."""
        try:
            done, tell = self._told.get(timeout=_PATIENCE)
        except queue.Empty:
            return
        tell()
        done.set_result(None)


def _error(work: Future[Any]) -> BaseException | None:
    return work.exception() if work.done() else None


def _rank(error: BaseException) -> int:
    """Cancels first, and last what has only ended with others."""
    return 2 if isinstance(error, Cancelled) else int(isinstance(error, Exception))


def _as_here(inference: bool, work: Callable[[], R]) -> R:
    with torch.inference_mode(inference):
        return work()
