"""From a row to the graph that ComfyUI is asked for, and to the files that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .manifest import Row


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


def graph_of(row: Row, *, smaller: bool = False) -> Graph:
    """The graph of a row, with its smaller values if asked for. ValueError, in one sentence, for the first that is
    wrong."""
    raise NotImplementedError(row, smaller)


def input_files(row: Row) -> tuple[InputFile, ...]:
    """The pictures, videos and other inputs that a row reads, of either engine; no model files."""
    raise NotImplementedError(row)


def fingerprint(row: Row) -> str:
    """Of everything that decides what a row makes: graph or flags, values, smaller values, contents of input files."""
    raise NotImplementedError(row)
