"""What is known of runs that make a video, as messages for a page that watches them: small ones, and all of it at once.

A run's first message tells everything, each further one only what has changed since the one before; `version` counts
them, so that who has missed one notices, and asks for the whole.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from ..segments import Segment

WAITING, DECODING, WRITING, DONE, KEPT = "waiting", "decoding", "writing", "done", "kept"  # a segment, among others
RUNNING, JOINING, CANCELLED, FAILED = "running", "joining", "cancelled", "failed"  # a run, which can be DONE too
_PAUSE = 0.25  # seconds between two messages of which the second only continues the first
_NEWS = {"state", "thumbnail", "seam"}
_MOST_RUNS = 8

Send = Callable[[dict[str, Any]], None]


class Run:
    """One node that makes a video. about: what tells it from others. send: gets the messages; several threads may tell
    of changes, and one at a time sends. clock: seconds."""

    def __init__(self, about: dict[str, Any], plan: Sequence[Segment], steps: int, send: Send,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._about, self._send, self._clock, self._lock = about, send, clock, Lock()
        self._segments: list[dict[str, Any]] = [
            {"start": segment.start, "stop": segment.stop, "overlap": segment.overlap, "state": WAITING, "step": 0,
             "steps": steps, "seconds": None, "thumbnail": None, "part": None, "seam": None, "place": None}
            for segment in plan]
        self._state, self._left, self._version, self._sent = RUNNING, None, 0, clock()
        self._begun: dict[int, float] = {}
        self._unsent: dict[int, dict[str, Any]] = dict(enumerate(self._segments))
        with self._lock:
            self._tell()

    def change(self, index: int, *, left: float | None = None, **values: Any) -> None:
        """Values of a segment, counted from 0. left: seconds to the end of the run, if known."""
        with self._lock:
            segment, now = self._segments[index], self._clock()
            if values.get("state", WAITING) not in (WAITING, DONE, KEPT):
                self._begun.setdefault(index, now)
            if index in self._begun and segment["state"] not in (WRITING, DONE):  # the next one has begun meanwhile
                values["seconds"] = round(now - self._begun[index], 1)
            changed = {name: value for name, value in values.items() if segment[name] != value}
            segment.update(changed)
            self._unsent.setdefault(index, {}).update(changed)
            self._left = self._left if left is None else round(left, 1)
            if _NEWS & set(changed) or now - self._sent >= _PAUSE:
                self._tell()

    def become(self, state: str) -> None:
        """The state of the whole run."""
        with self._lock:
            self._state = state
            self._left = None if state in (CANCELLED, FAILED) else 0.0
            self._tell()

    def again(self) -> None:
        """A sign of life."""
        with self._lock:
            self._tell()

    def whole(self) -> dict[str, Any]:
        """Everything, as of the last message or later."""
        with self._lock:
            return self._message(enumerate(self._segments))

    def _tell(self) -> None:
        self._version += 1
        self._send(self._message(self._unsent.items()))
        self._unsent, self._sent = {}, self._clock()

    def _message(self, segments) -> dict[str, Any]:
        return {**self._about, "version": self._version, "state": self._state, "left": self._left,
                "count": len(self._segments),
                "segments": [{"index": index, **values} for index, values in segments]}


class Runs:
    """The last few runs, the latest one of each node of a prompt."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple, Run] = OrderedDict()
        self._lock = Lock()

    def add(self, key: tuple, run: Run) -> None:
        with self._lock:
            self._runs.pop(key, None)
            self._runs[key] = run
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)

    def whole(self) -> list[dict[str, Any]]:
        """Everything of each, the latest last."""
        with self._lock:
            runs = list(self._runs.values())
        return [run.whole() for run in runs]
