"""From a batch's arguments to its folder, its rows and the engines that make them; of commands with Ray and without."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..batch.comfy_engine import ComfySpec
from ..batch.engine import EngineSpec
from ..batch.folders import BatchFolder
from ..batch.manifest import Manifest, Row

_NAMED = 20  # rows in a sentence


def folder_of(arguments: argparse.Namespace) -> BatchFolder:
    """Of a manifest: --out, or a folder of its name beside it."""
    return BatchFolder(Path(arguments.out) if arguments.out else Path(arguments.manifest).with_suffix(""))


def chosen(manifest: Manifest, only: Sequence[str] | None) -> tuple[Row, ...]:
    """All rows, or those that are named. ValueError for an id that no row has."""
    rows = {row.id: row for row in manifest.rows}
    unknown = [id for id in only or () if id not in rows]
    if unknown:
        raise ValueError(f"{manifest.path} has no row {unknown[0]}: its rows are {', '.join([*rows][:_NAMED])}.")
    return tuple(row for row in manifest.rows if not only or row.id in only)


def spec_of(row: Row, arguments: argparse.Namespace) -> EngineSpec:
    """How to make the engine of a row. ValueError for a ComfyUI that is not named."""
    if row.workflow is None:
        from .rows import HeadlessSpec  # what makes videos comes with it

        return HeadlessSpec()
    if not arguments.comfyui:
        raise ValueError(f"{row.place} has a workflow: add --comfyui FOLDER, the ComfyUI that makes it.")
    python = Path(arguments.comfyui_python) if arguments.comfyui_python else None
    return ComfySpec(Path(arguments.comfyui).absolute(), python, tuple(shlex.split(arguments.comfyui_args)))
