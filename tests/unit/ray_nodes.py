"""A batch on a Ray cluster of two nodes, both on this machine: one comes later and is killed, a third comes. Used by
test_batch_nodes.py; prints, as JSON, how many rows were done and how many processes of how many nodes made them.

    RAY_AUTH_MODE=token RAY_AUTH_TOKEN=... python ray_nodes.py FOLDER PORT
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "bench")]

from waiting_engine import LEDGER, WaitingSpec, waiting_row  # noqa: E402

from scail_model.batch import ray_workers  # noqa: E402
from scail_model.batch.actor import Orders  # noqa: E402
from scail_model.batch.cluster import cluster  # noqa: E402
from scail_model.batch.driver import Tell, run_batch  # noqa: E402
from scail_model.batch.engine import COMMAND_LINE  # noqa: E402
from scail_model.batch.folders import BatchFolder  # noqa: E402

ROWS = 24


class Rows(Tell):
    """Lets others wait until so many rows are done."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def made(self, report) -> None:
        self.done.append(report.last.pid)

    def wait_for(self, what) -> None:
        while not what():
            time.sleep(0.05)


def node(*more: str) -> subprocess.Popen:
    return subprocess.Popen([Path(sys.executable).parent / "ray", "start", "--num-gpus", "1", "--num-cpus", "1",
                             "--object-store-memory", str(80 * 2**20), "--block", *more],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(process: subprocess.Popen) -> None:
    """A node and all that runs on it."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def change(tell: Rows, address: str, nodes: list[subprocess.Popen]) -> None:
    tell.wait_for(lambda: len(tell.done) >= 1)
    nodes.append(node("--address", address))
    tell.wait_for(lambda: len(set(tell.done)) == 2)
    kill(nodes[1])
    nodes.append(node("--address", address))


def main(folder: Path, port: str) -> None:
    ray_workers._GROWS = 1.0
    batch, tell = BatchFolder(folder), Rows()
    rows = [waiting_row(f"r{number}", 3, 0.6) for number in range(ROWS)]
    batch.begin({row.id: {} for row in rows}, {})
    nodes = [node("--head", "--port", port, "--include-dashboard", "false")]
    address = f"127.0.0.1:{port}"
    try:
        for left in range(30, -1, -1):
            try:
                with cluster(folder / "ray.log", address=address):
                    threading.Thread(target=change, args=(tell, address, nodes), daemon=True).start()
                    workers = ray_workers.RayWorkers(Orders(folder, {COMMAND_LINE: WaitingSpec()}, None, 3, 1.0))
                    summary = run_batch(rows, workers, batch, attempts=3, estimates={}, clock=time.monotonic, tell=tell)
                break
            except RuntimeError:  # the head is not up yet
                if not left:
                    raise
                time.sleep(1.0)
    finally:
        for one in nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                kill(one)
    made = [line for line in (folder / LEDGER).read_text().splitlines() if not line.startswith("load")]
    sys.stdout.write(json.dumps({"done": summary.done, "processes": len(set(tell.done)), "segments": len(made),
                                 "different": len(set(made))}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
