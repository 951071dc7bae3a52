"""The folder of a batch, which is its whole state: what is in it was done, and nothing else is remembered.

    batch.json             rows by id, each with its fingerprint, and the settings of the last run
    rows/ID/               a row: video.mp4, report.json and what else there is to say of it
    replaced/ID.1/         what a row was before it was replaced
    input/, comfyui/       input and output folder of every ComfyUI; jobs/: finished segments of the command line
    report.html            the page for people
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.atomic import explained, writing
from ..files.locks import held, locked
from .report import DONE, FAILED, INTERRUPTED, RUNNING, WAITING, RowReport

__all__ = ["DONE", "FAILED", "INTERRUPTED", "RUNNING", "WAITING", "BatchFolder", "RowFolder"]

_LOCK = ".lock"
DAMAGED = "damaged"  # for people: of a row whose report cannot be read
BATCH = "batch.json"
VIDEO, CHECK, REPORT, WORKFLOW, EVENTS = "video.mp4", "check.json", "report.json", "workflow_api.json", "events.ndjson"


@dataclass(frozen=True)
class RowFolder:
    """One row's folder. root: the batch's."""

    root: Path
    id: str

    @property
    def folder(self) -> Path:
        return self.root / "rows" / self.id

    def path(self, name: str) -> Path:
        return self.folder / name

    def report(self) -> RowReport | None:
        """None if the row was never begun. RuntimeError for a file that was damaged or is of another program."""
        path = self.path(REPORT)
        try:
            return RowReport.of(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RuntimeError(f"{path} is damaged ({error}): delete it, and run again; finished segments are "
                               "kept.") from error

    def state(self) -> str:
        """What the row is now. RuntimeError as of `report`."""
        return self.state_of(self.report())

    def state_of(self, report: RowReport | None) -> str:
        """What the row with this report is now: a report that says "running" although nobody holds the row was broken
        off, and a finished row without its video waits again."""
        if report is None or (report.state == DONE and not self.path(VIDEO).is_file()):
            return WAITING
        return INTERRUPTED if report.state == RUNNING and not self.held() else report.state

    def write(self, report: RowReport) -> None:
        """RuntimeError if the disk is full or cannot be written."""
        self.write_values(REPORT, report.values())

    def write_values(self, name: str, values: Any) -> None:
        """A .json file, complete or not there. RuntimeError as of `write`."""
        _write(self.path(name), values)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the row alone among all hosts. RuntimeError if another process makes it, OSError if the folder cannot
        be written."""
        return locked(self.path(_LOCK), f"making row {self.id} in {self.folder}", "wait for it, or stop it")

    def held(self) -> bool:
        """Whether a living process makes the row."""
        return held(self.path(_LOCK)) is not None

    def set_aside(self) -> Path | None:
        """Make room for the same id with other inputs: the folder as it is goes to replaced/, which is returned. None
        if there was nothing. RuntimeError if another process makes the row."""
        if not self.folder.is_dir():
            return None
        with self.locked():
            pass
        places = self.root / "replaced"
        places.mkdir(exist_ok=True)
        number = 1 + sum(1 for _ in places.glob(f"{self.id}.*"))
        while (place := places / f"{self.id}.{number}").exists():
            number += 1
        with explained(f"The row folder {self.folder}", "and run again"):
            shutil.move(self.folder, place)
        return place


@dataclass(frozen=True)
class BatchFolder:
    """root: need not be there yet; `begin` makes it."""

    root: Path

    @property
    def input(self) -> Path:
        return self.root / "input"

    @property
    def comfyui(self) -> Path:
        return self.root / "comfyui"

    @property
    def jobs(self) -> Path:
        """Of rows made by the command line."""
        return self.root / "jobs"

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    def row(self, id: str) -> RowFolder:
        return RowFolder(self.root, id)

    def rows(self) -> list[RowFolder]:
        """Those that were begun, by id."""
        return [self.row(path.parent.name) for path in sorted((self.root / "rows").glob(f"*/{REPORT}"))]

    def locked(self) -> AbstractContextManager[None]:
        """Hold the batch: one driver at a time. RuntimeError if there is another one, or the folder cannot be made."""
        with explained(f"The batch folder {self.root}", "or choose another one with --out"):
            self.root.mkdir(parents=True, exist_ok=True)
        return locked(self.root / _LOCK, f"working in {self.root}", "wait for it, or stop it")

    def begin(self, rows: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        """Write batch.json. rows: by id, in the manifest's order, each with "fingerprint" and its values. RuntimeError
        if the disk is full."""
        self.root.mkdir(parents=True, exist_ok=True)
        _write(self.root / BATCH, {"format": "scail2-batch-1", "settings": dict(settings), "rows": dict(rows)})

    def read(self) -> dict[str, Any]:
        """What `begin` has written; {} if nobody has. RuntimeError for a damaged file."""
        path = self.root / BATCH
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not all(isinstance(values[name], dict) for name in ("rows", "settings")):
                raise ValueError("rows or settings are not mappings")
            return values
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError) as error:
            raise RuntimeError(f"{path} is damaged ({error}): delete it, and run again; finished rows are "
                               "kept.") from error

    def order(self) -> Sequence[str]:
        """Ids in the manifest's order."""
        return list(self.read().get("rows", {}))


def _write(path: Path, values: Any) -> None:
    with explained(str(path), "and run again; finished segments are kept"), writing(path) as part:
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
