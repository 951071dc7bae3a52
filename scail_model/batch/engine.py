"""What makes rows: a ComfyUI process (`comfy_engine.py`), or the command line in a process that stays up
(`headless/rows.py`). An engine makes one row at a time and keeps what it has loaded for the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .events import Tell

if TYPE_CHECKING:
    from .folders import BatchFolder, RowFolder
    from .manifest import Row

COMFYUI, COMMAND_LINE = "comfyui", "command line"


@dataclass(frozen=True)
class Result:
    """A finished row. video: in its folder. Everything else was told as facts."""

    video: Path


class Engine(Protocol):
    @property
    def name(self) -> str:
        """For reports: COMFYUI or COMMAND_LINE."""
        ...

    @property
    def gpus(self) -> Sequence[str]:
        """As CUDA_VISIBLE_DEVICES names them; none for a CPU."""
        ...

    def start(self, tell: Tell) -> None:
        """Begin to answer, unless it does already. RowError if it cannot."""
        ...

    def run(self, row: Row, folder: RowFolder, tell: Tell, *, smaller: bool) -> Result:
        """Make a row, finished segments of an earlier attempt kept. RowError if that fails, of the kind STOPPED after
        `stop`."""
        ...

    def stop(self) -> None:
        """End within a second, with whatever it makes; from any thread. It can be started again."""
        ...


class EngineSpec(Protocol):
    """How to make an engine: made by the driver, sent to a worker, and built there."""

    def fault(self) -> str | None:
        """Why no engine of this kind can start on this machine, in one sentence, as far as files tell."""
        ...

    def build(self, gpus: Sequence[str], batch: BatchFolder) -> Engine: ...
