"""What the driver asks of those that make rows: Ray's actors, or a simulation's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .events import Position
from .manifest import Row
from .report import RowReport


@dataclass(frozen=True)
class Ended:
    """What became of a row that was given out; one of the last five is there.

    report: of the attempt, done or failed. Sentences: lost: the worker died in the middle of it. untried: the worker
    could not begin it. refused: the row cannot be made. held: another process makes it.
    """

    row: str
    worker: str
    gpu_seconds: float = 0.0
    report: RowReport | None = None
    lost: str = ""
    untried: str = ""
    refused: str = ""
    held: bool = False


@dataclass(frozen=True)
class Seen:
    """A row that is being made. where: "GPU 0", with the host's name if there are several hosts. position: None before
    anything was heard of it."""

    row: str
    where: str
    position: Position | None


class Workers(Protocol):
    """A worker makes one row at a time; its name is never another's."""

    def free(self) -> Sequence[str]:
        """Those that can be given a row."""
        ...

    def coming(self) -> int:
        """How many are on their way: started, started again, or waiting for a machine."""
        ...

    def start(self, worker: str, row: Row, *, smaller: bool) -> None:
        """Give a row to a free worker."""
        ...

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Rows that have ended. Returns as soon as there is one, or a worker has become free, or after `seconds`."""
        ...

    def seen(self, most: int) -> Sequence[Seen]:
        """Rows that are being made, so many at most; each has to be asked for."""
        ...

    def dismiss(self, worker: str) -> None:
        """A free worker is not needed any more: others may need its GPU."""
        ...

    def finish(self, seconds: float) -> int:
        """Wait for what goes on beside the rows, so long at most; returns how many of these still go on."""
        ...

    def stop(self) -> None:
        """End everything, within a second; finished segments are kept."""
        ...
