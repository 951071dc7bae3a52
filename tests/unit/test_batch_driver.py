"""The driver with a clock of the test's own: what it gives out, what it makes of each end, when it gives up."""

from collections import deque
from pathlib import Path

import pytest
from simulated_workers import Clock, SimulatedWorkers, StoredBatch, World

from scail_model.batch.driver import Tell, run_batch
from scail_model.batch.failures import Kind, next_step
from scail_model.batch.folders import BatchFolder
from scail_model.batch.manifest import Row
from scail_model.batch.report import DONE, FAILED, RUNNING, Attempt, RowReport
from scail_model.batch.workers import Ended


def a_row(id: str, workflow: str | None = None, smaller: bool = False) -> Row:
    return Row(id, id, Path(workflow) if workflow else None, {}, {"width": 1} if smaller else {}, "", Path())


class Heard(Tell):
    def __init__(self):
        self.said, self.made_ids, self.shown = [], [], []

    def say(self, text):
        self.said.append(text)

    def made(self, report):
        self.made_ids.append(report.id)

    def show(self, standing):
        self.shown.append(standing)


class Scripted:
    """Workers that do what a test says, in 10 seconds each. script: by row, how its attempts end: "done", Kinds,
    "lost" in the middle of it, "lost before", "answer lost" after it was done, "untried", "refused", "held",
    "unwritten" on a full disk, "never written" on one that was full before. broken workers begin nothing, bad ones fail
    everything."""

    def __init__(self, folder: BatchFolder, script: dict, workers: int = 1, broken: tuple = (), bad: tuple = ()):
        self.folder, self.script = folder, {id: deque(ends) for id, ends in script.items()}
        self.broken, self.bad = broken, bad
        self.clock, self.started, self.dismissed, self.stopped = Clock(), [], [], 0
        self.idle = [f"w{number}" for number in range(workers)]
        self.busy: list[tuple[float, str, str, bool]] = []

    def free(self):
        return list(self.idle)

    def coming(self):
        return 0

    def start(self, worker, row, *, smaller):
        self.idle.remove(worker)
        self.started.append((round(self.clock.now), row.id, smaller))
        self.busy.append((self.clock.now + (0.1 if worker in self.broken else 10.0), worker, row.id, smaller))

    def wait(self, seconds):
        if not self.busy or min(self.busy)[0] > self.clock.now + seconds:
            self.clock.now += seconds
            return []
        self.busy.sort()
        self.clock.now, worker, id, smaller = self.busy.pop(0)
        self.idle.append(worker)
        return [self.ended(worker, id, smaller)]

    def ended(self, worker, id, smaller):
        if worker in self.broken:
            return Ended(id, worker, untried=f"{worker} has no CUDA: look at its driver.")
        end = self.script[id].popleft() if self.script.get(id) else Kind.GPU if worker in self.bad else "done"
        if end in ("untried", "refused"):
            return Ended(id, worker, **{end: f"{end}: do something."})
        if end == "held":
            return Ended(id, worker, held=True)
        if end == "lost before":
            return Ended(id, worker, lost="The worker died.")
        self.folder.row(id).folder.mkdir(parents=True, exist_ok=True)
        report = (self.folder.row(id).report() or RowReport(id)).begun(
            Attempt("2026-11-30T00:00:00+00:00", "here", 1, "scripted", ("0",), smaller, RUNNING, gpu_seconds=10.0))
        if end in ("done", "answer lost"):
            report = report.changed(state=DONE)
            self.folder.row(id).path("video.mp4").touch()
        elif isinstance(end, Kind):
            report = report.changed(state=FAILED, kind=end, error=f"It failed ({end.value}).")
        if end != "never written":
            self.folder.row(id).write(report)
        if end in ("unwritten", "never written"):
            report = report.changed(state=FAILED, kind=Kind.DISK, error="It failed (disk).")
        lost = "The worker died." if "lost" in str(end) else ""
        return Ended(id, worker, 10.0, None if lost else report, lost=lost)

    def seen(self, most):
        return []

    def dismiss(self, worker):
        self.idle.remove(worker)
        self.dismissed.append(worker)

    def finish(self, seconds):
        return 0

    def stop(self):
        self.stopped += 1


@pytest.fixture
def folder(tmp_path):
    return BatchFolder(tmp_path / "batch")


