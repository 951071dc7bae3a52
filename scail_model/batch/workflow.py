"""From a row to the graph that ComfyUI is asked for, to the files that it reads, and to a fingerprint of both."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..gpus.choice import ALL
from . import flags
from .addresses import Place, shown
from .manifest import Row
from .row_values import Applied, applied

_READ_BYTES = 1 << 20
_STEM = 60  # letters of a file's own name in the staged one
_FILE = re.compile(r"[^\w.-]+")
_ROOM = "rows"  # of the output folder: nothing else of ComfyUI's goes there
_LOADER, _GPUS, _ONE = "SCAIL2LoadModel", "gpus", "1"  # and its input, on which no result depends, as it is by itself
# the pack's nodes that save under a name, and refuse one that is there
_NAMED = ("SCAIL2SaveTracks", "SCAIL2SavePoses", "SCAIL2SavePrompt")


@dataclass(frozen=True)
class InputFile:
    """address: where a row names it. path: where it lies. name: what it is called in ComfyUI's input folder, after its
    content, of which there are so many bytes."""

    address: str
    path: Path
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Graph:
    """prompt: API format, with the row's values, input files by their staged names, and what is saved under the row's
    own name. output: id of the node whose video is the result. sampler: id of the Sample SCAIL-2 Video node, None
    without. seed: its seed, or that of another sampler."""

    prompt: dict[str, Any]
    files: tuple[InputFile, ...]
    output: str
    sampler: str | None
    seed: int | None


def graph_of(row: Row, *, smaller: bool = False, gpus: int = 1) -> Graph:
    """The graph of a row, with its smaller values if asked for. gpus: that the row has, all of which its model uses
    unless the row or the workflow says how many. ValueError, in one sentence, for the first that is wrong."""
    made = _fine(row, smaller=smaller)
    staged = {place: _input_file(made.given.get(place) or shown(made.prompt, place), file.path)
              for place, file in made.media.items()}
    for place, file in staged.items():
        by_path = made.media[place].by_path
        made.prompt[place.node]["inputs"][place.name] = str(file.path) if by_path else file.name
    for node, about in made.prompt.items():
        given = {place.name for place in made.given if place.node == node}
        _save_apart(row, about, given)
        if gpus > 1 and about["class_type"] == _LOADER and _GPUS not in given and (
                str(about["inputs"].get(_GPUS, _ONE)) == _ONE):
            about["inputs"][_GPUS] = ALL
    return Graph(made.prompt, tuple(staged.values()), made.output, made.sampler, made.seed)


def input_files(row: Row) -> tuple[InputFile, ...]:
    """The pictures, videos and other inputs that a row reads, of either engine; no model files. ValueError as
    `graph_of`, or for a file that cannot be read."""
    if row.workflow is None:
        named = list(flags.paths_of(row, flags.values_of(row), flags.FILES))
        several = Counter(flag for flag, _ in named)
        numbers = {flag: itertools.count(1) for flag, count in several.items() if count > 1}
        return tuple(_input_file(f"{flag} {next(numbers[flag])}" if flag in numbers else flag, path)
                     for flag, path in named if not path.is_dir())
    return graph_of(row).files


def fingerprint(row: Row) -> str:
    """Of everything that decides what a row makes: graph or flags, values, smaller values, contents of input files.
    Not of paths, titles, places in the manifest, GPUs, or the row's id. ValueError as `graph_of`."""
    parts = [_content(row, smaller=False)]
    if row.smaller:
        parts.append(_content(row, smaller=True))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def sha256_of(path: Path) -> str:
    """Hexadecimal, of a file's content; read once for as long as the file stays the same. ValueError for a file that
    cannot be read."""
    try:
        about = path.stat()
        return _sha256(path, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): check the path and its permissions.") from error


def staged_name(path: Path) -> str:
    """A file's name in the input folder of a batch: its own, and its content."""
    stem = _FILE.sub("_", path.stem)[:_STEM].strip("._") or "input"
    return f"{stem}-{sha256_of(path)[:16]}{path.suffix.lower()}"


def _input_file(address: str, path: Path) -> InputFile:
    return InputFile(address, path, staged_name(path), sha256_of(path), path.stat().st_size)


@lru_cache(maxsize=100_000)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            found.update(block)
    return found.hexdigest()


def _fine(row: Row, *, smaller: bool) -> Applied:
    made = applied(row, smaller=smaller)
    if made.faults:
        raise ValueError(made.faults[0])
    return made


def _save_apart(row: Row, about: dict[str, Any], given: set[str]) -> None:
    """Let a node save under the row's own name, so that no two rows write one file, and a second attempt may."""
    inputs = about["inputs"]
    if "filename_prefix" in inputs:  # one that is connected would be the same for all rows
        prefix = inputs["filename_prefix"]
        own = re.split(r"[/\\]", prefix)[-1] if isinstance(prefix, str) else ""
        inputs["filename_prefix"] = f"{_ROOM}/{row.id}/{own or 'video'}"
    if about["class_type"] in _NAMED:
        if "name" not in given and isinstance(inputs.get("name"), str):
            inputs["name"] = f"{row.id}/{inputs['name']}"
        if "overwrite" not in given:
            inputs["overwrite"] = True


def _content(row: Row, *, smaller: bool) -> Any:
    if row.workflow is None:
        return _content_of_flags(row, smaller=smaller)
    made = _fine(row, smaller=smaller)
    nodes = {node: {"class_type": about["class_type"], "inputs": _plain(node, about["inputs"], made)}
             for node, about in made.prompt.items()}
    return {"nodes": nodes, "output": made.output}


def _plain(node: str, inputs: Mapping[str, Any], made: Applied) -> dict[str, Any]:
    values = {}
    for name, value in inputs.items():
        file = made.media.get(Place(node, name))
        if file is not None:
            values[name] = sha256_of(file.path)
        elif name != "filename_prefix" and (made.prompt[node]["class_type"], name) != (_LOADER, _GPUS):
            # 7 and 7.0 are one value to ComfyUI, and the page writes both as 7
            values[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    return values


def _content_of_flags(row: Row, *, smaller: bool) -> dict[str, Any]:
    values = flags.values_of(row, smaller=smaller)
    found: dict[str, Any] = {flag: [_word(one) for one in value] if isinstance(value, list) else _word(value)
                             for flag, value in values.items() if value is not False}
    for flag in {flag for flag, _ in flags.paths_of(row, values, flags.FILES)}:
        paths = [path for other, path in flags.paths_of(row, values, flags.FILES) if other == flag]
        found[flag] = [_folder_or_file(path) for path in paths]
    for flag in {flag for flag, _ in flags.paths_of(row, values, flags.MODELS)}:
        found[flag] = [path.name for other, path in flags.paths_of(row, values, flags.MODELS) if other == flag]
    return found


def _word(value: Any) -> Any:
    """A value of the command line, alike from a table, where all cells are texts, and from JSON or YAML."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) > 15 else number  # a long seed has more digits than a float


def _folder_or_file(path: Path) -> Any:
    if path.is_dir():  # of masks, a picture for each frame
        return [[file.name, sha256_of(file)] for file in sorted(path.iterdir()) if file.is_file()]
    return sha256_of(path)
