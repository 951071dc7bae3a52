"""Threads that launch kernels for several GPUs take turns.

Python runs one thread at a time, but PyTorch gives that up in every call, and eight threads that ask for it back after
every call took 71 ms a layer on one H200 where eight in turn took 47. Waiting, for another rank or for a GPU, is
nobody's turn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()  # of the process, as Python's own is
# Seconds after which a thread launches out of turn: another one waits for something of which it says nothing here, as
# for a compiler, or for weights from memory that is not pinned.
_PATIENCE = 0.05


class Turn:
    """One thread's."""

    def __init__(self) -> None:
        self._wanted = self._held = False

    @contextmanager
    def launching(self) -> Iterator[None]:
        """In turn with others, until somebody is too slow."""
        self._wanted = True
        self._take()
        try:
            yield
        finally:
            self._give()
            self._wanted = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Others may launch."""
        self._give()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        if self._wanted:
            self._wanted = self._held = _LOCK.acquire(timeout=_PATIENCE)

    def _give(self) -> None:
        if self._held:
            self._held = False
            _LOCK.release()
