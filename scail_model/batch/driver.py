"""The loop over the rows of a batch: gives rows to workers, and decides what happens after each.

The only loop there is: `scail2 batch run` has Ray's workers and the machine's clock in it, a simulation others. It
knows nothing that the batch's folder does not know, so it can be killed at any moment and begun again.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from .failures import FULL_PAUSE, Kind, next_step
from .folders import BatchFolder
from .health import Health
from .manifest import Row
from .pace import Pace, in_order
from .report import DONE, RUNNING, RowReport
from .workers import Ended, Seen, Workers

_PASSED_OVER = 8  # rows at most, in the search for one that a worker has not just failed with
_HELD = 30.0  # seconds until a row that another process makes is looked at again
_FULL = 3  # how often a full disk is waited for, each time twice as long


@dataclass
class Summary:
    """What came of a run. failed: sentences by row. left: rows that were neither made nor failed. ended: why the run
    stopped early, in a sentence; "" if it did not."""

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0
    gpu_seconds: float = 0.0
    ended: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a run has come. left: seconds, None before anything is known. running: rows that are being made,
    of which some are seen. coming: workers that are not there yet."""

    done: int
    failed: int
    rows: int
    gpu_seconds: float
    left: float | None
    running: int
    seen: Sequence[Seen]
    coming: int


class Tell:
    """What is told while a batch runs; this one is silent. every: seconds between two words about how things stand.
    rows: how many rows these show."""

    every, rows = 15.0, 0

    def say(self, text: str) -> None:
        """Something has happened, in a line."""

    def made(self, report: RowReport) -> None:
        """A row is done."""

    def show(self, standing: Standing) -> None:
        """How things stand."""


def run_batch(rows: Sequence[Row], workers: Workers, folder: BatchFolder, *, attempts: int,
              estimates: Mapping[str, float | None], clock: Callable[[], float], tell: Tell,
              smaller: Collection[str] = ()) -> Summary:
    """Make rows, the longest first, until each is done or has failed.

    attempts: the most that a row has. estimates: seconds by row, None where they are not known. clock: seconds, as
    `workers.wait` passes them. smaller: rows that begin with their smaller values. The workers are stopped in the end,
    however it comes; KeyboardInterrupt goes through.
    """
    try:
        return _Run(rows, workers, folder, attempts, estimates, clock, tell, smaller).run()
    finally:
        workers.stop()


