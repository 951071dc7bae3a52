"""The real driver with Ray's actors on two logical GPUs, and an engine whose rows only wait. The slow twin, with
ComfyUI, is tests/host/test_batch_run.py."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from waiting_engine import LEDGER, WaitingSpec, looked_at, waiting_row

from scail_model.batch import driver, health
from scail_model.batch.choice import choose
from scail_model.batch.driver import Tell, run_batch
from scail_model.batch.engine import COMMAND_LINE
from scail_model.batch.failures import Kind
from scail_model.batch.folders import DONE, FAILED, BatchFolder
from scail_model.batch.report import Attempt, RowReport
from scail_model.batch.workflow import fingerprint

ray = pytest.importorskip("ray")

from scail_model.batch.actor import Orders  # noqa: E402
from scail_model.batch.cluster import cluster, refuse_small  # noqa: E402
from scail_model.batch.ray_workers import RayWorkers  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def two_gpus(tmp_path_factory):
    here = Path(__file__).parents[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here / 'tests/bench'}")  # of the workers
        with cluster(tmp_path_factory.mktemp("ray") / "ray.log", gpus=2):
            session = Path("/tmp/ray", ray.get_runtime_context().get_session_name())
            assert not session.parent.exists() or session.is_dir()
            yield
        assert not session.exists(), "nothing of Ray's is left"


class Noting(Tell):
    every, rows = 0.3, 2

    def __init__(self):
        self.said, self.standings = [], []

    def say(self, text):
        self.said.append(text)

    def made(self, report):
        self.said.append(f"{report.id} is made")

    def show(self, standing):
        self.standings.append(standing)


def run(tmp_path, rows, starts=True, beside=None):
    folder, tell = BatchFolder(tmp_path / "batch"), Noting()
    folder.begin({row.id: {} for row in rows}, {})
    orders = Orders(folder.root, {COMMAND_LINE: WaitingSpec(starts)}, 3.6, 3, 1)
    workers = RayWorkers(orders, beside=beside)
    summary = run_batch(rows, workers, folder, attempts=3, estimates={}, clock=time.monotonic, tell=tell)
    return summary, folder, tell


def ledger(folder):
    """How often each segment was made, and how many processes loaded models."""
    lines = (folder.root / LEDGER).read_text().splitlines()
    made = [line for line in lines if not line.startswith("load")]
    return Counter(made), len(lines) - len(made)


def test_rows_are_made_once_whatever_dies(tmp_path, monkeypatch):
    """Eight rows; one kills its worker, one fails in its process, one never stops doing so."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    fails = {0: "kill", 3: "process", 5: "inputs", 6: "kill,kill,kill,kill"}
    rows = [waiting_row(f"r{number}", 3, 0.1, fails.get(number, "")) for number in range(8)]
    summary, folder, tell = run(tmp_path, rows)
    assert (summary.done, sorted(summary.failed), summary.left) == (6, ["r5", "r6"], 0)
    computed_with = {folder.row(row.id).path("computed_with").read_text() for row in rows[:5]}
    assert computed_with == {f"None {psutil.Process().nice()}"}, "all threads, and as much right to them as we have"
    made, loads = ledger(folder)
    assert set(made.values()) == {1}, "finished segments are not made again"
    assert len(made) == 6 * 3 + 2
    assert loads <= 2 + 5, "a model is loaded once by each process"
    assert [folder.row(row.id).state() for row in rows] == [FAILED if row.id in ("r5", "r6") else DONE for row in rows]
    broken = folder.row("r0").report()
    assert [attempt.state for attempt in broken.attempts] == [FAILED, DONE]
    assert "died" in broken.attempts[0].error
    assert broken.attempts[1].kept == 1
    assert {attempt.gpus[0] for row in rows for attempt in folder.row(row.id).report().attempts} == {"0", "1"}
    assert any(standing.seen and standing.seen[0].where.startswith("GPU ") for standing in tell.standings)
    assert sum(text.endswith("is made") for text in tell.said) == 6


def test_videos_that_no_machine_can_carry_are_refused():
    """Ray would wait for ever for a machine that has their GPUs."""
    refuse_small(0.5, address=None, workers=None)
    refuse_small(2, address=None, workers=None)
    refuse_small(3, address="auto", workers=2)  # machines that may still come
    with pytest.raises(RuntimeError, match=r"takes 3 GPUs \(--gpus_per_video\), and this machine has 2: choose a"):
        refuse_small(3, address=None, workers=2)
    with pytest.raises(RuntimeError, match="No machine of the cluster at auto has the 3 GPUs .* add --workers N"):
        refuse_small(3, address="auto", workers=None)


def test_an_engine_that_cannot_be_started_fails_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_BREATH", 0.1)
    summary, folder, _ = run(tmp_path, [waiting_row(f"r{number}") for number in range(20)], starts=False)
    assert summary.ended == "The engine cannot be started: look for another one."
    assert (summary.done, summary.failed, summary.left) == (0, {}, 20)
    assert not folder.rows()


def test_ctrl_c_stops_within_a_second_and_the_next_run_goes_on(tmp_path):
    rows, times = [waiting_row(f"r{number}", 3, 0.8) for number in range(3)], []

    def interrupt():
        while not BatchFolder(tmp_path / "batch").rows():  # workers take seconds to come
            time.sleep(0.05)
        time.sleep(1.2)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, lambda *_: (times.append(time.monotonic()), signal.default_int_handler(*_)))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, rows)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - times[0] < 1.0
    folder = BatchFolder(tmp_path / "batch")
    stopped = [folder.row(row.id).report() for row in rows if folder.row(row.id).report()]
    assert {report.kind for report in stopped} <= {Kind.STOPPED, None}
    assert stopped[0].kind is Kind.STOPPED
    chosen = choose(rows, folder, attempts=3)
    assert len(chosen.rows) >= 2
    summary, folder, _ = run(tmp_path, list(chosen.rows))
    assert (summary.done, summary.failed) == (len(chosen.rows), {})
    assert set(ledger(folder)[0].values()) == {1}
    assert len(ledger(folder)[0]) == 9


def test_a_row_that_may_still_be_made_somewhere_is_not_made_twice(tmp_path, monkeypatch):
    """Its worker was cut off: Ray does not know, but the lock does. It ends while the driver waits."""
    monkeypatch.setattr(driver, "_HELD", 0.5)
    row, folder = waiting_row("a", 1, 0.05), BatchFolder(tmp_path / "batch")
    folder.begin({"a": {}}, {})
    held = threading.Event()

    def cut_off():
        with folder.row("a").locked():
            held.set()
            time.sleep(4.0)
            folder.row("a").path("video.mp4").touch()
            folder.row("a").write(RowReport("a", fingerprint(row)).begun(Attempt("", "afar", 1, "waiting")).changed(
                state=DONE))

    thread = threading.Thread(target=cut_off)
    thread.start()
    held.wait()
    summary, _, _ = run(tmp_path, [row])
    thread.join()
    assert (summary.done, summary.failed) == (1, {})
    assert not (folder.jobs / "a").exists(), "no segment was made"


def test_finished_rows_are_looked_at_beside_the_next_ones(tmp_path):
    summary, folder, _ = run(tmp_path, [waiting_row("a"), waiting_row("b")], beside=looked_at)
    assert summary.done == 2
    assert {folder.row(id).path("looked_at").read_text() for id in "ab"} == {"19 1"}, "by nobody's leave, on one core"