def run(folder, script, workers=1, rows=None, estimates=None, attempts=3, broken=(), bad=()):
    rows = rows or [a_row(id) for id in script]
    scripted, heard = Scripted(folder, script, workers, broken, bad), Heard()
    summary = run_batch(rows, scripted, folder, attempts=attempts, estimates=estimates or {}, clock=scripted.clock,
                        tell=heard)
    assert scripted.stopped == 1
    return summary, scripted, heard


@pytest.mark.parametrize(("ends", "starts", "done"), [
    (["done"], 1, True),
    ([Kind.PROCESS, Kind.GPU, "done"], 3, True),
    ([Kind.PROCESS] * 3, 3, False),
    ([Kind.INPUTS], 1, False),
    ([Kind.NAN, "done"], 2, True),
    ([Kind.NAN, Kind.NAN], 2, False),
    ([Kind.MEMORY], 1, False),
    ([Kind.STOPPED, "done"], 2, True),
    (["lost", "done"], 2, True),
    (["lost", "lost", "lost"], 3, False),
    (["lost before", "done"], 2, True),
    (["answer lost"], 1, True),
    (["untried", "done"], 2, True),
    (["refused"], 1, False),
    (["held", "done"], 2, True),
], ids=str)
def test_what_becomes_of_a_row(folder, ends, starts, done):
    summary, workers, heard = run(folder, {"a": ends})
    assert len(workers.started) == starts
    assert (summary.done, len(summary.failed), summary.left) == (int(done), int(not done), 0)
    assert heard.made_ids == ["a"] * done
    assert done or summary.failed["a"]


def test_out_of_memory_is_tried_with_the_smaller_values_and_only_where_there_are_some(folder):
    rows = [a_row("a", smaller=True), a_row("b")]
    summary, workers, _ = run(folder, {"a": [Kind.MEMORY, Kind.PROCESS, "done"], "b": [Kind.MEMORY]}, rows=rows)
    assert [smaller for _, id, smaller in workers.started if id == "a"] == [False, True, True]
    assert (summary.done, list(summary.failed)) == (1, ["b"])


def test_the_longest_row_is_first_and_rows_of_a_workflow_stay_together(folder):
    rows = [a_row("a1", "a.json"), a_row("b1", "b.json"), a_row("a2", "a.json"), a_row("b2", "b.json")]
    estimates = {"a1": 1.0, "a2": 5.0, "b1": 2.0, "b2": 9.0}
    _, workers, _ = run(folder, {}, rows=rows, estimates=estimates)
    assert [id for _, id, _ in workers.started] == ["b2", "b1", "a2", "a1"]


def test_a_worker_that_cannot_start_does_not_eat_the_rows(folder):
    summary, workers, heard = run(folder, {f"r{number}": [] for number in range(40)}, workers=3, broken=("w1",))
    assert (summary.done, summary.failed, summary.ended) == (40, {}, "")
    assert len(workers.started) <= 44, "three starts, then it rests"
    assert [text for text in heard.said if "rests" in text] == [
        "w1 rests for 10 minutes, after 3 failures in a row: w1 has no CUDA: look at its driver."]


def test_a_batch_ends_when_every_worker_only_fails(folder):
    summary, workers, _ = run(folder, {f"r{number}": [] for number in range(100)}, workers=2, broken=("w0", "w1"))
    assert summary.ended.endswith("has no CUDA: look at its driver.")
    assert (summary.done, summary.failed, summary.left, len(workers.started)) == (0, {}, 100, 6)


def test_a_gpu_that_fails_every_row_does_not_fail_the_batch(folder):
    script = {f"r{number}": [Kind.GPU] for number in range(100)}
    summary, workers, _ = run(folder, script, workers=1)
    assert summary.ended == "It failed (gpu)."
    assert (len(workers.started), summary.failed, summary.left) == (3, {}, 100)


def test_a_row_that_failed_with_one_worker_goes_to_another_one(folder):
    summary, workers, heard = run(folder, {f"r{number}": [] for number in range(20)}, workers=3, bad=("w1",))
    assert (summary.done, summary.failed) == (20, {})
    assert len(workers.started) == 23, "three rows have met the bad one"
    assert sum("rests" in text for text in heard.said) == 1


@pytest.mark.parametrize(("made", "again"), [(0, False), (1, True)], ids=["at once", "after a segment"])
def test_attempts_that_came_further_do_not_count(made, again):
    attempts = tuple(Attempt("", "spot", 1, "comfyui", state=FAILED, kind=Kind.PROCESS, made=made) for _ in range(9))
    step = next_step(RowReport("a", state=FAILED, attempts=attempts), a_row("a"), 3)
    assert (step.again, step.new_process) == (again, again)


