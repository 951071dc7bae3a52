"""What an engine tells while it makes a row, and what that adds up to: where the row is, and how long each stage took.

An event is a dict with "event", one of the names below, and "time", seconds since 1970. All of them go, a line each, to
the row's events.ndjson.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .report import Facts

# stage: what goes on, {"stage", "node"}. progress: {"segment", "segments", "step", "steps", "left"}, segments counted
# from 1. segment: one is there, {"segment", "segments", "kept"}. facts: fields of `report.Facts`. line: {"text"}.
STAGE, PROGRESS, SEGMENT, FACTS, LINE = "stage", "progress", "segment", "facts", "line"
STARTING, WAITING = "starting", "waiting"  # the first stage of an engine that is not up, and of one that is

Event = dict[str, Any]
Tell = Callable[[Event], None]


def event(name: str, **values: Any) -> Event:
    return {"time": round(time.time(), 3), "event": name, **values}


@dataclass(frozen=True)
class Position:
    """Where a row is. segment: from 1, 0 before the first one; left: seconds to its end, if known."""

    row: str
    stage: str = ""
    segment: int = 0
    segments: int = 0
    step: int = 0
    steps: int = 0
    left: float | None = None


@dataclass
class Heard:
    """All that a row's events have said so far. clock: seconds, for the stages."""

    position: Position
    facts: Facts = field(default_factory=Facts)
    clock: Callable[[], float] = time.monotonic
    kept: int = 0
    made: int = 0
    _seconds: dict[str, float] = field(default_factory=dict)
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._since = self.clock()

    def hear(self, told: Mapping[str, Any]) -> bool:
        """Take in an event; returns whether it is worth writing the report: a segment, or facts."""
        name = told["event"]
        if name == STAGE and told["stage"] != self.position.stage:
            self._close()
            self.position = replace(self.position, stage=told["stage"])
        elif name == PROGRESS:
            known = {each.name for each in fields(Position)} - {"row", "stage"}
            self.position = replace(self.position, **{key: told[key] for key in known if key in told})
        elif name == SEGMENT:
            self.kept, self.made = self.kept + bool(told["kept"]), self.made + (not told["kept"])
            self.position = replace(self.position, segment=told["segment"], segments=told["segments"])
        elif name == FACTS:
            given = {key: value for key, value in told.items() if key not in ("event", "time")}
            self.facts = replace(self.facts, **given)
        return name in (SEGMENT, FACTS)

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of each, up to now."""
        self._close()
        return {name: round(seconds, 3) for name, seconds in self._seconds.items()}

    def _close(self) -> None:
        now, stage = self.clock(), self.position.stage
        if stage:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._since
        self._since = now
