"""What runs in a worker's process: one engine on one share of the GPUs, kept from row to row."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import ray

from .engine import COMFYUI, COMMAND_LINE, Engine, EngineSpec
from .events import Event, Position
from .failures import RowError, next_step
from .folders import BATCH, BatchFolder
from .manifest import Row
from .report import DONE, RowReport
from .row import run_row

_THREADS = "OMP_NUM_THREADS"


def kind_of(row: Row) -> str:
    """Of the engine that a row needs."""
    return COMMAND_LINE if row.workflow is None else COMFYUI


@dataclass(frozen=True)
class Orders:
    """What every worker of a batch is told. root: the batch's folder. specs: by kind of engine. price: of an hour of a
    GPU. share: how many GPUs a row has. threads: that the user wants in a process, None for as many as there are
    cores."""

    root: Path
    specs: Mapping[str, EngineSpec]
    price: float | None
    attempts: int
    share: float
    threads: str | None = field(default_factory=lambda: os.environ.get(_THREADS))


@dataclass(frozen=True)
class Place:
    """Where a worker is. making: the row that it is making, None if it is free."""

    host: str
    node: str
    gpus: tuple[str, ...]
    making: str | None


@dataclass(frozen=True)
class Made:
    """What became of a row; exactly one is there. untried, refused: sentences, why it was not begun: because of the
    worker, or of the row. held: another process makes it."""

    report: RowReport | None = None
    untried: str = ""
    refused: str = ""
    held: bool = False


class RowActor:
    """Makes one row at a time; its other methods answer meanwhile."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._engine: Engine | None = None
        self._kind = ""
        self._making: str | None = None
        self._position: Position | None = None
        self._stopped = False

    def make(self, row: Row, smaller: bool) -> Made:
        self._making, self._position = row.id, Position(row.id)
        self._take_back_threads()
        try:
            return self._made(row, smaller)
        finally:
            self._making = self._position = None

    @ray.method(concurrency_group="watch", max_task_retries=-1)
    def place(self) -> Place:
        context = ray.get_runtime_context()
        return Place(socket.gethostname(), context.get_node_id(), tuple(context.get_accelerator_ids()["GPU"]),
                     self._making)

    @ray.method(concurrency_group="watch")
    def position(self) -> Position | None:
        return self._position

    @ray.method(concurrency_group="watch")
    def stop(self) -> None:
        self._stopped = True
        if self._engine is not None:
            self._engine.stop()

    def _take_back_threads(self) -> None:
        """Ray leaves an actor one thread to compute with, which the engine's process would inherit: pictures, masks and
        videos are encoded on the CPU."""
        os.environ.pop(_THREADS, None)
        if self._orders.threads is not None:
            os.environ[_THREADS] = self._orders.threads

    def _made(self, row: Row, smaller: bool) -> Made:
        root = self._orders.root
        if not (root / BATCH).is_file():
            return Made(untried=f"The batch's folder {root} is not there on {socket.gethostname()}: put it on a disk "
                                "that all machines share, under the same path.")
        batch = BatchFolder(root)
        folder = batch.row(row.id)
        try:
            engine = self._engine_for(kind_of(row), batch)
            engine.start(self._heard)
            report = run_row(row, engine, folder, self._hear, smaller=smaller, price=self._orders.price,
                             share=self._orders.share)
        except RowError as error:
            return Made(untried=error.text)
        except RuntimeError as error:
            return Made(held=True) if folder.held() else Made(refused=str(error))
        if report.state != DONE and next_step(report, row, self._orders.attempts).new_process:
            engine.stop()
        return Made(report)

    def _engine_for(self, kind: str, batch: BatchFolder) -> Engine:
        """The engine that is there, or another in its place: two would share a GPU's memory."""
        if self._engine is None or kind != self._kind:
            if self._engine is not None:
                self._engine.stop()
            gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
            self._engine, self._kind = self._orders.specs[kind].build(gpus, batch), kind
        if self._stopped:
            raise RuntimeError("The batch was stopped.")
        return self._engine

    def _hear(self, position: Position) -> None:
        self._position = position

    def _heard(self, told: Event) -> None:
        """Of an engine that starts."""
        with suppress(KeyError):
            self._position = Position(self._making or "", stage=told["stage"])
