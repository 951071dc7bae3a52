"""Workers as Ray's actors: Ray places them, starts them again and spreads them over machines."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .actor import Orders, Place, RowActor
from .background import in_background
from .cluster import share_of_gpus
from .folders import DONE, BatchFolder
from .manifest import Row
from .workers import Ended, Seen

_GROWS = 10.0  # seconds between two looks for new machines
_HEARS = 0.2  # seconds; Ray lets Ctrl-C wait for a second otherwise
_AGAIN = 2.0  # seconds until a worker that does not answer is asked again
_ANSWER = 1.0  # seconds that positions may take
_STILLBORN = 3  # workers that could not be built before one was
_LAST = 0.6  # seconds that workers have to end by themselves


@dataclass
class _Worker:
    """asked: a call of `place`, while the worker is coming. task: a call of `make`."""

    name: str
    actor: Any
    asked: Any = None
    task: Any = None
    row: str = ""
    since: float = 0.0
    place: Place | None = None
    ask_at: float = 0.0
    seen: Seen | None = None

    @property
    def free(self) -> bool:
        return self.task is None and self.asked is None and self.place is not None


class RayWorkers:
    """`Workers` for a cluster that is connected.

    most: how many; None for as many as the GPUs of the cluster carry, now and later. beside: called for each row that
    is done, in a task without a GPU, while the next one is made.
    """

    def __init__(self, orders: Orders, *, most: int | None = None,
                 beside: Callable[[BatchFolder, str], None] | None = None) -> None:
        self._orders, self._most = orders, most
        remote: Any = ray.remote  # its types know no concurrency groups
        self._make = remote(concurrency_groups={"watch": 2}, max_restarts=-1, max_task_retries=0, num_cpus=0,
                            num_gpus=orders.share)(RowActor)
        self._beside = beside
        # a process of its own each time: it may be slow, and what is started from a slow one would be too
        self._look = ray.remote(num_cpus=1, max_calls=1, max_retries=1)(in_background)
        self._looking: list[Any] = []
        self._workers: dict[str, _Worker] = {}
        self._leaving: dict[Any, Any] = {}  # actors, by the call that stops their engine
        self._count, self._stillborn, self._grown = 0, 0, float("-inf")
        self._several = False  # hosts
        self._grow()

    def free(self) -> Sequence[str]:
        return [worker.name for worker in self._workers.values() if worker.free]

    def coming(self) -> int:
        return sum(worker.place is None for worker in self._workers.values())

    def start(self, worker: str, row: Row, *, smaller: bool) -> None:
        chosen = self._workers[worker]
        chosen.task, chosen.row, chosen.since = chosen.actor.make.remote(row, smaller), row.id, time.monotonic()
        chosen.seen = Seen(row.id, self._where(chosen), None)

    def wait(self, seconds: float) -> Sequence[Ended]:
        self._grow()
        self._let_go()
        self._ask()
        calls = {call: worker for worker in self._workers.values() for call in (worker.task or worker.asked,) if call}
        again = [worker.ask_at for worker in self._workers.values() if worker.place is None and not worker.asked]
        until = max(0.05, min([seconds, _GROWS, *(at - time.monotonic() for at in again)]))
        if not calls:
            time.sleep(until)
            return []
        end = time.monotonic() + until
        while not ray.wait(list(calls), timeout=min(_HEARS, until))[0]:
            if time.monotonic() >= end:
                return []
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        ended = []
        for call in ready:
            worker = calls[call]
            if call is worker.task:
                ended.append(self._ended(worker))
            else:
                self._answered(worker)
        return ended

    def seen(self, most: int) -> Sequence[Seen]:
        busy = [worker for worker in self._workers.values() if worker.task][:most]
        calls = {worker.actor.position.remote(): worker for worker in busy}
        answered = ray.wait(list(calls), num_returns=len(calls), timeout=_ANSWER)[0] if calls else []
        for call in answered:
            worker = calls[call]
            try:
                worker.seen = Seen(worker.row, self._where(worker), ray.get(call))
            except RayError:
                continue  # its task ends too, and `wait` says so
        return [worker.seen for worker in busy if worker.seen]

    def dismiss(self, worker: str) -> None:
        self._dismissed(self._workers.pop(worker))
        self._most = len(self._workers)

    def finish(self, seconds: float) -> int:
        if self._looking:
            self._looking = ray.wait(self._looking, num_returns=len(self._looking), timeout=seconds)[1]
        return len(self._looking)

    def stop(self) -> None:
        tasks = [worker.task for worker in self._workers.values() if worker.task]
        for worker in self._workers.values():
            self._dismissed(worker)
        self._workers.clear()
        calls = [*tasks, *self._leaving]  # what they were making is written down
        if calls:
            ray.wait(calls, num_returns=len(calls), timeout=_LAST)
        for actor in self._leaving.values():
            ray.kill(actor)
        self._leaving.clear()

    def _dismissed(self, worker: _Worker) -> None:
        """Its engine removes what it has made for itself, before Ray ends the process and all that it has started."""
        if worker.place is None:  # it does not answer
            ray.kill(worker.actor)
        else:
            self._leaving[worker.actor.stop.remote()] = worker.actor

    def _let_go(self) -> None:
        if self._leaving:
            for call in ray.wait([*self._leaving], num_returns=len(self._leaving), timeout=0)[0]:
                ray.kill(self._leaving.pop(call))

    def _grow(self) -> None:
        """A worker for each share of GPUs that has none."""
        if time.monotonic() - self._grown < _GROWS:
            return
        self._grown = time.monotonic()
        wanted = share_of_gpus(self._orders.share) if self._most is None else self._most
        while len(self._workers) < wanted:
            self._count += 1
            name = f"worker {self._count}"
            self._workers[name] = _Worker(name, self._make.remote(self._orders))

    def _ask(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.place is None and worker.asked is None and worker.ask_at <= now:
                worker.asked = worker.actor.place.remote()

    def _answered(self, worker: _Worker) -> None:
        call, worker.asked = worker.asked, None
        try:
            place: Any = ray.get(call)
        except ActorDiedError as error:  # it could not be built there: another one, as if this had never been
            del self._workers[worker.name]
            self._stillborn += 1
            if self._stillborn >= _STILLBORN and not any(each.place for each in self._workers.values()):
                raise RuntimeError(f"Workers cannot be started ({_line(error)}): install scail2[batch] in the same "
                                   "version on every machine.") from error
            return
        except RayActorError:
            worker.ask_at = time.monotonic() + _AGAIN
            return
        if place.making is not None:  # it was cut off, not dead, and still makes what was given up
            worker.ask_at = time.monotonic() + _AGAIN
            return
        worker.place = place
        self._several = len({each.place.host for each in self._workers.values() if each.place}) > 1

    def _ended(self, worker: _Worker) -> Ended:
        task, row, worker.task = worker.task, worker.row, None
        seconds = (time.monotonic() - worker.since) * self._orders.share
        where = self._where(worker)
        try:
            made: Any = ray.get(task)
        except RayActorError:
            worker.place = None
            return Ended(row, worker.name, seconds, lost=f"The worker on {where} died in the middle of it.")
        except RayError as error:  # of our own making
            cause = getattr(error, "cause", None) or error
            return Ended(row, worker.name, seconds, lost=_line(cause))
        if made.report is not None and made.report.state == DONE and self._beside is not None and worker.place:
            near = NodeAffinitySchedulingStrategy(worker.place.node, soft=True)
            look = pickle.dumps(partial(self._beside, BatchFolder(self._orders.root), row))
            self._looking.append(self._look.options(scheduling_strategy=near).remote(look))
        return Ended(row, worker.name, seconds, made.report, untried=made.untried, refused=made.refused, held=made.held)

    def _where(self, worker: _Worker) -> str:
        if worker.place is None:
            return worker.name
        gpu = " ".join(["GPU", ",".join(worker.place.gpus)])
        return f"{worker.place.host} {gpu}" if self._several else gpu


def _line(error: BaseException) -> str:
    """What went wrong; Ray puts tracebacks of several processes before it."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
