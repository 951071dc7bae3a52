"""Files of a finished row, brought into its folder, and what can be read off them for its report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from ..files.atomic import explained, writing
from .folders import CHECK, RowFolder

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", ".avi", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv", ".flv"}


def bring(source: Path, target: Path, *, keep: bool) -> None:
    """Give a file another name, complete or not at all, on whichever disk. keep: the old name stays too. RuntimeError
    if the disk is full."""
    with explained(f"{target}", "and run again; finished segments are kept"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target) as part:
            try:
                os.link(source, part)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(source, part)
        if not keep:
            source.unlink()


def bring_others(files: Sequence[Path], folder: RowFolder) -> None:
    """What else was saved, into outputs/ of the row's folder."""
    for file in files:
        target = folder.path("outputs") / file.name
        number = 1
        while target.exists() and not target.samefile(file):
            number += 1
            target = target.with_stem(f"{file.stem}-{number}")
        bring(file, target, keep=False)


def record_facts(record: Path, folder: RowFolder) -> dict[str, Any]:
    """What the record beside a video (`video/record.py`) says, for the report; its check becomes check.json."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is missing if the disk was full
        return {}
    folder.write_values(CHECK, values["check"])
    return {"job_folder": values["job_folder"]}


def media_facts(video: Path, driving: Path | None) -> dict[str, Mapping[str, Any]]:
    """Frames, rate and sound of the finished video, and of the driving one where there is such a file."""
    found = {"out": _probed(video), **({"in": _probed(driving)} if driving else {})}
    return {name: {side: values[name] for side, values in found.items() if values}
            for name in ("frames", "rate", "sound")}


def _probed(path: Path) -> dict[str, Any] | None:
    """None of what cannot be opened as a video, as a file of poses."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return None
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            return {"frames": frames, "rate": str(stream.average_rate), "sound": bool(container.streams.audio)}
    except (OSError, FFmpegError):
        return None
