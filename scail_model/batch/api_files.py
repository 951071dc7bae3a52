"""Workflow files in ComfyUI's API format, read once, and sentences for files that are something else."""

from __future__ import annotations

import json
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from .addresses import is_link, title

_EXPORT = "export it in ComfyUI with File > Export (API)"


def load_workflow(path: Path) -> dict[str, dict[str, Any]]:
    """The nodes of a file by id, not to be changed. ValueError, in one sentence, for anything that cannot be run."""
    try:
        about = path.stat()
    except OSError as error:
        raise ValueError(f"The workflow {path} does not exist: check the path, which is relative to the manifest."
                         ) from error
    if path.is_dir():
        raise ValueError(f"The workflow {path} is a folder: give a .json file.")
    found = _read(path, about.st_mtime_ns, about.st_size)
    if isinstance(found, str):
        raise ValueError(found)
    return found


@lru_cache(maxsize=1000)
def _read(path: Path, _changed: int, _size: int) -> dict[str, dict[str, Any]] | str:
    """The nodes, or what is wrong: kept too, or a broken file would be read for every row."""
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        return f"The workflow {path} cannot be read ({error.strerror}): check its permissions."
    except UnicodeDecodeError:
        return f"The workflow {path} is not a text in UTF-8: {_EXPORT}."
    except json.JSONDecodeError as error:
        return (f"The workflow {path} is not JSON ({error.msg} in line {error.lineno}, column {error.colno}): "
                f"{_EXPORT}.")
    except RecursionError:
        return f"The workflow {path} is nested too deeply: {_EXPORT}."
    return _wrong(path, document) or document


def _wrong(path: Path, document: Any) -> str | None:
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        return f"The workflow {path} is in the format of ComfyUI's page, not in API format: {_EXPORT}."
    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        return (f'The workflow {path} is a whole request to /prompt: give what stands under "prompt" as a file of its '
                "own.")
    if not isinstance(document, dict) or not document:
        return f"The workflow {path} has no nodes: {_EXPORT}."
    for node, about in document.items():
        if not isinstance(about, dict) or not isinstance(about.get("class_type"), str) or not isinstance(
                about.get("inputs"), dict):
            return (f"The workflow {path} is not in API format, because node {node} has no class_type and inputs: "
                    f"{_EXPORT}.")
    for about in document.values():
        for name, value in about["inputs"].items():
            if is_link(value) and value[0] not in document:
                return (f'The workflow {path} connects {name} of "{title(about)}" to node {value[0]}, which it does '
                        f"not have: {_EXPORT} again.")
    return _circle(path, document)


def _circle(path: Path, document: dict[str, Any]) -> str | None:
    """ComfyUI refuses a node that waits for itself, and whatever follows connections would never end."""
    before = {node: [value[0] for value in about["inputs"].values() if is_link(value)]
              for node, about in document.items()}
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        names = ", ".join(f'"{title(document[node])}"' for node in error.args[1][:-1])
        return f"The workflow {path} connects {names} in a circle: undo one of these connections."
    return None
