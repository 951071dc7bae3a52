"""An engine whose rows only wait: each segment takes a while, and is then a file that later attempts find. Everything
else of a batch is real. Used by the tests of the driver and by batch_scale.py.

A row is one of the command line, with flags of its own: --segments how many, --seconds of each, --fails the kinds of
failure that its attempts end with, one after the other, in the second segment ("process", "inputs", ...; "kill": the
worker dies).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

import psutil

from scail_model.batch import events
from scail_model.batch.engine import Result
from scail_model.batch.failures import Kind, RowError
from scail_model.batch.folders import VIDEO, BatchFolder, RowFolder
from scail_model.batch.manifest import Row

LEDGER = "ledger.txt"  # a line for each model load and each segment that was made, by all workers


def waiting_row(id: str, segments: int = 2, seconds: float = 0.02, fails: str = "") -> Row:
    return Row(id, f"row {id}", None, {"--segments": segments, "--seconds": seconds, "--fails": fails}, {}, "", Path())


@dataclass(frozen=True)
class WaitingSpec:
    """starts: whether engines of this kind can be started at all."""

    starts: bool = True

    def fault(self) -> str | None:
        return None

    def build(self, gpus: Sequence[str], batch: BatchFolder) -> WaitingEngine:
        return WaitingEngine(tuple(gpus), batch, self.starts)


class WaitingEngine:
    name = "waiting"

    def __init__(self, gpus: Sequence[str], batch: BatchFolder, starts: bool) -> None:
        self.gpus, self._batch, self._starts = gpus, batch, starts
        self._up, self._stopped = False, Flag()

    def start(self, tell: events.Tell) -> None:
        if not self._starts:
            raise RowError(Kind.PROCESS, "The engine cannot be started: look for another one.")
        if not self._up:
            tell(events.event(events.STAGE, stage=events.STARTING))
            self._note(f"load {os.getpid()}")
            self._up = True
        self._stopped.clear()

    def run(self, row: Row, folder: RowFolder, tell: events.Tell, *, smaller: bool) -> Result:
        values, attempt = row.values, len(folder.report().attempts) - 1
        fails = str(values["--fails"]).split(",")
        job = self._batch.jobs / row.id
        job.mkdir(parents=True, exist_ok=True)
        for number in range(1, values["--segments"] + 1):
            part = job / str(number)
            kept = part.exists()
            if not kept:
                self._sample(values["--seconds"], number, values["--segments"], tell)
                if number == 2 and attempt < len(fails) and fails[attempt]:
                    self._fail(fails[attempt])
                part.touch()
                self._note(f"{row.id} {number}")
            tell(events.event(events.SEGMENT, segment=number, segments=values["--segments"], kept=kept))
        folder.path("computed_with").write_text(f"{os.environ.get('OMP_NUM_THREADS')} {psutil.Process().nice()}")
        folder.path(VIDEO).write_text(row.id)
        return Result(folder.path(VIDEO))

    def stop(self) -> None:
        self._stopped.set()
        self._up = False

    def _sample(self, seconds: float, segment: int, segments: int, tell: events.Tell) -> None:
        tell(events.event(events.PROGRESS, segment=segment, segments=segments, step=1, steps=2, left=seconds))
        if self._stopped.wait(seconds):
            raise RowError(Kind.STOPPED, "The row was stopped: run again; finished segments are kept.")

    def _fail(self, how: str) -> None:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RowError(Kind(how), f"It was told to fail ({how}).")

    def _note(self, line: str) -> None:
        handle = os.open(self._batch.root / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)


def looked_at(folder: BatchFolder, id: str) -> None:
    """In place of what is done beside the rows."""
    process = psutil.Process()
    folder.row(id).path("looked_at").write_text(f"{process.nice()} {len(process.cpu_affinity())}")
