"""What is kept beside a finished video, for people who come back to it and for programs: a JSON file with its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ..files.atomic import writing
from ..preflight.findings import Finding, as_values
from ..sparse import report as sparse_report
from .comparison import Comparison
from .task import Made, VideoTask, segments_values

log = logging.getLogger(__name__)


def record_path(video: Path) -> Path:
    """Of the file beside a video: walk.mp4 -> walk.mp4.json."""
    return video.with_name(f"{video.name}.json")


def write_record(made: Made, task: VideoTask, job_folder: Path, report: Sequence[str],
                 found: Sequence[Finding], compared: Comparison | None = None) -> None:
    """Write {"video", "job_folder", "report": lines, "check": as `findings.as_json`, "segments": as `segments_json`,
    "draft": whether it is one, "comparison": {"draft": folder, "differences": in words, "video"} or null}; and
    "sparse", where attention is: the errors of each segment.

    A disk that is full by now costs no finished video: the log says that the file is missing.
    """
    values = {"video": str(made.path.absolute()), "job_folder": str(job_folder.absolute()), "report": list(report),
              "check": as_values(found), "segments": segments_values(task),
              "draft": task.draft_of is not None, "comparison": compared and compared.values}
    if any(made.errors):
        values["sparse"] = [sparse_report.values(errors) for errors in made.errors]
    path = record_path(made.path)
    try:
        with writing(path) as part:
            part.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        log.warning("%s, the record of the finished video, cannot be written (%s): free space there, and queue the "
                    "same again.", path, error)
