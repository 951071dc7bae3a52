"""One attempt at one row, from its first event to report.json, whatever engine makes it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.atomic import explained
from ..files.holder import host
from .engine import Engine
from .events import Event, Heard, Position, event
from .failures import Kind, RowError, classify
from .folders import EVENTS, RowFolder
from .report import DONE, FAILED, RUNNING, Attempt, Facts, RowReport, now
from .workflow import fingerprint, input_files

if TYPE_CHECKING:
    from .manifest import Row

log = logging.getLogger(__name__)


def run_row(row: Row, engine: Engine, folder: RowFolder, hear: Callable[[Position], None], *, smaller: bool,
            price: float | None, share: float | None = None) -> RowReport:
    """Make a row, or fail to: a failure is a report too. hear: told where the row is. smaller: with the row's smaller
    values. price: of an hour of a GPU. share: how many GPUs it has, None for those that the engine names.

    Raises RuntimeError if another process makes the row, or it was begun with other inputs; KeyboardInterrupt as it
    comes, with the report written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(folder.locked())
        except OSError as error:
            return _unbegun(row, engine, error)
        before = folder.report() or RowReport(row.id)
        attempt = Attempt(now(), host(), os.getpid(), engine.name, tuple(engine.gpus), smaller)
        report = replace(before.begun(attempt), price=price)
        try:
            if before.attempts and (fault := other_inputs(row, before)):
                raise RuntimeError(fault)
            if folder.state_of(before) == DONE:  # by another process, since the row was given out
                return before
            report = replace(report, fingerprint=fingerprint(row), facts=_inputs(row))
        except (OSError, ValueError) as error:  # a file that is missing by now
            report = report.changed(state=FAILED, kind=Kind.INPUTS, error=_line(error), ended=now())
            folder.write(report)
            return report
        return _Attempting(row, engine, folder, hear, report, share or max(1, len(engine.gpus))).run()


def _unbegun(row: Row, engine: Engine, error: OSError) -> RowReport:
    """Of a row whose folder cannot be written, so that nobody else will read this."""
    attempt = Attempt(now(), host(), os.getpid(), engine.name, tuple(engine.gpus))
    return RowReport(row.id).begun(attempt).changed(
        state=FAILED, kind=classify(type(error).__name__, str(error)), ended=now(),
        error=f"Row {row.id} cannot be begun ({_line(error)}): free space there, or make it writable, and run again.")


def other_inputs(row: Row, report: RowReport) -> str | None:
    """The sentence that refuses a row which has been begun with other inputs; None if they are the same."""
    if report.fingerprint == fingerprint(row):
        return None
    new, old = _inputs(row), report.facts
    changed = [name for name in {**old.inputs, **new.inputs}
               if old.inputs.get(name, {}).get("sha256") != new.inputs.get(name, {}).get("sha256")]
    changed += [name for name in {**old.values, **new.values} if old.values.get(name) != new.values.get(name)]
    what = ", ".join(map(_of(old, new), changed[:3])) or "what its workflow holds"
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return (f"Row {row.id} was begun with other inputs ({what}{more}): give it another id, or add --replace, which "
            "keeps what there is in replaced/.")


def _of(old: Facts, new: Facts) -> Callable[[str], str]:
    def described(name: str) -> str:
        if name in old.values or name in new.values:
            before, after = (facts.values.get(name, "not given") for facts in (old, new))
        else:
            before, after = (facts.inputs.get(name, {}).get("file", "not given") for facts in (old, new))
        return f"{name} was {before}, now {after}" if before != after else f"{name}: {after} has another content"

    return described


def _inputs(row: Row) -> Facts:
    files = {file.address: {"file": str(file.path), "sha256": file.sha256, "bytes": file.bytes}
             for file in input_files(row)}
    values = {address: value for address, value in row.values.items() if address not in files}
    return Facts(inputs=files, values=values)


def _append(path: Path, line: bytes) -> None:
    """A whole line or nothing of it: a full disk takes a part, which would spoil the next line too."""
    with open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:
            file.truncate(before)
            raise


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Attempting:
    def __init__(self, row: Row, engine: Engine, folder: RowFolder, hear: Callable[[Position], None],
                 report: RowReport, share: float) -> None:
        self.row, self.engine, self.folder, self.hear, self.report = row, engine, folder, hear, report
        self.share = share
        self.heard, self.started = Heard(Position(row.id), report.facts), time.monotonic()

    def run(self) -> RowReport:
        smaller = self.report.smaller
        try:
            self._write()
            self._note(event("attempt", number=len(self.report.attempts), smaller=smaller))
            self.engine.start(self._tell)
            self.engine.run(self.row, self.folder, self._tell, smaller=smaller)
        except RowError as error:
            return self._ended(FAILED, error.kind, error.text)
        except KeyboardInterrupt:
            self._ended(FAILED, Kind.STOPPED, "The run was interrupted: run again; finished segments are kept.")
            raise
        except Exception as error:
            log.exception("SCAIL-2: row %s", self.row.id)
            return self._ended(FAILED, classify(type(error).__name__, str(error)), _line(error))
        return self._ended(DONE, None, None)

    def _ended(self, state: str, kind: Kind | None, error: str | None) -> RowReport:
        self.report = self._now(state=state, kind=kind, error=error, ended=now())
        # the report is right, though a full disk does not take it: the row counts as broken off
        with suppress(OSError, RuntimeError):
            self._note(event("ended", state=state, kind=kind, error=error))
            self.folder.write(self.report)
        return self.report

    def _tell(self, told: Event) -> None:
        worth = self.heard.hear(told)
        self._note(told)
        if worth:
            self._write()
        self.hear(self.heard.position)

    def _note(self, told: Event) -> None:
        path = self.folder.path(EVENTS)
        try:
            with explained(str(path), "and run again; finished segments are kept"):
                _append(path, f"{json.dumps(told, ensure_ascii=False)}\n".encode())
        except RuntimeError as error:
            raise self._unwritten(error) from error

    def _write(self) -> None:
        self.report = self._now(state=RUNNING)
        try:
            self.folder.write(self.report)
        except RuntimeError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: Exception) -> RowError:
        """A disk that is full, or has gone, as those of a network do for a while: the row is not to blame."""
        full = classify(type(error).__name__, str(error)) is Kind.DISK
        return RowError(Kind.DISK if full else Kind.PROCESS, str(error))

    def _now(self, **values: object) -> RowReport:
        """The report with all that was heard."""
        heard = self.heard
        total = {"total": heard.position.segments} if heard.position.segments else {}
        facts = replace(heard.facts, segments={**total, "kept": heard.kept, "made": heard.made})
        seconds = round((time.monotonic() - self.started) * self.share, 3)
        return replace(self.report, facts=facts).changed(stages=heard.stages, kept=heard.kept, made=heard.made,
                                                         gpu_seconds=seconds, **values)
