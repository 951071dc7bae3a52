"""`scail2 batch status`: how a batch stands, from its folder alone, while it runs and wherever it was copied."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..batch.choice import Known, known
from ..batch.folders import DAMAGED, DONE, FAILED, INTERRUPTED, RUNNING, WAITING, BatchFolder
from ..batch.progress import spent
from ..batch.report import cost_of
from .batch_specs import folder_of

_ORDER = RUNNING, DONE, FAILED, INTERRUPTED, WAITING, DAMAGED


def status(arguments: argparse.Namespace) -> None:
    """Print how all rows stand."""
    path = Path(arguments.manifest)
    folder = BatchFolder(path) if path.is_dir() else folder_of(arguments)
    batch = folder.read()
    if not batch:
        raise ValueError(f"{folder.root} is not the folder of a batch: give the manifest or the folder of one that was "
                         "run.")
    rows = list(known(folder, list(batch["rows"]), damaged=True))
    price = batch["settings"].get("gpu_hour_price")
    text = json.dumps(as_values(rows, price), indent=1, ensure_ascii=False) if arguments.json else as_text(rows, price)
    sys.stdout.write(f"{text}\n")


def as_values(rows: Sequence[Known], price: float | None) -> dict[str, Any]:
    """For programs."""
    seconds = sum(row.report.gpu_seconds for row in rows if row.report)
    cost = cost_of(seconds, price)
    return {
        "rows": [{"id": row.id, "state": row.state, "attempts": len(row.report.attempts) if row.report else 0,
                  "segments": dict(row.report.facts.segments) if row.report else {},
                  "gpu_seconds": row.report.gpu_seconds if row.report else 0.0,
                  "cost": row.report.cost if row.report else None,
                  "host": row.report.last.host if row.report and row.report.last else None,
                  "kind": row.report.kind if row.report and row.state == FAILED else None,
                  "error": row.report.error if row.report and row.state == FAILED else row.fault} for row in rows],
        "states": Counter(row.state for row in rows), "gpu_seconds": round(seconds, 3),
        "cost": None if cost is None else round(cost, 6)}


def as_text(rows: Sequence[Known], price: float | None) -> str:
    """For people: a line for each row that is not waiting or done, and the sum."""
    counts = Counter(row.state for row in rows)
    lines = [_line(row) for state in (RUNNING, INTERRUPTED, FAILED, DAMAGED) for row in rows if row.state == state]
    states = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    seconds = sum(row.report.gpu_seconds for row in rows if row.report)
    return "\n".join([*lines, f"{len(rows)} rows: {states}, {spent(seconds, price)}"])


def _line(row: Known) -> str:
    report = row.report
    parts = [f"{row.id}: {row.state}", *([row.fault] if row.fault else [])]
    if report is not None and report.last is not None:
        total = report.facts.segments.get("total")
        ready = report.last.kept + report.last.made
        parts += [f"{ready} of {total} segments"] if total else []
        parts += [f"on {report.last.host}"] if row.state == RUNNING else []
        parts += [report.error] if row.state == FAILED and report.error else []
    return ", ".join(parts)
