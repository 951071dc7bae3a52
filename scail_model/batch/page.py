"""report.html: the batch's folder as one page for people, made from that folder alone. Everything that it shows lies
beside it; nothing is fetched from a network.

Rows are data in the page (`page.html`), drawn as they are scrolled to, so that ten thousand of them open too.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..files.atomic import explained, writing
from ..preflight.budget import duration
from .costs import in_hours
from .folders import (
    CHECK,
    DAMAGED,
    DONE,
    EVENTS,
    FAILED,
    INTERRUPTED,
    REPORT,
    RUNNING,
    VIDEO,
    WAITING,
    WORKFLOW,
    BatchFolder,
    RowFolder,
)
from .report import RowReport
from .verdicts import JUDGED, STRIP, judged_values

_TEMPLATE = Path(__file__).with_name("page.html")
_ORDER = (DONE, RUNNING, FAILED, INTERRUPTED, WAITING, DAMAGED)
_FILES = {"video": VIDEO, "strip": STRIP, "report": REPORT, "check": CHECK, "workflow": WORKFLOW, "events": EVENTS}
_LOGS = ("comfyui.log", "scail2.log")
_WORST = {"good": 1, "not judged": 2, "visible": 3, "strong": 4}


def write_page(folder: BatchFolder) -> Path:
    """Write the page anew from what the folder holds now. RuntimeError if the disk is full."""
    ids = dict.fromkeys((*folder.order(), *(row.id for row in folder.rows())))
    rows = [_row(folder.row(id)) for id in ids]
    now = datetime.now().astimezone()
    data = {"name": folder.root.absolute().name, "written": now.strftime("%Y-%m-%d %H:%M:%S %Z"),
            "states": {state: count for state, count in _counted(rows).items() if count}, "cards": _cards(rows),
            "rows": rows}
    # "<" cannot end the script that the data stands in
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = _TEMPLATE.read_text(encoding="utf-8").replace(
        "<title>SCAIL-2 batch<", f"<title>{html.escape(str(data['name']))}<").replace("/*DATA*/", text)
    with explained(str(folder.page), "and write it again with scail2 batch status"), writing(folder.page) as part:
        part.write_text(page, encoding="utf-8")
    return folder.page


def _row(row: RowFolder) -> dict[str, Any]:
    """What the page shows of a row; one whose files are damaged does not take the page of all others with it."""
    try:
        report = row.report() or RowReport(row.id)
        values = _values(row, report, row.state_of(report), judged_values(row) or {})
        json.dumps(values, allow_nan=False)  # a browser reads no NaN
        return values
    except RuntimeError as error:
        text = str(error)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # files that somebody has edited
        text = f"{REPORT} or {JUDGED} in {row.folder} is damaged ({error}): delete it, and run again."
    return {**_values(row, RowReport(row.id), DAMAGED, {}), "error": text}


def _values(row: RowFolder, report: RowReport, state: str, judged: Mapping[str, Any]) -> dict[str, Any]:
    facts = report.facts
    verdicts = Counter(seam.get("verdict", "") for seam in judged.get("seams") or facts.seams)
    distances = [scene["distance"] for scene in judged.get("drift", ()) if scene.get("distance") is not None]
    return {
        "id": row.id, "state": state, "error": report.error, "smaller": report.smaller,
        "host": report.last and report.last.host, "gpu": facts.gpu, "gpu_seconds": round(report.gpu_seconds, 1),
        "cost": report.cost, "frames": dict(facts.frames), "rate": {side: _rate(rate) for side, rate in
                                                                    facts.rate.items()},
        "sound": dict(facts.sound), "segments": dict(facts.segments), "stages": report.stages,
        "seams": dict(verdicts), "worst": max((_WORST.get(verdict, 0) for verdict in verdicts), default=0),
        "drift": max(distances, default=None), "attempts": [_attempt(asdict(each)) for each in report.attempts],
        "files": _files(row)}


def _attempt(values: Mapping[str, Any]) -> dict[str, Any]:
    gpus = f" (GPU {', '.join(values['gpus'])})" if values["gpus"] else ""
    names = ("host", "state", "error", "gpu_seconds", "kept", "made")
    return {**{name: values[name] for name in names}, "gpu": gpus, "started": _second(values["started"]),
            "ended": values["ended"] and _second(values["ended"])}


def _second(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"


def _files(row: RowFolder) -> dict[str, str]:
    """Links from the page to what is there."""
    log = next((name for name in _LOGS if row.path(name).is_file()), None)
    named = {**_FILES, **({"log": log} if log else {})}
    return {kind: f"rows/{quote(row.id)}/{name}" for kind, name in named.items() if row.path(name).is_file()}


def _rate(text: str) -> str:
    above, _, below = str(text).partition("/")
    try:
        return f"{float(above) / float(below or 1):.5g}"
    except (ValueError, ZeroDivisionError):
        return str(text)


def _counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = Counter(row["state"] for row in rows)
    return {state: counts[state] for state in _ORDER}


def _cards(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(value, label, kind) of the numbers above the table."""
    counts = _counted(rows)
    cards = [(f"{counts[state]:,}", state, state) for state in _ORDER if counts[state] or state == DONE]
    seconds = sum(row["gpu_seconds"] for row in rows)
    lost = sum(attempt["gpu_seconds"] for row in rows for attempt in row["attempts"]
               if attempt["state"] != DONE and not attempt["made"])
    cards.append((in_hours(seconds), "GPU-hours", ""))
    if any(row["cost"] is not None for row in rows):
        cost = sum(row["cost"] or 0 for row in rows)
        cards.append((f"{cost:,.2f}" if cost >= 1 else f"{cost:.2g}", "cost", ""))
    if (span := _span(rows)) is not None:
        cards.append((duration(span), "from first to last", ""))
    frames = sum(row["frames"].get("out", 0) for row in rows if row["state"] == DONE)
    cards += [(f"{frames:,}", "frames made", "")] if frames else []
    cards += [(duration(lost), "of GPU time made nothing", "doubt")] if lost >= 1 else []
    doubtful = sum(row["worst"] >= _WORST["visible"] for row in rows)
    cards += [(f"{doubtful:,}", "rows with a visible seam", "doubt")] if doubtful else []
    return cards


def _span(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds from the begin of the first attempt to the end of the last one."""
    times = [(attempt["started"], attempt["ended"]) for row in rows
             for attempt in row["attempts"] if attempt["ended"]]
    if not times:
        return None
    first, last = min(start for start, _ in times), max(end for _, end in times)
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
