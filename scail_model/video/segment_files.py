"""The finished part of a video in its job folder: a file for each segment, the sound, and all of them joined."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..files.atomic import explained, writing
from ..files.content_keys import digest
from ..files.jobs import Job
from ..media import encoding as codecs
from ..media.clips import Clip, Tick
from ..media.encoding import Encoding, Frames
from ..media.sound import write_sound
from ..media.workers import WorkerPool
from ..plate import facts as plate_facts
from ..plate.composite import Composited
from ..plate.facts import FrameFacts

KEY = 16  # letters of a digest in file names
_SO_FAR, _SOUND = "so-far.mp4", "sound.m4a"

log = logging.getLogger(__name__)


class SegmentFiles:
    """rate: frames per second. comment: for the metadata of joined files. writers: how many parts may be written at the
    same time.

    Everything raises RuntimeError if the folder cannot be written.
    """

    def __init__(self, job: Job, driving: Clip, rate: Fraction, encoding: Encoding, tick: Tick,
                 comment: str = "", writers: int = 1) -> None:
        self.comment = comment
        self.job, self.driving, self.rate, self.encoding, self.tick = job, driving, rate, encoding, tick
        self.sound: Path | None = None
        self._parts: dict[int, Path] = {}  # by segment
        self._workers = WorkerPool(writers)

    @property
    def parts(self) -> list[Path]:
        """From the first segment on, without a gap."""
        return [self._parts[index] for index in itertools.takewhile(self._parts.__contains__, itertools.count())]

    @property
    def done(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def ending(self, *more: object) -> str:
        """Of a part's name, by what decides the file beside its frames' key, and by `more`."""
        return f"{digest(self.encoding.key, self.rate, *more)[:KEY]}.mp4"

    def has(self, name: str, frames: int) -> bool:
        """Whether a part is there with as many frames."""
        return codecs.count_frames(self.job.path(name)) == frames

    def begin(self, name: str, frames: Tensor | Frames) -> Future[None]:
        """Write a part of frames [n, H, W, 3] in 0..1 beside the caller, who waits for it before another is begun: so
        the frames of one are in memory, for each who writes."""
        return self._workers.start(self._write, name, frames)

    def stop(self) -> None:
        """Break off what is being written, and leave no thread behind."""
        self._workers.stop()

    def _write(self, name: str, frames: Tensor | Frames, tick: Tick) -> None:
        with self.job.writing(name) as path:
            codecs.write_part(path, frames, self.rate, self.encoding, tick)
            if isinstance(frames, Composited):  # before the part is there, so that none is without
                self.job.save_values(_facts(name), plate_facts.values([frames.facts[i] for i in range(len(frames))]))

    def facts(self, name: str) -> list[FrameFacts]:
        """Of the plate in a part's frames; none if they are not kept any more, or there is no plate."""
        return self.job.load_values(_facts(name), plate_facts.facts_of) if self.job.has(_facts(name)) else []

    def add(self, index: int, name: str) -> Path:
        """The part of a segment, counted from 0."""
        self._parts[index] = self.job.path(name)
        return self._parts[index]

    def prepare_sound(self) -> None:
        """The driving video's sound as a file, if it has one. RuntimeError if it is damaged."""
        path, seconds = self.job.path(_SOUND), len(self.driving) / self.rate
        if not path.exists():
            with self.driving.sound(seconds) as track:
                if track is None:
                    return
                with self.job.writing(_SOUND) as part:
                    write_sound(part, track, seconds, self.tick)
        self.sound = path

    def joined(self, target: Path | None = None) -> Path:
        """The finished video: in the job folder, or as the file `target`, which appears when it is complete."""
        name = f"video-{digest([part.name for part in self.parts], self.rate)[:KEY]}.mp4"
        if target is not None:
            with explained(f"The video {target}", "and run again; finished segments are kept"), writing(target) as path:
                self._join_into(path, self.tick)
        elif not self.job.has(name):
            self._join(name, self.tick)
        self.job.tell(finished=time.time())
        with contextlib.suppress(OSError):  # Windows: somebody may be watching it
            self.job.path(_SO_FAR).unlink(missing_ok=True)
        return target or self.job.path(name)

    def leave(self) -> None:
        """A file that can be played, of the parts before the one that was broken off. Raises nothing, because the error
        that broke it off is the one to be told."""
        try:
            if not self.parts:
                self.job.remove_without("[0-9]*")
                return
            self._join(_SO_FAR, lambda: None)
            log.info("SCAIL-2: the %d finished segment(s) are in %s", len(self.parts), self.job.path(_SO_FAR))
        except Exception as error:
            log.warning("SCAIL-2: %s", error)

    def _join(self, name: str, tick: Tick) -> None:
        with self.job.writing(name) as path:
            self._join_into(path, tick)

    def _join_into(self, path: Path, tick: Tick) -> None:
        codecs.join(self.parts, path, self.rate, self.sound, tick, self.comment)


def _facts(part: str) -> str:
    return f"{part.removesuffix('.mp4')}.plate.json"


def check_sound(clip: Clip, rate: Fraction) -> None:
    """Raise RuntimeError if the sound of a clip is damaged."""
    with clip.sound(len(clip) / rate) as track:
        for _ in track.blocks if track else ():
            clip.tick()
