"""What a run shows on the command line: a bar on a terminal; in a log a line for each segment, and one at least every
15 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ..preflight.budget import duration
from ..segments import Segment
from ..video.at_once import in_words
from ..video.run_times import RunTimes
from ..video.task import VideoTask
from ..video.voice import SILENCE, Voice

_PAUSE = 5.0  # seconds between two lines of which the second only says what goes on
_BLINK = 1.0  # seconds after which a bar shows the time anew


class Terminal:
    """The engine's `Watch`, and what is told before it runs. Used with `with`: leaving it ends the thread that keeps
    talking."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._times: RunTimes | None = None
        self._plan: Sequence[Segment] = ()
        self._lanes: Sequence[Sequence[int]] = ()
        self._stages: dict[int, str] = {}  # of the segment that each lane is at
        self._places: dict[int, str] = {}  # by segment, as what follows
        self._done: dict[int, int] = {}  # steps
        self._steps, self._said, self._told = 0, "", time.monotonic()
        self._voice = Voice(self._still, _BLINK if sys.stderr.isatty() else SILENCE)

    def __enter__(self) -> Terminal:
        self._voice.__enter__()
        return self

    def __exit__(self, *_) -> None:
        self._voice.__exit__()
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """What is going on outside of the segments. Any thread may call it."""
        self._said = text
        self._show()

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._line(text)

    def begin(self, task: VideoTask, folder: Path) -> None:
        """Count the steps of a video from here on. folder: of its job."""
        self._plan, self._steps = task.plan, task.settings.steps
        plan, steps = self._plan, self._steps
        self._times, self._lanes = RunTimes([segment.length for segment in plan], steps), [range(len(plan))]
        if sys.stderr.isatty():
            self._bar = tqdm(total=len(plan) * steps, unit="step", file=sys.stderr)

    def at_once(self, lanes: Mapping[str, Sequence[int]]) -> None:
        assert self._times is not None
        self._lanes = list(lanes.values())
        self._times.at_once(self._lanes)
        self._line(f"scenes at the same time: {in_words(lanes)}")

    def placed(self, segment: int, place: str) -> None:
        self._places[segment] = place

    def stage(self, segment: int, text: str) -> None:
        self._enter(segment, text)
        self.say("")

    def step(self, segment: int, step: int, denoised: Tensor) -> None:
        assert self._times is not None
        self._times.step(segment)
        self._done[segment] = step + 1
        if self._bar is not None:
            self._bar.update(max(0, sum(self._done.values()) - self._bar.n))
        self._enter(segment, f"step {step + 1} of {self._steps}")
        self._said = ""
        self._show()

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        assert self._times is not None
        self._times.finished(segment)
        self._done[segment] = self._steps
        if self._bar is not None:
            self._bar.update(max(0, sum(self._done.values()) - self._bar.n))
        else:
            self._line(f"segment {segment + 1} of {len(self._plan)} is {'there already' if kept else 'written'}")

    def tick(self) -> None:
        """Ctrl-C arrives by itself, as KeyboardInterrupt."""

    def _enter(self, segment: int, text: str) -> None:
        """A lane has left what it was at before."""
        for other in next(lane for lane in self._lanes if segment in lane):
            self._stages.pop(other, None)
        self._stages[segment] = text

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.set_description(self._status())
        elif self._times is not None and time.monotonic() - self._told >= _PAUSE:
            self._line(self._status())

    def _status(self) -> str:
        left = self._times.left() if self._times else None
        segments = "; ".join(", ".join(filter(None, (self._name(segment), self._stages[segment])))
                             for segment in sorted(self._stages))
        parts = [segments, self._said, *([f"about {duration(left)} left"] if left is not None else [])]
        return ", ".join(filter(None, parts))

    def _name(self, segment: int) -> str:
        place = self._places.get(segment)
        return f"segment {segment + 1} of {len(self._plan)}{f' on {place}' if place else ''}"

    def _line(self, text: str) -> None:
        self._told = time.monotonic()
        self._voice.heard()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _still(self, seconds: float) -> None:
        """Nothing was said for some seconds."""
        if self._bar is not None:
            self._bar.refresh()
        elif time.monotonic() - self._told >= SILENCE:
            self._line(self._status() or "working")
