"""A finished row looked at once more: a strip of thumbnails, and whether its seams are seen and its colours drift.

It needs no GPU and minutes at the most, so it runs beside the next row, and leaves its own files in the row's folder:
strip.jpg and judged.json.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..drawing.filmstrip import row_of_pictures
from ..drift import plan as plans
from ..drift import report as drift_report
from ..drift.measure import PICTURE, measure
from ..drift.plan import Plan
from ..drift.verdict import Result
from ..files.atomic import writing
from ..media.video_file import FileClip
from ..video.record import record_path
from .folders import VIDEO, BatchFolder, RowFolder

log = logging.getLogger(__name__)

JUDGED, STRIP = "judged.json", "strip.jpg"
_FORMAT = "scail2-judged-1"
_SHAPE = 8.2  # of a strip: how much wider than high
_FEWEST, _MOST = 3, 14
_QUALITY = 82


def judge(folder: BatchFolder, id: str) -> None:
    """Write strip.jpg and judged.json of a finished row, unless they are there already. Raises nothing: a row is not
    worse for a picture that is missing, and the log says why."""
    row, threads = folder.row(id), torch.get_num_threads()
    torch.set_num_threads(1)  # the next row's reading and encoding need the cores
    try:
        if row.path(VIDEO).is_file() and judged_values(row) is None:
            clip = FileClip(row.path(VIDEO), name="finished video")
            draw_strip(clip, row.path(STRIP))
            row.write_values(JUDGED, {"format": _FORMAT, "video": _identity(row), **measured(clip, row)})
    except Exception:  # of a folder that was moved away meanwhile, a full disk, a codec that cannot be read
        log.exception("SCAIL-2: the finished video of row %s cannot be judged", id)
    finally:
        torch.set_num_threads(threads)


def judged_values(row: RowFolder) -> dict[str, Any] | None:
    """What `judge` has found of the video that is there now; None if it has not looked at it."""
    try:
        values = json.loads(row.path(JUDGED).read_text(encoding="utf-8"))
        return values if values["format"] == _FORMAT and values["video"] == _identity(row) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def draw_strip(clip: FileClip, target: Path) -> None:
    """Thumbnails of a video from its first frame to its last, as one JPEG."""
    count = min(len(clip), max(_FEWEST, min(_MOST, round(_SHAPE * clip.height / clip.width))))
    places = [index * (len(clip) - 1) // max(1, count - 1) for index in range(count)]
    picture = row_of_pictures([clip.read(place, place + 1)[0] for place in places])
    with writing(target) as part:
        picture.save(part, "JPEG", quality=_QUALITY)


def measured(clip: FileClip, row: RowFolder) -> dict[str, Any]:
    """{"ok", "frames", "seams", "drift", "segments_known", ...} as of `drift/report.py`, without the curves."""
    plan = _plan(row, len(clip))
    result = Result(clip.size, clip.rate or plan.rate, plan, measure(clip), PICTURE)
    values = json.loads(drift_report.as_json(result))
    del values["per_frame"]
    return values


def _identity(row: RowFolder) -> list[int]:
    about = row.path(VIDEO).stat()
    return [about.st_size, about.st_mtime_ns]


def _plan(row: RowFolder, frames: int) -> Plan:
    """The segments of a row's video, from the record beside it or in its job folder; one segment where there is none,
    or one of another video."""
    report = row.report()
    job = report.facts.job_folder if report else None
    records = [record_path(row.path(VIDEO)), *(sorted(Path(job).glob("*.json")) if job else ())]
    for record in records:
        try:
            values = json.loads(record.read_text(encoding="utf-8"))
            if isinstance(values, Mapping) and "segments" in values:
                return plans.parse(json.dumps(values["segments"]), frames)
        except (OSError, ValueError):
            continue
    return plans.whole(frames)
