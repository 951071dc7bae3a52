"""A batch's manifest: rows of values, one for each video, from a table (`tables.py`) in CSV, JSON or YAML.

All forms have one schema: `defaults` of every row, `rows`, and `cross`, which makes a row of every element of each axis
with every one of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One video to make.

    id: name of its folder. place: where it stands, for sentences. workflow: the API-format file that ComfyUI makes it
    with, None for a row of the command line. values: by address of the workflow, or by flag of `scail2 generate`.
    smaller: values that it is tried with after out of memory. output: name of the node whose video is the result,
    "" for the only one. base: the manifest's folder, which paths are relative to.
    """

    id: str
    place: str
    workflow: Path | None
    values: Mapping[str, Any]
    smaller: Mapping[str, Any]
    output: str
    base: Path


@dataclass(frozen=True)
class Manifest:
    """rows: those that can be read. faults: sentences about everything that cannot."""

    path: Path
    rows: tuple[Row, ...]
    faults: tuple[str, ...]


def read_manifest(path: Path) -> Manifest:
    """The rows of a manifest and all that is wrong with it. Raises nothing for what the file holds."""
    raise NotImplementedError(path)
