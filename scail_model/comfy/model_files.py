"""Which model files a graph in API format names, and which of them are in ComfyUI's folders.

ComfyUI refuses a graph with a missing file before any node runs, with an error for each loader that names neither
folder nor size. So this is asked beforehand, by the page and by programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import folder_paths

from ..preflight.model_files import Needed, named_files, report


def model_files(question: Mapping[str, Any]) -> dict[str, Any]:
    """{"prompt": a graph in API format} -> {"files": a file each, "text": the list as a text, "ok": whether all are
    there}."""
    needed = list(dict.fromkeys(_needed(question["prompt"])))
    return {"files": [file.values() for file in needed], "text": report(needed),
            "ok": all(file.state == "there" for file in needed)}


def _needed(prompt: Mapping[str, Any]) -> Iterator[Needed]:
    for folder, name in named_files(prompt):
        path = folder_paths.get_full_path(folder, name)
        place = Path(path) if path else _folder(folder) / name
        yield Needed(name, place.parent, place.stat().st_size if path else None)


def _folder(name: str) -> Path:
    """Of several, the one of that name: ComfyUI also looks into `unet` and `clip`, the names of old."""
    folders = [Path(path) for path in folder_paths.get_folder_paths(name)]
    return next((path for path in folders if path.name == name), folders[0])
