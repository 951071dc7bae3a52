"""`scail2 batch run` and `retry`: the rows that are not done yet, made by Ray's workers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..batch.actor import Orders, kind_of
from ..batch.checks import Checked
from ..batch.choice import Choice, choose, known
from ..batch.cluster import cluster, refuse_small
from ..batch.driver import Summary, run_batch
from ..batch.engine import EngineSpec
from ..batch.folders import BatchFolder
from ..batch.manifest import Manifest, Row, read_manifest
from ..batch.page import write_page
from ..batch.progress import Progress, spent
from ..batch.ray_workers import RayWorkers
from ..batch.row import other_inputs
from ..batch.verdicts import judge
from ..batch.workflow import fingerprint
from .batch import checked_rows
from .batch_specs import chosen, folder_of, spec_of

_NAMED = 20  # failed rows in the last words; all of them are in the report


def run(arguments: argparse.Namespace) -> bool:
    """Make all rows that wait, were broken off or may be tried again; returns whether all rows are done."""
    return _Command(arguments).run(again=())


def retry(arguments: argparse.Namespace) -> bool:
    """The same, and rows that failed: all of them, or those that are named."""
    command = _Command(arguments)
    return command.run(again=arguments.only or [row.id for row in command.rows])


class _Command:
    """Everything that is known before the first row. ValueError or RuntimeError for what is wrong."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        manifest = read_manifest(Path(arguments.manifest))
        _say(f"{manifest.path}: {len(manifest.rows)} rows are checked")
        self.checked = checked_rows(manifest, arguments)
        self.rows = chosen(manifest, arguments.only)
        _refuse_faults(manifest, self.checked, {row.id for row in self.rows})
        self.all = manifest.rows
        self.specs = _specs(self.rows, arguments)
        self.folder = folder_of(arguments)

    def run(self, again: Collection[str]) -> bool:
        arguments, folder = self.arguments, self.folder
        with folder.locked():
            prints = {row.id: fingerprint(row) for row in self.all}
            settle_others(folder, self.rows, replace=arguments.replace)
            folder.begin({row.id: {"fingerprint": prints[row.id], "values": dict(row.values)} for row in self.all},
                         {"gpu_hour_price": arguments.gpu_hour_price, "attempts": arguments.attempts,
                          "gpus_per_video": arguments.gpus_per_video})
            choice = choose(self.rows, folder, attempts=arguments.attempts, again=again)
            try:
                summary = self._made(choice) if choice.rows else Summary()
            except KeyboardInterrupt:
                with suppress(OSError, RuntimeError):
                    write_page(folder)
                raise
            page = write_page(folder)
        return _last_words(summary, choice, page, arguments.gpu_hour_price)

    def _made(self, choice: Choice) -> Summary:
        arguments = self.arguments
        orders = Orders(self.folder.root.absolute(), self.specs, arguments.gpu_hour_price, arguments.attempts,
                        arguments.gpus_per_video)
        tell = Progress(sys.stderr, total=len(self.rows), before=len(choice.done), gpu_seconds=choice.gpu_seconds,
                        price=arguments.gpu_hour_price)
        _say("Ray is started" if arguments.address is None else f"joining the Ray cluster at {arguments.address}")
        try:
            with cluster(self.folder.root / "ray.log", gpus=arguments.gpus, address=arguments.address):
                refuse_small(arguments.gpus_per_video, address=arguments.address, workers=arguments.workers)
                return run_batch(choice.rows, RayWorkers(orders, most=arguments.workers, beside=judge), self.folder,
                                 attempts=arguments.attempts, estimates=_estimates(self.checked),
                                 clock=time.monotonic, tell=tell, smaller=choice.smaller)
        finally:
            tell.close()


def _refuse_faults(manifest: Manifest, checked: Sequence[Checked], chosen: Collection[str]) -> None:
    faults = [*manifest.faults, *(f"{row.row.place}: {text}" for row in checked
                                  if row.row.id in chosen or row.row not in manifest.rows for text in row.errors)]
    if faults:
        for text in faults[:-1]:
            _say(f"error: {text}")
        more = f" ({len(faults) - 1} more above)" if len(faults) > 1 else ""
        raise ValueError(f"{faults[-1]}{more}")


def _specs(rows: Sequence[Row], arguments: argparse.Namespace) -> Mapping[str, EngineSpec]:
    specs = {kind_of(row): spec_of(row, arguments) for row in rows}
    faults = [] if arguments.address else [fault for spec in specs.values() if (fault := spec.fault())]
    if faults:
        raise ValueError(faults[0])
    return specs


def settle_others(folder: BatchFolder, rows: Sequence[Row], *, replace: bool) -> None:
    """Rows that were begun with other inputs: set aside, or a ValueError that names each."""
    faults = []
    for row, one in zip(rows, known(folder, [row.id for row in rows]), strict=True):
        if one.report is None or not one.report.attempts:
            continue
        fault = other_inputs(row, one.report)
        if fault and replace:
            folder.row(row.id).set_aside()
        elif fault:
            faults.append(fault)
    for text in faults[:-1]:
        _say(f"error: {text}")
    if faults:
        raise ValueError(faults[-1])


def _estimates(checked: Sequence[Checked]) -> dict[str, float | None]:
    return {row.row.id: row.estimate.h200_seconds for row in checked if row.estimate is not None}


def _last_words(summary: Summary, choice: Choice, page: Path, price: float | None) -> bool:
    failed = {**choice.failed, **summary.failed}
    done = len(choice.done) + summary.done
    left = f", {summary.left} not made" if summary.left else ""
    lines = [f"{done} of {done + len(failed) + summary.left} rows done, {len(failed)} failed{left}, "
             f"{spent(choice.gpu_seconds + summary.gpu_seconds, price)}"]
    lines += [f"  {id}: {error}" for id, error in [*failed.items()][:_NAMED]]
    lines += [f"  and {len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
    sys.stdout.write("\n".join([*lines, f"report: {page}"]) + "\n")
    if summary.ended:
        raise RuntimeError(f"{summary.ended} The batch stopped there; the same command goes on.")
    return not failed and not summary.left


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
