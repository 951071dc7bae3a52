"""A cluster that is not there, for the real driver: its rows take the time that they would, by a clock of its own.

GPUs die and come back, in groups of a node; their rows' finished segments are kept, their reports say "running", and
their locks seem to be held for a while. Storage answers after a while too, and models are loaded over a bus that all
nodes share. The folder is a real one.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scail_model.batch.events import Position
from scail_model.batch.folders import BatchFolder, RowFolder
from scail_model.batch.manifest import Row
from scail_model.batch.report import DONE, Attempt, RowReport
from scail_model.batch.workers import Ended, Seen


@dataclass(frozen=True)
class World:
    """What a cluster is like. Seconds where nothing else is said.

    node: GPUs that die together, and have one cache of files; cached: whether that holds the models, so that a node
    reads them once. deaths: share of the GPUs that die in an hour. away: until one is back, from and to.
    noticed: until Ray knows that a worker is gone. stale: until the lock of a dead host is free. start: of a process,
    before models are read. weights: GiB of the models of a row; disk: GiB/s from shared storage, all GPUs together;
    link: GiB/s of one node. request: of one call to storage. requests: calls of a row, and of each segment, in which a
    GPU waits. beside: a row's seconds outside of its segments: inputs checked and copied, sound, parts joined. call: of
    the driver, for one call of a worker.
    """

    gpus: int = 1000
    node: int = 8
    deaths: float = 0.01
    away: tuple[float, float] = (180.0, 900.0)
    noticed: float = 30.0
    stale: float = 60.0
    start: float = 25.0
    weights: float = 33.0
    disk: float = 20.0
    link: float = 2.0
    request: float = 0.005
    requests: tuple[int, int] = (60, 12)
    beside: float = 3.0
    cached: bool = True
    call: float = 0.0


@dataclass
class Clock:
    """Seconds, moved by the simulation."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class StoredRow(RowFolder):
    """A row whose storage takes its time, and whose lock is held by nobody here."""

    cluster: SimulatedWorkers

    def report(self) -> RowReport | None:
        self.cluster.calls["driver reads"] += 1
        self.cluster.clock.now += self.cluster.world.request
        return super().report()

    def write(self, report: RowReport) -> None:
        self.cluster.calls["driver writes"] += 1
        self.cluster.clock.now += 3 * self.cluster.world.request
        super().write(report)

    def held(self) -> bool:
        self.cluster.calls["driver locks"] += 1
        self.cluster.clock.now += self.cluster.world.request
        return self.cluster.clock.now < self.cluster.held_until.get(self.id, 0.0)


class StoredBatch(BatchFolder):
    def attach(self, cluster: SimulatedWorkers) -> None:
        self.cluster = cluster

    def row(self, id: str) -> RowFolder:
        return StoredRow(self.root, id, self.cluster)


@dataclass
class _Gpu:
    name: str
    node: int
    row: str = ""
    since: float = 0.0
    until: float = 0.0
    warm: bool = False
    there: bool = True
    loading: float = 0.0
    generation: int = 0  # of the process; what was planned for an earlier one does not happen
    segments: list[tuple[int, float]] = field(default_factory=list)  # to be made, and when each is there


