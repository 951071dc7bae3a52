"""What the engines share: one child process makes all rows, is told to stop, and is started anew after it has died."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event as Flag
from typing import TYPE_CHECKING, Generic, TypeVar

from .child import Child
from .engine import Result
from .events import STAGE, STARTING, Tell, event
from .failures import Kind, RowError

if TYPE_CHECKING:
    from .folders import BatchFolder, RowFolder
    from .manifest import Row

_Process = TypeVar("_Process", bound=Child)
STOPPED = "The row was stopped: run again; finished segments are kept."


class ChildEngine(Generic[_Process]):
    """An `Engine` but for its name, and for what its process is and says."""

    def __init__(self, gpus: Sequence[str], batch: BatchFolder) -> None:
        self.gpus, self.batch = tuple(gpus), batch
        self._process: _Process | None = None
        self._stopped = Flag()

    def start(self, tell: Tell) -> None:
        if self._process is not None and not self._process.ended:
            return
        self._end()
        self._stopped.clear()
        tell(event(STAGE, stage=STARTING))
        self._process = process = self._begun()
        try:
            self._wait_until_ready(process, tell)
        except BaseException:
            process.log_to(self.batch.root / process.log)  # there is no row to say it to
            self._end()
            raise

    def run(self, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        process = self._process
        if process is None:
            raise RowError(Kind.STOPPED, STOPPED)
        process.log_to(folder.path(process.log))
        try:
            return self._make(process, row, folder, tell, smaller=smaller)
        except OSError as error:
            if self._stopped.is_set():
                raise RowError(Kind.STOPPED, STOPPED) from error
            if process.ended:
                raise process.death("while it made the row") from error
            raise
        except RowError as error:
            if error.kind in (Kind.PROCESS, Kind.GPU):
                self._end()
            raise
        finally:
            process.log_to(None)

    def stop(self) -> None:
        self._stopped.set()
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _begun(self) -> _Process:
        """Start the process."""
        raise NotImplementedError

    def _wait_until_ready(self, process: _Process, tell: Tell) -> None:
        """RowError if it ends, is stopped or stays silent before it can be asked for rows."""
        raise NotImplementedError

    def _make(self, process: _Process, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        """As `Engine.run`. OSError if the process cannot be spoken to."""
        raise NotImplementedError
