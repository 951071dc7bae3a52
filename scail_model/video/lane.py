"""The segments of one lane, one after the other: those of a whole video, or of some of its scenes.

While a segment is sampled, threads read the driving side of the next one (`inputs/driving.py`) and write the part of
the last one, whose latent and end are on the disk before that begins. A part that is missing is made again from its
latent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor

from ..files.jobs import Job
from ..media.encoding import Frames
from ..media.workers import Cancelled, result
from ..plate.composite import Composited
from ..sparse import report as sparse_report
from ..sparse.run import LayerError
from .host import Host, Watch
from .segment_files import SegmentFiles
from .take import Take, Takes
from .task import VideoTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """A segment as it is in the video: its part's name, whether all of it was there, and the errors of sparse
    attention."""

    part: str
    kept: bool
    errors: Sequence[LayerError]


@dataclass(frozen=True)
class _Unfinished:
    """A segment of which all is done but that its part is still being written."""

    index: int
    part: str
    writing: Future[None]


class Lane:
    """order: its segments, whole scenes. host: asked for each segment which one makes it."""

    def __init__(self, task: VideoTask, host: Callable[[], Host], job: Job, watch: Watch, files: SegmentFiles,
                 order: Sequence[int]) -> None:
        self.task, self.choose_host, self.job, self.watch, self.files = task, host, job, watch, files
        self.takes = Takes(task, host(), job, watch, order, free_memory=self.finish,
                           after_step=self._finish_if_written)
        self.made: dict[int, Shown] = {}  # by segment
        self.unfinished: _Unfinished | None = None

    def begin(self) -> None:
        """Begin to read what the first segment needs."""
        self.takes.read_ahead(self.takes.after(None))

    def unmade(self) -> list[int]:
        """The segments that are not there with all that belongs to them."""
        found, take = [], self.takes.after(None)
        while take is not None:
            if not (self._is_complete(take, self.takes.solo(take)) and self.takes.has_end(take)):
                found.append(take.index)
            take = self.takes.after(take)
        return found

    def make(self) -> None:
        """Make what is missing, but for what is still being written."""
        take = self.takes.after(None)
        while take is not None:
            self.made[take.index] = self._segment(take)
            take.frames = None
            if take.before is not None:
                take.before.before = None  # nothing looks further back
            take = self.takes.after(take)

    def give_up(self, error: BaseException) -> None:
        """Keep the part that is being written if it can be had: at once, or after an error, when nobody is waiting."""
        if not isinstance(error, Exception):
            self.files.stop()
        try:
            self.finish()
        except Cancelled:
            pass
        except BaseException as another:
            log.warning("SCAIL-2: %s", another)

    def stop(self) -> None:
        """Leave no thread behind."""
        self.takes.stop()

    def _segment(self, take: Take) -> Shown:
        """See to it that a segment's files are there."""
        started, solo = time.monotonic(), self.takes.solo(take)
        part, complete = self._part(take, solo), self._is_complete(take, solo)
        kept = complete and self.takes.has_end(take)
        if not kept:
            host = self.takes.host = self.choose_host()
            if host.place:
                self.watch.placed(take.index, host.place)
            host.reset_peak()
            self.takes.need_end(take)
        if complete:
            self.finish()
            self._finished(take.index, part, kept)
        else:
            frames = self._shown(take, solo)
            self.finish()
            self.watch.stage(take.index, "writing")
            self.unfinished = _Unfinished(take.index, part, self.files.begin(part, frames))
        shown = Shown(part, kept, self.takes.errors(solo or take))
        if not kept:
            self._log(take, solo, time.monotonic() - started, shown.errors)
        return shown

    def _part(self, take: Take, solo: Take | None) -> str:
        plate = self.task.plate
        return (solo or take).file(self.files.ending(solo and take.key, *([plate.key] if plate else [])))

    def _is_complete(self, take: Take, solo: Take | None) -> bool:
        return self.files.has(self._part(take, solo), self.task.plan[take.index].new_frames)

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

    def finish(self) -> None:
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
            self.finish()

    def _finished(self, index: int, part: str, kept: bool) -> None:
        self.watch.finished(index, self.files.add(index, part), kept=kept)
        self.job.tell(done=self.files.done)

    def _log(self, take: Take, solo: Take | None, seconds: float, errors: Sequence[LayerError]) -> None:
        segment, parts, host = self.task.plan[take.index], dict(take.seconds), self.takes.host
        for stage, more in (solo.seconds if solo else {}).items():
            parts[stage] = parts.get(stage, 0.0) + more
        shares = ", ".join(f"{stage} {spent:.1f}" for stage, spent in parts.items())
        log.info("SCAIL-2: segment %d of %d, frames %d to %d: %.1f s (%s), %s", take.index + 1, len(self.task.plan),
                 segment.start + segment.overlap, segment.stop - 1, seconds, shares,
                 ", ".join(filter(None, (host.place, host.memory()))))
        if errors:
            log.info("SCAIL-2: segment %d of %d: %s", take.index + 1, len(self.task.plan), sparse_report.line(errors))


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
