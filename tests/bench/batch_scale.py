"""A batch far larger than any machine here: the real driver, with workers that only wait.

    python tests/bench/batch_scale.py simulate [--out FILE.json]    clusters of up to 1,000 GPUs, by a clock of its own
    python tests/bench/batch_scale.py ray --actors 24 --rows 400    Ray's actors on this machine, each a process
    python tests/bench/batch_scale.py costs                         GPU time of a minute of video

`simulate` runs `scail_model/batch/driver.py` itself over a folder on a RAM disk. How long rows take comes from the
tables of measurements beside this file; `simulated_workers.World` says what is assumed of the cluster. `ray` finds what
a row and a look at positions cost the driver with real actors, whose rows wait for a moment. Results: docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from simulated_workers import Clock, SimulatedWorkers, StoredBatch, World  # noqa: E402
from waiting_engine import LEDGER, WaitingSpec, waiting_row  # noqa: E402

from scail_model.batch.driver import Standing, Tell, run_batch  # noqa: E402
from scail_model.batch.engine import COMMAND_LINE  # noqa: E402
from scail_model.batch.folders import BatchFolder  # noqa: E402
from scail_model.batch.manifest import Row  # noqa: E402
from scail_model.preflight.budget import DECODING, ENCODING  # noqa: E402
from scail_model.segments import plan_segments  # noqa: E402

RATE = 16  # frames a second of the clips
MINUTE = 60 * RATE
_HOUR, _MIB = 3600.0, 2**20


@dataclass(frozen=True)
class Mode:
    """Seconds of a forward of 81 frames, as measured; forwards of a video's segment."""

    card: str
    name: str
    size: tuple[int, int]
    forward: float
    reckoned: str = ""

    def segment(self, forwards: int) -> float:
        width, height = self.size
        coding = DECODING.seconds(width, height, 81) + ENCODING.seconds(width // 2, height // 2, 81)
        return forwards * self.forward + coding


def modes() -> list[Mode]:
    """Those that were measured, from the tables."""
    found = []
    first, second = json.loads((HERE / "fast_h200.json").read_text())[:2]
    whole = {row["size"]: row["seconds"] for row in json.loads((HERE / "forward_h200.json").read_text())["rows"]}
    for name, width, height in (("512x896x81", 896, 512), ("704x1280x81", 1280, 704)):
        found += [Mode("H200", mode, (width, height), whole[name][mode]) for mode in ("exact", "8-bit")]
        table = first if name.startswith("512") else second
        (row,) = [row for row in table["rows"] if row["size"] == name]
        times = 40 / table["layers"]
        found.append(Mode("H200", "fast", (width, height), times * row["seconds"]["fast"],
                          "" if times == 1 else f"{table['layers']} layers, times {times:g}"))
    for row in json.loads((HERE / "budget_h100.json").read_text())["forward"][:2]:
        found.append(Mode("H100", "exact", (row["width"], row["height"]), 40 * row["seconds_per_layer"],
                          "one layer with PyTorch's attention, times 40"))
    return found


# -- the simulation

BASE = World(weights=42.0, call=0.002)
# what is changed of BASE; forwards of a segment: 8 steps at guidance 1, or 40 steps at guidance 5
SCENARIOS: dict[str, tuple[Mapping[str, object], int]] = {
    "40 steps, guidance 5": ({}, 80),
    "8 steps": ({}, 8),
    "8 steps, models on each node's disk": ({"disk": 1e6, "link": 5.0}, 8),
    "40 steps, no file cache": ({"cached": False}, 80),
    "40 steps, 10 % die in an hour": ({"deaths": 0.1}, 80),
    "40 steps, object store": ({"request": 0.08, "disk": 5.0}, 80),
    "8 steps, object store": ({"request": 0.08, "disk": 5.0}, 8),
    "8 steps, 100 GPUs": ({"gpus": 100}, 8),
}


class Memory(Tell):
    """Notes the driver's memory, in MiB, as rows are made."""

    rows = 50  # of a terminal

    def __init__(self, rows: int) -> None:
        self._process, self._rows, self._made = psutil.Process(), rows, 0
        self.mib: dict[int, float] = {}

    def made(self, report) -> None:
        self._made += 1
        if self._made * 10 % self._rows < 10:
            self.mib[self._made * 100 // self._rows] = self._process.memory_info().rss / _MIB

    def show(self, standing: Standing) -> None:
        pass


def workload(count: int, forwards: int, seed: int = 0) -> dict[str, list[float]]:
    """Seconds of each segment by row: clips of 5 to 60 seconds, exact on an H200 at 512x896."""
    mode, draw = modes()[0], random.Random(seed)
    return {f"row{number:05d}": [mode.segment(forwards)] * len(plan_segments(draw.randint(5 * RATE, MINUTE)))
            for number in range(count)}


def simulated(world: World, rows: Mapping[str, Sequence[float]], *, slowness: float = 1.0) -> dict:
    """Run the driver; returns what came of it, and checks that no row was lost or made twice."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        clock, folder, tell = Clock(), StoredBatch(root), Memory(len(rows))
        workers = SimulatedWorkers(world, rows, folder, clock, slowness=slowness)
        folder.attach(workers)
        began = time.perf_counter()
        summary = run_batch([Row(id, id, None, {}, {}, "", root) for id in rows], workers, folder, attempts=3,
                            estimates={id: sum(seconds) for id, seconds in rows.items()}, clock=clock, tell=tell)
        wall = time.perf_counter() - began
    finally:
        shutil.rmtree(root)
    work = sum(map(sum, rows.values()))
    assert (summary.done, summary.failed, summary.left) == (len(rows), {}, 0)
    assert set(workers.done.values()) == {1}
    assert workers.made == {(id, number): 1 for id, seconds in rows.items() for number in range(len(seconds))}
    held = work + sum(workers.lost.values())
    ideal = max(work / world.gpus, max(map(sum, rows.values())))
    hours = clock.now / _HOUR
    return {
        "rows": len(rows), "gpus": world.gpus, "deaths": workers.deaths, "ideal_hours": round(ideal / _HOUR, 3),
        "hours": round(hours, 3), "over_ideal_percent": round(100 * (clock.now / ideal - 1), 2),
        "lost_percent": {name: round(100 * seconds / held, 3) for name, seconds in workers.lost.items()},
        "lost_percent_all": round(100 * (1 - work / held), 2),
        "longest_load_s": round(workers.longest_load), "driver_cpu_s": round(workers.busy_driver, 1),
        "driver_busy_percent": round(100 * workers.busy_driver / clock.now, 3),
        "driver_reads_per_s": round(workers.calls["driver reads"] / clock.now, 4),
        "position_calls_per_s": round(workers.calls["positions"] / clock.now, 1),
        "storage_calls_per_s": round(workers.calls["worker"] / clock.now, 1),
        "rows_per_s": round(len(rows) / clock.now, 3),
        "driver_mib": {at: round(mib, 1) for at, mib in tell.mib.items()},
        "bench_wall_s": round(wall, 1)}


def simulate(arguments: argparse.Namespace) -> None:
    results = {}
    for name, (changes, forwards) in SCENARIOS.items():
        if arguments.only and arguments.only not in name:
            continue
        world = replace(BASE, **changes)
        results[name] = simulated(world, workload(arguments.rows * world.gpus // BASE.gpus, forwards))
        print(name, json.dumps(results[name]), flush=True)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps({"assumed": vars(BASE), "scenarios": results}, indent=1) + "\n")


# -- Ray's actors, each a process that waits

class Counted(Tell):
    """Notes memory and standings."""

    every, rows = 5.0, 1000

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.mib: list[float] = []
        self.looks: list[float] = []

    def show(self, standing: Standing) -> None:
        self.mib.append(round(self._process.memory_info().rss / _MIB, 1))


def with_ray(arguments: argparse.Namespace) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (HERE.parents[1], HERE)))
    from scail_model.batch.actor import Orders
    from scail_model.batch.cluster import cluster
    from scail_model.batch.ray_workers import RayWorkers

    root = Path(tempfile.mkdtemp())
    folder = BatchFolder(root / "batch")
    rows = [waiting_row(f"row{number:05d}", 2, arguments.seconds / 2) for number in range(arguments.rows)]
    folder.begin({row.id: {} for row in rows}, {})
    times: dict[str, float] = {"waiting": 0.0, "looking": 0.0}

    class Timed(RayWorkers):
        """How long the driver waits for rows, and looks for positions."""

        def wait(self, seconds):
            began = time.perf_counter()
            try:
                return super().wait(seconds)
            finally:
                times["waiting"] += time.perf_counter() - began

        def seen(self, most):
            began = time.perf_counter()
            try:
                return super().seen(most)
            finally:
                times["looking"] = max(times["looking"], time.perf_counter() - began)

    with cluster(root / "ray.log", gpus=arguments.actors):
        workers = Timed(Orders(folder.root, {COMMAND_LINE: WaitingSpec()}, None, 3, 1.0))
        began = time.perf_counter()
        while len(workers.free()) < arguments.actors:
            workers.wait(1.0)
        there, cpu, tell = time.perf_counter() - began, psutil.Process().cpu_times(), Counted()
        times.update(waiting=0.0)
        began = time.perf_counter()
        summary = run_batch(rows, workers, folder, attempts=3, estimates={}, clock=time.monotonic, tell=tell)
        took, after = time.perf_counter() - began, psutil.Process().cpu_times()
    made = [line for line in (folder.root / LEDGER).read_text().splitlines() if not line.startswith("load")]
    assert summary.done == len(rows)
    assert len(made) == len(set(made)) == 2 * len(rows)
    used = after.user + after.system - cpu.user - cpu.system
    print(json.dumps({
        "actors": arguments.actors, "rows": len(rows), "row_seconds": arguments.seconds, "cpus": os.cpu_count(),
        "actors_there_after_s": round(there, 1), "seconds": round(took, 1),
        "ideal_s": round(len(rows) * arguments.seconds / arguments.actors, 1),
        "rows_per_s": round(len(rows) / took, 1), "driver_cpu_ms_a_row": round(1000 * used / len(rows), 2),
        "driver_busy_percent": round(100 * (1 - times["waiting"] / took), 1),
        "longest_look_at_positions_s": round(times["looking"], 3),
        "driver_mib": tell.mib[:: max(1, len(tell.mib) // 8)]}))
    shutil.rmtree(root)


# -- what a minute of video costs

def costs(arguments: argparse.Namespace) -> None:
    segments = len(plan_segments(MINUTE))
    print(f"GPU-minutes for a minute of video ({MINUTE} frames at {RATE} a second, {segments} segments of 81)\n")
    print("| card | mode | size | 8 steps, guidance 1 | 40 steps, guidance 5 | reckoned |\n|---|---|---|---|---|---|")
    for mode in modes():
        eight, forty = (segments * mode.segment(forwards) / 60 for forwards in (8, 80))
        size = f"{mode.size[1]}x{mode.size[0]}"
        print(f"| {mode.card} | {mode.name} | {size} | {eight:.1f} | {forty:.0f} | {mode.reckoned} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("simulate")
    command.add_argument("--rows", type=int, default=10000, help="for 1,000 GPUs")
    command.add_argument("--only", help="scenarios with this in their name")
    command.add_argument("--out", help="file for the results")
    command.set_defaults(run=simulate)
    command = commands.add_parser("ray")
    command.add_argument("--actors", type=int, default=24)
    command.add_argument("--rows", type=int, default=400)
    command.add_argument("--seconds", type=float, default=2.0, help="of each row")
    command.set_defaults(run=with_ray)
    commands.add_parser("costs").set_defaults(run=costs)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
