"""Rows without a workflow: `scail2 generate` in a process of its own, which keeps its models from one row to the next.

A process, because a row that is stopped, or whose GPU is lost, must not take the worker with it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..batch.child import Child, of_gpus
from ..batch.child_engine import STOPPED, ChildEngine
from ..batch.comfy_run import HUNG
from ..batch.engine import COMMAND_LINE, Result
from ..batch.events import FACTS, LINE, STAGE, Tell, event
from ..batch.failures import Kind, RowError, explained
from ..batch.flags import values_of, words
from ..batch.folders import VIDEO, BatchFolder, RowFolder
from ..batch.manifest import Row
from ..batch.results import media_facts, record_facts
from ..video.record import record_path

LOG = "scail2.log"
READY, MADE, FAILED = "ready", "made", "failed"  # the events of row_process.py itself
_PACK = Path(__file__).parents[2]
_TICK = 0.2  # seconds between two looks at the process and at who stops us
_SPEAK = 15.0  # seconds between two lines while it starts


@dataclass(frozen=True)
class HeadlessSpec:
    """hung: seconds of silence after which a run is given up."""

    hung: float = HUNG

    def fault(self) -> str | None:
        return None

    def build(self, gpus: Sequence[str], batch: BatchFolder) -> HeadlessEngine:
        return HeadlessEngine(self, gpus, batch)


class _Process(Child):
    """Its answers come as they are asked for."""

    def __init__(self, gpus: Sequence[str]) -> None:
        paths = os.pathsep.join(filter(None, (str(_PACK), *sys.path)))
        super().__init__("The command line", LOG, [sys.executable, "-m", f"{__package__}.row_process"], apart=True,
                         environment={**of_gpus(gpus), "PYTHONPATH": paths})
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def order(self, **values: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(values)}\n".encode())
        self.process.stdin.flush()

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.answers.put(json.loads(line))


class HeadlessEngine(ChildEngine[_Process]):
    """The `Engine`."""

    name = COMMAND_LINE

    def __init__(self, spec: HeadlessSpec, gpus: Sequence[str], batch: BatchFolder) -> None:
        super().__init__(gpus, batch)
        self.spec = spec
        self._about: dict[str, Any] = {}

    def _begun(self) -> _Process:
        return _Process(self.gpus)

    def _wait_until_ready(self, process: _Process, tell: Tell) -> None:
        started = spoken = time.monotonic()
        while (told := self._next(process, "before it was ready")) is None:
            if time.monotonic() - spoken > _SPEAK:
                spoken = time.monotonic()
                tell(event(LINE, text=f"the command line starts, {spoken - started:.0f} s so far"))
        self._about = {"versions": told["versions"], "gpu": told["gpu"]}

    def _make(self, process: _Process, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        tell(event(STAGE, stage="preparing"))
        tell(event(FACTS, **self._about))
        try:
            process.order(words=[*words(row, smaller=smaller), *self.words(folder)])
        except OSError as error:  # its input is closed: it has ended, or is about to
            stopped = self._stopped.is_set()
            raise (RowError(Kind.STOPPED, STOPPED) if stopped else process.death("while it made the row")) from error
        return self._brought(self._made(process, tell), row, folder, tell, smaller=smaller)

    def words(self, folder: RowFolder) -> list[str]:
        """What a batch gives a row itself."""
        return [f"--save_file={folder.path(VIDEO).absolute()}", f"--job_dir={self.batch.jobs.absolute()}",
                "--overwrite", *(["--gpus=all"] if len(self.gpus) > 1 else ())]

    def _next(self, process: _Process, doing: str) -> dict[str, Any] | None:
        """What the process says next; None if it says nothing for a moment."""
        try:
            return process.answers.get(timeout=_TICK)
        except queue.Empty:
            if self._stopped.is_set():
                raise RowError(Kind.STOPPED, STOPPED) from None
            if process.ended and process.answers.empty():
                raise process.death(doing) from None
        return None

    def _made(self, process: _Process, tell: Tell) -> Path:
        heard, said = time.monotonic(), process.said()
        while True:
            told = self._next(process, "while it made the row")
            if told is not None or process.said() != said:
                heard, said = time.monotonic(), process.said()
            if told is None:
                if time.monotonic() - heard > self.spec.hung:
                    raise RowError(Kind.PROCESS, f"The command line said nothing for {self.spec.hung:.0f} s, so it "
                                                 f"hangs: read {LOG}, and run again; finished segments are kept.")
            elif told["event"] == MADE:
                return Path(told["video"])
            elif told["event"] == FAILED:
                raise explained("scail2 generate", told["type"], told["message"])
            else:
                tell(told)

    def _brought(self, made: Path, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        tell(event(STAGE, stage="saving"))
        video = folder.path(VIDEO)
        if made != video.absolute():  # a draft has another name
            os.replace(made, video)
            os.replace(record_path(made), record_path(video))
        facts = record_facts(record_path(video), folder)
        driving = row.base / str(values_of(row, smaller=smaller)["--pose"])
        tell(event(FACTS, **facts, **media_facts(video, driving)))
        return Result(video)
