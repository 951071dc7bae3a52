"""A video of any length: segment after segment, each starting from the decoded end of the one before.

The loop of the official `wan/scail.py`, with its noise (one generator for the whole video) and its history (the last
decoded frames, encoded again) unless asked otherwise; `segments.plan_scenes` says which frames each segment makes. What
is finished lies in a job folder (`files/jobs.py`) and is not made again; memory holds one segment at a time, or one for
each lane:

    0003-<key>.latent.safetensors, .end.safetensors, .sparse.json    see `take.py`
    0003-<key>.mp4                                               the segment's new frames, encoded
    sound.m4a                                                    the driving video's sound
    video-<key>.mp4                                              all parts and the sound joined

Where the host has lanes, its GPUs make different scenes at the same time (`at_once.py`). The folder and the file are
the same, so work that was begun on one GPU goes on with several, and the other way round.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock

import psutil

from ..files.jobs import Job
from ..preflight.budget import FRAME_BYTES
from ..sparse import report as sparse_report
from .at_once import shared_out
from .host import Host, Watch
from .lane import Lane, Shown
from .progress import JOINING
from .relay import Relay
from .segment_files import SegmentFiles
from .task import Made, VideoTask

log = logging.getLogger(__name__)


def make_video(task: VideoTask, host: Host, job: Job, watch: Watch, target: Path | None = None) -> Made:
    """Make what is missing of a video and join it, into the job folder or into the file `target`.

    The inputs are such that the check before (`preflight`) finds no error in them. However it ends, what is finished is
    kept, and a file of it can be played. Raises ValueError for NaN in a latent, RuntimeError if the folder cannot be
    written.
    """
    return _Engine(task, host, job, watch, target).make()


class _Engine:
    def __init__(self, task: VideoTask, host: Host, job: Job, watch: Watch, target: Path | None) -> None:
        self.task, self.host, self.job, self.watch, self.target = task, host, job, Relay(watch), target
        self.hosts = _with_room(host.lanes, task)
        self.files = SegmentFiles(job, task.driving, task.rate, task.encoding, self.watch.tick,
                                  f"SCAIL-2, {host.description}", writers=max(1, len(self.hosts)))
        self.lanes: list[Lane] = []
        self._working, self._lock = 0, Lock()  # how many lanes have something to make

    def make(self) -> Made:
        try:
            self.lanes = self._lanes()
            self._segments()
        except BaseException as error:
            for lane in self.lanes:
                lane.stop()
            for lane in self.lanes:
                lane.give_up(error)
            self.files.leave()
            raise
        finally:
            for lane in self.lanes:
                lane.stop()
            self.files.stop()
        return self._joined([made for _, made in sorted(itertools.chain(*(lane.made.items() for lane in self.lanes)))])

    def _lanes(self) -> list[Lane]:
        """One, or those that make scenes at the same time."""
        whole = self._lane(lambda: self.host, range(len(self.task.plan)))
        orders = shared_out(self.task.plan, whole.unmade(), len(self.hosts)) if self.hosts else []
        if not orders:
            return [whole]
        whole.stop()
        self.watch.at_once({host.place: order for host, order in zip(self.hosts, orders, strict=True)})
        self.host.prepare([*self.task.inputs, *filter(None, self.task.solo)])
        self._working = len(orders)
        return [self._lane(partial(self._host, host), order) for host, order in zip(self.hosts, orders, strict=True)]

    def _lane(self, host: Callable[[], Host], order: Sequence[int]) -> Lane:
        return Lane(self.task, host, self.job, self.watch, self.files, order)

    def _segments(self) -> None:
        """Make what is missing."""
        for lane in self.lanes:
            lane.begin()
        self.files.prepare_sound()  # first, so that damaged sound is found before hours of sampling
        if len(self.lanes) == 1:
            self.lanes[0].make()
            self.lanes[0].finish()
        else:
            self.watch.run([partial(self._make, lane) for lane in self.lanes])

    def _make(self, lane: Lane) -> None:
        lane.make()
        with self._lock:
            self._working -= 1
        lane.finish()

    def _host(self, own: Host) -> Host:
        """Who makes the next segment of a lane: for one that is left alone with its scenes, the host of all GPUs."""
        with self._lock:
            return self.host if self._working == 1 else own

    def _joined(self, segments: Sequence[Shown]) -> Made:
        self.watch.stage(len(self.task.plan) - 1, JOINING)
        errors = [segment.errors for segment in segments]
        all_errors = list(itertools.chain(*errors))
        if all_errors:
            self.files.comment += f", {sparse_report.phrase(all_errors)}"
        facts = [self.files.facts(segment.part) for segment in segments]
        return Made(self.files.joined(self.target), sum(segment.kept for segment in segments), errors,
                    list(itertools.chain(*facts)) if all(facts) else [])


def _with_room(hosts: Sequence[Host], task: VideoTask) -> Sequence[Host]:
    """The lanes of a host, if main memory holds a segment's frames for each of them."""
    (height, width), (shown_height, shown_width) = task.size, task.shown_size
    frame = FRAME_BYTES * height * width + 3 * shown_height * shown_width
    needed, free = len(hosts) * max(segment.length for segment in task.plan) * frame, psutil.virtual_memory().available
    if needed <= free:
        return tuple(hosts)
    log.info("SCAIL-2: no scenes are made at the same time, because the frames of %d segments need %.1f GiB of main "
             "memory, but %.1f GiB are free.", len(hosts), needed / 2**30, free / 2**30)
    return ()
