"""Which rows of a batch are made now: the folder knows what was done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .failures import next_step
from .folders import DONE, FAILED, WAITING, BatchFolder
from .manifest import Row


@dataclass(frozen=True)
class Choice:
    """rows: to be made, in the manifest's order. done: those that are. failed: those that stay as they are, with their
    sentence. gpu_seconds: of everything so far."""

    rows: tuple[Row, ...]
    done: tuple[str, ...]
    failed: Mapping[str, str]
    gpu_seconds: float


def choose(rows: Sequence[Row], folder: BatchFolder, *, attempts: int, again: Collection[str] = ()) -> Choice:
    """Rows that wait, were broken off, or may be tried again by the rules; and, of those that failed, the ones whose
    ids are in `again`, whose earlier attempts are forgiven."""
    made, done, failed, seconds = [], [], {}, 0.0
    for row in rows:
        place = folder.row(row.id)
        report = place.report()
        seconds += report.gpu_seconds if report else 0.0
        state = place.state()
        if state == FAILED and row.id in again and report is not None:
            place.write(report.again())
            state = WAITING
        if state == DONE:
            done.append(row.id)
        elif state == FAILED and report is not None and not next_step(report, row, attempts).again:
            failed[row.id] = report.error or ""
        else:
            made.append(row)
    return Choice(tuple(made), tuple(done), failed, seconds)