class SimulatedWorkers:
    """`Workers` for the driver. rows: seconds of each segment by row. Counts what happened:

    slowness: seconds of the clock for each that the driver itself computes; 0 for a run that is the same every time.
    made: how often each segment was made. done: how often each row. lost: GPU-seconds by what they were lost to.
    useful: those of finished segments. calls: to storage, and for positions. busy_driver: seconds that it computed.
    """

    def __init__(self, world: World, rows: Mapping[str, Sequence[float]], folder: StoredBatch, clock: Clock,
                 *, seed: int = 0, slowness: float = 0.0) -> None:
        self.world, self.clock, self.slowness = world, clock, slowness
        self._rows, self._folder, self._random = rows, folder, random.Random(seed)
        self._gpus = {f"gpu{number}": _Gpu(f"gpu{number}", number // world.node) for number in range(world.gpus)}
        self._free = dict.fromkeys(self._gpus)
        self._events: list[tuple[float, int, str, str, int]] = []  # time, number, what, gpu, generation
        self._number = itertools.count()
        self._bus_until, self._cached = 0.0, {}
        self.kept: dict[str, set[int]] = {}
        self.made: Counter[tuple[str, int]] = Counter()
        self.done: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.held_until: dict[str, float] = {}
        self.useful, self.deaths, self.busy_driver, self.longest_load = 0.0, 0, 0.0, 0.0
        self._handed_over, self._not_its = time.perf_counter(), 0.0  # the second: the driver's waiting for this class
        self._dismissed: dict[str, float] = {}
        for node in sorted({gpu.node for gpu in self._gpus.values()}):
            self._plan_death(node)

    # -- what the driver asks

    def free(self) -> Sequence[str]:
        return list(self._free)

    def coming(self) -> int:
        return sum(not gpu.there for gpu in self._gpus.values())

    def start(self, worker: str, row: Row, *, smaller: bool) -> None:
        began, gpu = time.perf_counter(), self._gpus[worker]
        self.clock.now += self.world.call
        del self._free[worker]
        gpu.row, gpu.since = row.id, self.clock.now
        before = self._folder_report(row.id) or RowReport(row.id)
        attempt = Attempt(_iso(gpu.since), f"node{gpu.node}", 1, "simulated", (worker,), smaller)
        self._write(before.begun(attempt))
        gpu.loading = (0.0 if gpu.warm else self._load(gpu.node))
        ready = self.clock.now + gpu.loading
        each, per_segment = self.world.requests
        ready += self.world.beside / 2 + each * self.world.request
        kept = self.kept.setdefault(row.id, set())
        gpu.segments = []
        for number, seconds in enumerate(self._rows[row.id]):
            if number not in kept:
                ready += seconds + per_segment * self.world.request
                gpu.segments.append((number, ready))
        self.calls["worker"] += each + per_segment * len(gpu.segments)
        gpu.until = ready + self.world.beside / 2
        self._plan(gpu.until, "ended", worker)
        self._not_its += time.perf_counter() - began

    def wait(self, seconds: float) -> Sequence[Ended]:
        taken, self._not_its = time.perf_counter() - self._handed_over - self._not_its, 0.0
        self.busy_driver += taken
        self.clock.now += taken * self.slowness
        until, ended = self.clock.now + seconds, []
        while self._events and self._events[0][0] <= until and not ended:
            at, _, what, name, generation = heapq.heappop(self._events)
            self.clock.now = max(self.clock.now, at)
            ended += self._happens(what, name, generation)
        if not ended:
            self.clock.now = max(self.clock.now, until)
        self._handed_over = time.perf_counter()
        return ended

    def seen(self, most: int) -> Sequence[Seen]:
        busy = [gpu for gpu in self._gpus.values() if gpu.row][:most]
        self.calls["positions"] += len(busy)
        self.clock.now += self.world.call * len(busy)
        return [Seen(gpu.row, gpu.name, Position(gpu.row, "sampling", 1, len(self._rows[gpu.row]), 1, 8, 60.0))
                for gpu in busy]

    def dismiss(self, worker: str) -> None:
        del self._free[worker]
        self._dismissed[worker] = self.clock.now

    def finish(self, seconds: float) -> int:
        return 0

    def stop(self) -> None:
        self.idle = sum(self.clock.now - self._dismissed.get(name, self.clock.now) for name in self._gpus)

    # -- what happens

    def _happens(self, what: str, name: str, generation: int) -> list[Ended]:
        if what == "node":
            self._dies(int(name))
            return []
        gpu = self._gpus[name]
        if what == "back":
            gpu.there = True
            self._free[name] = None
            return []
        if what == "noticed":
            row, gpu.row = gpu.row, ""
            return [Ended(row, name, lost="The worker died.", gpu_seconds=self.clock.now - gpu.since)]
        if gpu.generation != generation:
            return []
        return [self._ends(gpu)]

    def _ends(self, gpu: _Gpu) -> Ended:
        row, seconds = gpu.row, self.clock.now - gpu.since
        self._finish_segments(gpu, self.clock.now)
        work = sum(self._rows[row][number] for number, _ in gpu.segments)
        self.lost["starts and models"] += gpu.loading
        self.lost["checks, storage, sound"] += seconds - work - gpu.loading
        gpu.warm, gpu.row = True, ""
        self.done[row] += 1
        report = self._folder_report(row)
        assert report is not None
        report = report.changed(state=DONE, ended=_iso(self.clock.now), gpu_seconds=round(seconds, 3))
        self._write(report)
        self._free[gpu.name] = None
        return Ended(row, gpu.name, seconds, report)

    def _dies(self, node: int) -> None:
        self._cached.pop(node, None)
        back = self.clock.now + self._random.uniform(*self.world.away)
        for gpu in self._gpus.values():
            if gpu.node != node or not gpu.there or gpu.name in self._dismissed:
                continue
            self.deaths += 1
            gpu.generation += 1
            gpu.there = gpu.warm = False
            self._free.pop(gpu.name, None)
            if gpu.row:
                made = self._finish_segments(gpu, self.clock.now)
                report = self._folder_report(gpu.row)
                assert report is not None
                self._write(report.changed(made=sum(at <= self.clock.now for _, at in gpu.segments)))
                self.lost["broken off"] += self.clock.now - gpu.since - made
                self.held_until[gpu.row] = self.clock.now + self.world.stale
                self._plan(self.clock.now + self.world.noticed, "noticed", gpu.name)
            self._plan(max(back, self.clock.now + self.world.noticed + 1), "back", gpu.name)
        self._plan_death(node)

    def _finish_segments(self, gpu: _Gpu, now: float) -> float:
        """Segments that are there by now, and the seconds that they are worth."""
        made = 0.0
        for number, at in gpu.segments:
            if at <= now:
                self.kept[gpu.row].add(number)
                self.made[gpu.row, number] += 1
                made += self._rows[gpu.row][number]
        self.useful += made
        return made

    def _load(self, node: int) -> float:
        """A process starts and reads its models; the shared storage answers one after the other. Returns seconds."""
        world, ready = self.world, self.clock.now + self.world.start
        if world.cached and node in self._cached:
            there = max(ready, self._cached[node])
        else:
            begin = max(self._bus_until, ready)
            self._bus_until = begin + world.weights / world.disk
            there = self._cached[node] = max(self._bus_until, begin + world.weights / world.link)
        self.longest_load = max(self.longest_load, there + world.weights / world.link - self.clock.now)
        return there + world.weights / world.link - self.clock.now

    def _plan_death(self, node: int) -> None:
        if self.world.deaths:
            self._plan(self.clock.now + self._random.expovariate(self.world.deaths / 3600.0), "node", str(node))

    def _plan(self, at: float, what: str, name: str) -> None:
        generation = self._gpus[name].generation if what != "node" else 0
        heapq.heappush(self._events, (at, next(self._number), what, name, generation))

    def _write(self, report: RowReport) -> None:
        row = RowFolder(self._folder.root, report.id)
        row.folder.mkdir(parents=True, exist_ok=True)
        row.write(report)

    def _folder_report(self, id: str) -> RowReport | None:
        return RowFolder(self._folder.root, id).report()


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
