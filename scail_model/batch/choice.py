"""What the folder of a batch knows of its rows, and which of them are made now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .failures import Next, next_step
from .folders import DAMAGED, DONE, FAILED, WAITING, BatchFolder
from .manifest import Row
from .report import RowReport

_READERS = 16  # on a shared disk, a file takes a while and hundreds of them as long


@dataclass(frozen=True)
class Known:
    """One row. report: None if it was never begun. state: of the row as it is now; fault: why it is damaged."""

    id: str
    report: RowReport | None
    state: str
    fault: str | None = None


@dataclass(frozen=True)
class Choice:
    """rows: to be made, in the manifest's order, some of them with their smaller values. done: those that are. failed:
    those that stay as they are, with their sentence. gpu_seconds: of everything so far."""

    rows: tuple[Row, ...]
    smaller: frozenset[str]
    done: tuple[str, ...]
    failed: Mapping[str, str]
    gpu_seconds: float


def known(folder: BatchFolder, ids: Sequence[str], *, damaged: bool = False) -> Iterator[Known]:
    """What there is to know of rows, in the order of `ids`. RuntimeError for a report that is damaged, unless `damaged`
    asks for such rows too."""
    def look(id: str) -> Known:
        place = folder.row(id)
        try:
            report = place.report()
        except RuntimeError as error:
            if not damaged:
                raise
            return Known(id, None, DAMAGED, str(error))
        return Known(id, report, place.state_of(report))

    with ThreadPoolExecutor(_READERS) as readers:
        yield from readers.map(look, ids)


def choose(rows: Sequence[Row], folder: BatchFolder, *, attempts: int, again: Collection[str] = ()) -> Choice:
    """Rows that wait, were broken off, or may be tried again by the rules; and, of those that failed, the ones whose
    ids are in `again`, whose earlier attempts are forgiven."""
    made: list[Row] = []
    done: list[str] = []
    failed: dict[str, str] = {}
    smaller, seconds = set(), 0.0
    for row, one in zip(rows, known(folder, [row.id for row in rows]), strict=True):
        report, state = one.report, one.state
        seconds += report.gpu_seconds if report else 0.0
        if report is not None and state == FAILED and row.id in again:
            report, state = report.again(), WAITING
            folder.row(row.id).write(report)
        step = next_step(report, row, attempts) if report is not None and report.attempts else Next(True)
        if state == DONE:
            done.append(row.id)
        elif report is not None and state == FAILED and not step.again:
            failed[row.id] = report.error or "It failed."
        else:
            made.append(row)
            smaller.update({row.id} if step.smaller else ())
    return Choice(tuple(made), frozenset(smaller), tuple(done), failed, seconds)