def test_one_row_that_kills_its_worker_is_the_row_s_fault(folder):
    summary, _, heard = run(folder, {"poison": ["lost"] * 3, "a": [], "b": []}, workers=1)
    assert (summary.done, list(summary.failed)) == (2, ["poison"])
    assert not any("rests" in text for text in heard.said)


def test_a_full_disk_stops_giving_out_and_then_the_batch(folder):
    script = {f"r{number}": [Kind.DISK] * 3 for number in range(50)}
    summary, workers, heard = run(folder, script, workers=2)
    assert summary.ended == "It failed (disk)."
    assert summary.left + len(summary.failed) == 50
    assert len(workers.started) <= 8, "each worker once, and once after each pause"
    assert [text for text in heard.said if "no row is begun" in text] == [
        f"The disk is full: no row is begun for {seconds} s." for seconds in (60, 120, 240)]


def test_what_a_full_disk_did_not_take_is_written_when_it_has_room(folder):
    run(folder, {"a": ["unwritten", "done"]}, attempts=3)
    assert [attempt.kind for attempt in folder.row("a").report().attempts] == [Kind.DISK, None]
    run(folder, {"b": ["unwritten"]}, attempts=1)
    assert folder.row("b").report().kind is Kind.DISK
    run(folder, {"c": ["never written", "done"]}, attempts=3)
    assert [attempt.kind for attempt in folder.row("c").report().attempts] == [Kind.DISK, None]


def test_a_disk_with_room_again_is_no_reason_to_stop(folder):
    summary, workers, _ = run(folder, {"a": [Kind.DISK, "done"], "b": ["done"], "c": ["done"]}, workers=1)
    assert (summary.done, summary.left, summary.ended) == (3, 0, "")
    assert workers.started[1][0] == 70, "nothing is given out before the pause is over"


def test_workers_are_sent_home_when_nothing_waits(folder):
    _, workers, _ = run(folder, {"a": [], "b": [Kind.PROCESS, "done"]}, workers=5)
    assert len(workers.dismissed) == 3, "one stays beside the one that is at work"
    assert len({id for _, id, _ in workers.started}) == 2


def test_something_is_told_at_least_every_twenty_seconds(folder):
    scripted, times = Scripted(folder, {"a": [Kind.DISK, "done"]}), [0.0]
    tell = Heard()
    tell.show = lambda standing: times.append(scripted.clock.now)
    run_batch([a_row("a")], scripted, folder, attempts=3, estimates={}, clock=scripted.clock, tell=tell)
    assert max(after - before for before, after in zip(times, times[1:], strict=False)) <= 20
    assert len(times) > 3


def test_an_interruption_stops_the_workers_and_goes_through(folder):
    scripted = Scripted(folder, {})
    scripted.wait = lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_batch([a_row("a")], scripted, folder, attempts=3, estimates={}, clock=scripted.clock, tell=Tell())
    assert scripted.stopped == 1


def simulated(tmp_path, world, rows, seed=0):
    clock = Clock()
    folder = StoredBatch(tmp_path / "simulated")
    workers = SimulatedWorkers(world, rows, folder, clock, seed=seed)
    folder.attach(workers)
    summary = run_batch([a_row(id) for id in rows], workers, folder, attempts=3, clock=clock, tell=Tell(),
                        estimates={id: sum(seconds) for id, seconds in rows.items()})
    return summary, workers


def test_a_simulated_cluster_loses_no_row_and_makes_nothing_twice(tmp_path):
    """The small twin of tests/bench/batch_scale.py, with far more deaths."""
    rows = {f"r{number}": [100.0 + number] * (1 + number % 5) for number in range(120)}
    world = World(gpus=16, node=4, deaths=2.0, weights=10.0)
    summary, workers = simulated(tmp_path, world, rows)
    assert (summary.done, summary.failed, summary.left) == (120, {}, 0)
    assert workers.deaths > 3
    assert set(workers.done.values()) == {1}
    assert len(workers.done) == 120
    assert workers.made == {(id, number): 1 for id, seconds in rows.items() for number in range(len(seconds))}
    assert workers.useful == pytest.approx(sum(map(sum, rows.values())))
    lost = sum(workers.lost.values())
    assert 0 < lost < 0.25 * workers.useful
    work, longest = sum(map(sum, rows.values())) / 16, max(map(sum, rows.values()))
    assert work < workers.clock.now < 1.6 * work + longest
