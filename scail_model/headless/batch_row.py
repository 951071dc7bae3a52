"""`scail2 batch row`: one row, made here and now without Ray, for schedulers that run a command a task."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from ..batch.engine import Engine
from ..batch.events import Position
from ..batch.failures import next_step
from ..batch.folders import VIDEO, RowFolder
from ..batch.manifest import Row, read_manifest
from ..batch.report import DONE, RowReport
from ..batch.row import other_inputs, run_row
from ..batch.verdicts import judge
from ..preflight.budget import duration
from .batch import checked_rows
from .batch_specs import chosen, folder_of, spec_of

_PAUSE = 5.0  # seconds between two lines of which the second only continues the first


def row(arguments: argparse.Namespace) -> bool:
    """Make a row by the rules of a batch; returns whether it is done. RuntimeError with the row's sentence if it cannot
    be made, ValueError for a manifest that cannot be used."""
    manifest = read_manifest(Path(arguments.manifest))
    (one,) = chosen(manifest, [arguments.id])
    spec = spec_of(one, arguments)
    (checked,) = checked_rows(replace(manifest, rows=(one,), unnamed=()), arguments)
    if fault := next(iter(checked.errors), None) or spec.fault():
        raise ValueError(f"{one.place}: {fault}")
    batch = folder_of(arguments)
    folder = batch.row(one.id)
    if _is_done(one, folder, replace=arguments.replace):
        sys.stdout.write(f"{folder.path(VIDEO)} is done already\n")
        return True
    engine = spec.build(_gpus(), batch)
    try:
        report = _made(one, engine, folder, arguments)
    finally:
        engine.stop()
    if report.state != DONE:
        raise RuntimeError(f"Row {one.id} failed: {report.error}")
    judge(batch, one.id)
    cost = "" if report.cost is None else f", cost {report.cost:.2f}"
    sys.stdout.write(f"wrote {folder.path(VIDEO)}, {duration(report.gpu_seconds)} of GPU time{cost}\n")
    return True


def _is_done(row: Row, folder: RowFolder, *, replace: bool) -> bool:
    """ValueError if it was begun with other inputs; with `replace` that goes to replaced/."""
    report = folder.report()
    if report is None or not report.attempts:
        return False
    fault = other_inputs(row, report)
    if fault and not replace:
        raise ValueError(fault)
    if fault:
        folder.set_aside()
        return False
    return folder.state() == DONE


def _made(row: Row, engine: Engine, folder: RowFolder, arguments: argparse.Namespace) -> RowReport:
    """Attempts until the row is done or the rules say no. One that failed in an earlier task has all attempts again,
    because the person who queued it has asked for it."""
    with folder.locked():  # RuntimeError: somebody makes it, whose report is left alone
        report = folder.report()
        if report is not None and report.attempts and folder.state_of(report) != DONE:
            folder.write(report.again())
    smaller, lines = False, _Lines(row.id)
    while True:
        report = run_row(row, engine, folder, lines.hear, smaller=smaller, price=arguments.gpu_hour_price)
        following = next_step(report, row, arguments.attempts)
        if report.state == DONE or not following.again:
            return report
        pause = f", in {duration(following.pause)}" if following.pause else ""
        lines.say(f"{report.error} Tried again{' with smaller values' if following.smaller else ''}{pause}.")
        if following.new_process:
            engine.stop()
        time.sleep(following.pause)
        smaller = following.smaller


def _gpus() -> tuple[str, ...]:
    """Those that the scheduler has given to this task."""
    return tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))


class _Lines:
    """Progress for a scheduler's log."""

    def __init__(self, id: str) -> None:
        self._id, self._told, self._stage = id, 0.0, ""

    def hear(self, at: Position) -> None:
        now = time.monotonic()
        if at.stage != self._stage or now - self._told >= _PAUSE:
            self._told, self._stage = now, at.stage
            where = f", segment {at.segment} of {at.segments}" if at.segment else ""
            step = f", step {at.step} of {at.steps}" if at.steps and at.step else ""
            left = f", about {duration(at.left)} left" if at.left is not None else ""
            self.say(f"{at.stage}{where}{step}{left}")

    def say(self, text: str) -> None:
        sys.stderr.write(f"{self._id}: {text}\n")
        sys.stderr.flush()
