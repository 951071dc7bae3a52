"""Signs of life: somebody waits for a program, even while a step of it takes minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

SILENCE = 15.0  # seconds; clients give up after 30
_LOOKS = 8  # at the clock in each silence


class Voice:
    """Calls `again` from a thread whenever nothing was heard for `silence` seconds (None: SILENCE), in the block that
    it is used in.

    again: is given the seconds since `heard` was called last, or since the block began.
    """

    def __init__(self, again: Callable[[float], None], silence: float | None = None) -> None:
        self._again, self._silence = again, SILENCE if silence is None else silence
        self._heard = self._told = time.monotonic()
        self._ended = Event()
        self._thread = Thread(target=self._keep_talking, name="scail2-voice", daemon=True)

    def __enter__(self) -> Voice:
        self.heard()
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()

    def heard(self) -> None:
        """Something else was said just now."""
        self._heard = self._told = time.monotonic()

    def _keep_talking(self) -> None:
        while not self._ended.wait(self._silence / _LOOKS):
            now = time.monotonic()
            if now - self._told >= self._silence:
                self._told = now
                self._again(now - self._heard)
