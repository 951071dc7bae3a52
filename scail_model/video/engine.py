"""A video of any length: segment after segment, each starting from the decoded end of the one before.

The loop of the official `wan/scail.py`, with its noise (one generator for the whole video) and its history (the last
decoded frames, encoded again) unless asked otherwise; `segments.plan_scenes` says which frames each segment makes. What
is finished lies in a job folder (`files/jobs.py`) and is not made again; memory holds one segment at a time:

    0003-<key>.latent.safetensors, .end.safetensors, .sparse.json    see `take.py`
    0003-<key>.mp4                                               the segment's new frames, encoded
    sound.m4a                                                    the driving video's sound
    video-<key>.mp4                                              all parts and the sound joined

While a segment is sampled, threads read the driving side of the next one (`inputs/driving.py`) and write the part of
the last one, whose latent and end are on the disk before that begins. A part that is missing is made again from its
latent.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..files.jobs import Job
from ..media.encoding import Frames
from ..media.workers import Cancelled, result
from ..plate.composite import Composited
from ..sparse import report as sparse_report
from ..sparse.run import LayerError
from .host import Host, Watch
from .progress import JOINING
from .segment_files import SegmentFiles
from .take import Take, Takes
from .task import Made, VideoTask

log = logging.getLogger(__name__)


def make_video(task: VideoTask, host: Host, job: Job, watch: Watch, target: Path | None = None) -> Made:
    """Make what is missing of a video and join it, into the job folder or into the file `target`.

    The inputs are such that the check before (`preflight`) finds no error in them. However it ends, what is finished is
    kept, and a file of it can be played. Raises ValueError for NaN in a latent, RuntimeError if the folder cannot be
    written.
    """
    return _Engine(task, host, job, watch, target).make()


@dataclass(frozen=True)
class _Unfinished:
    """A segment of which all is done but that its part is still being written."""

    index: int
    part: str
    writing: Future[None]


class _Engine:
    def __init__(self, task: VideoTask, host: Host, job: Job, watch: Watch, target: Path | None) -> None:
        self.task, self.host, self.job, self.watch, self.target = task, host, job, watch, target
        self.files = SegmentFiles(job, task.driving, task.rate, task.encoding, watch.tick,
                                  f"SCAIL-2, {host.description}")
        self.takes = Takes(task, host, job, watch, free_memory=self._finish, after_step=self._finish_if_written)
        self.unfinished: _Unfinished | None = None
        self.errors: list[Sequence[LayerError]] = []  # of sparse attention, by segment
        self.parts: list[str] = []  # their names, by segment

    def make(self) -> Made:
        try:
            kept = self._segments()
        except BaseException as error:
            self.takes.stop()
            self._give_up(error)
            self.files.leave()
            raise
        finally:
            self.takes.stop()
            self.files.stop()
        self.watch.stage(len(self.task.plan) - 1, JOINING)
        all_errors = list(itertools.chain(*self.errors))
        if all_errors:
            self.files.comment += f", {sparse_report.phrase(all_errors)}"
        facts = [self.files.facts(part) for part in self.parts]
        return Made(self.files.joined(self.target), kept, self.errors,
                    list(itertools.chain(*facts)) if all(facts) else [])

    def _segments(self) -> int:
        """Make what is missing; returns how many segments were there."""
        take = self.takes.after(None)
        self.takes.read_ahead(take)
        self.files.prepare_sound()  # first, so that damaged sound is found before hours of sampling
        kept = 0
        while take is not None:
            kept += self._segment(take)
            take.frames = None
            if take.before is not None:
                take.before.before = None  # nothing looks further back
            take = self.takes.after(take)
        self._finish()
        return kept

    def _segment(self, take: Take) -> bool:
        """See to it that a segment's files are there; returns whether they were."""
        started, solo = time.monotonic(), self.takes.solo(take)
        plate = self.task.plate
        part = (solo or take).file(self.files.ending(solo and take.key, *([plate.key] if plate else [])))
        complete = self.files.has(part, self.task.plan[take.index].new_frames)
        kept = complete and self.takes.has_end(take)
        if not kept:
            self.host.reset_peak()
            self.takes.need_end(take)
        if complete:
            self._finish()
            self._finished(take.index, part, kept)
        else:
            frames = self._shown(take, solo)
            self._finish()
            self.watch.stage(take.index, "writing")
            self.unfinished = _Unfinished(take.index, part, self.files.begin(part, frames))
        self.parts.append(part)
        self.errors.append(self.takes.errors(solo or take))
        if not kept:
            self._log(take, solo, time.monotonic() - started)
        return kept

    def _shown(self, take: Take, solo: Take | None) -> Tensor | Frames:
        """The segment's new frames, as they are in the video."""
        made, plate, segment = self._made(take, solo), self.task.plate, self.task.plan[take.index]
        if plate is None:
            return made
        before = self.takes.frames(take)[: segment.overlap]
        return Composited(plate, made, segment.start + segment.overlap, before)

    def _made(self, take: Take, solo: Take | None) -> Tensor:
        """The same as they were sampled."""
        overlap = self.task.plan[take.index].overlap
        frames = self.takes.frames(take)[overlap:]
        if solo is None:
            return frames
        return blended(frames, self.takes.frames(solo)[overlap:], self.task.settings.overlap,
                       at_start=bool(overlap), at_end=not self.takes.ends_scene(take))

    # Parts, which are written beside the next segment's sampling

    def _finish(self) -> None:
        """Wait until the last part is written. Raises what went wrong in that."""
        unfinished, self.unfinished = self.unfinished, None
        if unfinished is not None:
            try:
                result(unfinished.writing, self.watch.tick)
            except BaseException:
                if not unfinished.writing.done():  # the user has cancelled: it may still be there in time
                    self.unfinished = unfinished
                raise
            self._finished(unfinished.index, unfinished.part, kept=False)

    def _finish_if_written(self) -> None:
        if self.unfinished is not None and self.unfinished.writing.done():
            self._finish()

    def _finished(self, index: int, part: str, kept: bool) -> None:
        self.watch.finished(index, self.files.add(part), kept=kept)
        self.job.tell(done=index + 1)

    def _give_up(self, error: BaseException) -> None:
        """Keep the part that is being written if it can be had: at once, or after an error, when nobody is waiting."""
        if not isinstance(error, Exception):
            self.files.stop()
        try:
            self._finish()
        except Cancelled:
            pass
        except BaseException as another:
            log.warning("SCAIL-2: %s", another)

    def _log(self, take: Take, solo: Take | None, seconds: float) -> None:
        segment, parts = self.task.plan[take.index], dict(take.seconds)
        for stage, more in (solo.seconds if solo else {}).items():
            parts[stage] = parts.get(stage, 0.0) + more
        shares = ", ".join(f"{stage} {spent:.1f}" for stage, spent in parts.items())
        log.info("SCAIL-2: segment %d of %d, frames %d to %d: %.1f s (%s), %s", take.index + 1, len(self.task.plan),
                 segment.start + segment.overlap, segment.stop - 1, seconds, shares, self.host.memory())
        if self.errors[-1]:
            log.info("SCAIL-2: segment %d of %d: %s", take.index + 1, len(self.task.plan),
                     sparse_report.line(self.errors[-1]))


def blended(old: Tensor, new: Tensor, ramp: int, *, at_start: bool, at_end: bool) -> Tensor:
    """`new` frames [n, H, W, 3] that begin and end as the `old` ones do: cross-faded over `ramp` frames."""
    shares = torch.ones(len(new))
    ramp = min(ramp, len(new) // 2)
    rising = torch.arange(1, ramp + 1) / (ramp + 1)
    if at_start:
        shares[:ramp] = rising
    if at_end and ramp:
        shares[-ramp:] = rising.flip(0)
    return torch.lerp(old, new, shares[:, None, None, None].to(new.dtype))