class _Run:
    def __init__(self, rows: Sequence[Row], workers: Workers, folder: BatchFolder, attempts: int,
                 estimates: Mapping[str, float | None], clock: Callable[[], float], tell: Tell,
                 smaller: Collection[str]) -> None:
        self._rows = {row.id: row for row in rows}
        self._workers, self._folder, self._attempts = workers, folder, attempts
        self._clock, self._tell = clock, tell
        # id, and whether it is made with its smaller values
        self._waiting = deque((row.id, row.id in smaller) for row in in_order(rows, estimates))
        self._later: list[tuple[float, str, bool]] = []  # the same with a time before it: a heap
        self._running: dict[str, bool] = {}
        self._failed_with: dict[str, str] = {}  # the worker with which a row was tried last
        self._doubtful: dict[str, str] = {}  # rows that somebody else may have made since, and what was said of them
        self._pace, self._health = Pace(self._rows, estimates), Health()
        self._full, self._full_until = 0, 0.0
        self._unwritten: dict[str, RowReport] = {}  # reports that a full disk did not take
        self._summary, self._told = Summary(), clock()

    def run(self) -> Summary:
        while self._waiting or self._later or self._running:
            self._give_out()
            self._summary.ended = self._summary.ended or self._hopeless()
            if self._summary.ended and not self._running:
                break
            for ended in self._workers.wait(self._patience()):
                self._take(ended)
            if self._clock() - self._told >= self._tell.every:
                self._told = self._clock()
                self._tell.show(self._standing())
        for id in [*self._unwritten]:
            self._write(id)
        while left := self._workers.finish(self._tell.every):
            self._say(f"{left} finished videos are still looked at.")
        self._summary.left = len(self._rows) - self._summary.done - len(self._summary.failed)
        return self._summary

    def _give_out(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            _, id, smaller = heapq.heappop(self._later)
            self._waiting.appendleft((id, smaller))
        if self._summary.ended or now < self._full_until:
            return
        free = [worker for worker in self._workers.free() if self._health.ready(worker, now)]
        while free and self._waiting:
            id, smaller = self._next_for(free[0])
            if id in self._doubtful and not self._is_ours(id, smaller):
                continue
            self._write(id)
            self._workers.start(free.pop(0), self._rows[id], smaller=smaller)
            self._running[id] = smaller
            self._pace.begins(id, now)
        if not self._waiting:
            for worker in free[max(1, len(self._later)):]:  # one stays for a row that fails with its worker
                self._workers.dismiss(worker)

    def _next_for(self, worker: str) -> tuple[str, bool]:
        """The first row, but for those that have just failed with this worker: one broken GPU would have all of a row's
        attempts."""
        for place, (id, smaller) in enumerate(itertools.islice(self._waiting, _PASSED_OVER)):
            if self._failed_with.get(id) != worker:
                del self._waiting[place]
                return id, smaller
        return self._waiting.popleft()

    def _is_ours(self, id: str, smaller: bool) -> bool:
        """Whether a row that was lost, or another's, is to be given out. Its folder knows."""
        lost, row = self._doubtful.pop(id), self._folder.row(id)
        report = self._report(id)
        if report is None or report.last is None or report.state not in (DONE, RUNNING):
            return True
        if report.state == DONE:
            self._done(report)
        elif row.held():
            self._wait_for_another(id, smaller, lost)
        else:
            self._failed(self._broken_off(report, lost, 0.0))
        return False

    def _take(self, ended: Ended) -> None:
        id, smaller = ended.row, self._running.pop(ended.row)
        if ended.lost:
            ended = self._found(ended)
        if ended.report is not None:
            self._attempted(ended, ended.report)
        elif ended.held:
            self._wait_for_another(id, smaller, ended.lost)
        elif ended.refused:
            self._give_up(id, ended.refused)
        else:
            self._pace.waits(id)
            self._waiting.appendleft((id, smaller))
            self._say(self._health.not_started(ended.worker, ended.untried, self._clock()))

    def _found(self, ended: Ended) -> Ended:
        """What the folder knows of a row whose worker died. The attempt counts, so that a row that kills its workers
        comes to an end."""
        report = self._report(ended.row)
        if report is not None and report.state == DONE:  # only the answer was lost
            return replace(ended, report=report)
        if report is None or report.state != RUNNING:  # it was not begun
            return replace(ended, untried=ended.lost)
        if self._folder.row(ended.row).held():  # the worker was cut off, or is on a machine that seems to be alive
            return replace(ended, held=True)
        return replace(ended, report=self._broken_off(report, ended.lost, ended.gpu_seconds))

    def _broken_off(self, report: RowReport, why: str, seconds: float) -> RowReport:
        report = report.lost(why)
        if report.last is not None and report.last.gpu_seconds < seconds:
            report = report.changed(gpu_seconds=round(seconds, 3))
        with suppress(RuntimeError):  # a full disk: the next attempt writes it
            self._folder.row(report.id).write(report)
        return report

    def _report(self, id: str) -> RowReport | None:
        with suppress(RuntimeError):  # damaged: the row is made once more, and says so
            return self._folder.row(id).report()
        return None

    def _attempted(self, ended: Ended, report: RowReport) -> None:
        self._summary.gpu_seconds += report.last.gpu_seconds if report.last else 0.0
        if report.state == DONE:
            self._health.well(ended.worker)
            self._full = 0
            self._done(report)
        else:
            if report.kind in (Kind.PROCESS, Kind.GPU):
                self._failed_with[report.id] = ended.worker
                self._say(self._health.failed(ended.worker, report.id, report.error or "", self._clock()))
            self._failed(report)

    def _done(self, report: RowReport) -> None:
        self._summary.done += 1
        self._pace.ends(report.id, self._clock(), made=True)
        self._tell.made(report)

    def _failed(self, report: RowReport) -> None:
        id, error = report.id, report.error or "It failed."
        step, pause = next_step(report, self._rows[id], self._attempts), 0.0
        if report.kind is Kind.DISK:
            self._unwritten[id], pause = report, self._no_room(error)
        if not step.again:
            self._give_up(id, error)
            return
        self._pace.waits(id)
        heapq.heappush(self._later, (self._clock() + pause, id, step.smaller))
        smaller = " with its smaller values" if step.smaller and not report.smaller else ""
        self._say(f"{id} is tried again{smaller}: {error}")

    def _write(self, id: str) -> None:
        """The report of a row that failed on a full disk, unless it is there."""
        if id not in self._unwritten:
            return
        report, there = self._unwritten.pop(id), self._report(id)
        known = 0 if there is None else len(there.attempts) - (there.state == RUNNING)
        if known < len(report.attempts):
            with suppress(RuntimeError):
                self._folder.row(id).write(report)

    def _give_up(self, id: str, error: str) -> None:
        self._pace.ends(id, self._clock(), made=False)
        self._summary.failed[id] = error
        self._say(f"{id} failed: {error}")

    def _wait_for_another(self, id: str, smaller: bool, why: str) -> None:
        self._doubtful[id] = why or "The process that made it is gone."
        self._pace.waits(id)
        heapq.heappush(self._later, (self._clock() + _HELD, id, smaller))

    def _no_room(self, error: str) -> float:
        """The disk is full: nothing is given out for a while. Returns seconds."""
        now = self._clock()
        if now >= self._full_until:  # else it is one of those that ran when it became full
            self._full += 1
            if self._full > _FULL:
                self._summary.ended = error
                return 0.0
            self._full_until = now + FULL_PAUSE * 2 ** (self._full - 1)
            self._say(f"The disk is full: no row is begun for {self._full_until - now:.0f} s.")
        return self._full_until - now

    def _hopeless(self) -> str:
        """Why nothing can be made any more."""
        if self._running or self._workers.coming() or not (self._waiting or self._later):
            return ""
        return self._health.hopeless(self._workers.free(), self._clock())

    def _patience(self) -> float:
        """Seconds until something is due."""
        now = self._clock()
        due = [self._told + self._tell.every, *([self._later[0][0]] if self._later else [])]
        if self._waiting:
            due += [*self._health.due(now), *([self._full_until] if self._full_until > now else [])]
        return max(0.05, min(due) - now)

    def _standing(self) -> Standing:
        there = len(self._workers.free()) + len(self._running)
        return Standing(self._summary.done, len(self._summary.failed), len(self._rows), self._summary.gpu_seconds,
                        self._pace.left(self._clock(), there), len(self._running),
                        self._workers.seen(self._tell.rows), self._workers.coming())

    def _say(self, text: str) -> None:
        if text:
            self._tell.say(text)
