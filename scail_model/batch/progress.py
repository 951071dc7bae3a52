"""What a batch shows while it runs: on a terminal a block of lines that is drawn anew every other second, in a log a
line at least every 15 seconds; and what has happened, in lines that stay."""

from __future__ import annotations

import shutil
from typing import TextIO

from ..preflight.budget import duration
from .costs import in_hours
from .driver import Standing, Tell
from .report import RowReport, cost_of
from .workers import Seen

_BLINK = 2.0  # seconds after which a terminal shows everything anew
_NAMED = 4  # rows in a line of a log
_UP = "\x1b[{}A\x1b[J"  # so many lines up, and nothing below


class Progress(Tell):
    """stream: the terminal or the log. total: rows of the manifest, before: those of them that were done already.
    gpu_seconds: that these took. price: of an hour of a GPU, None if nobody said one."""

    def __init__(self, stream: TextIO, *, total: int, before: int, gpu_seconds: float, price: float | None) -> None:
        self._stream, self._total, self._done = stream, total, before
        self._before, self._gpu_seconds, self._price = before, gpu_seconds, price
        self._drawn = 0  # lines of the block that is on the terminal now
        self._block: list[str] = []
        self.rows = _NAMED
        if stream.isatty():
            self.every, self.rows = _BLINK, max(1, shutil.get_terminal_size().lines - 5)

    def say(self, text: str) -> None:
        self._clear()
        self._stream.write(f"{text}\n")
        self._draw()

    def made(self, report: RowReport) -> None:
        self._done += 1
        self.say(f"[{self._done} of {self._total}] {made_line(report)}")

    def show(self, standing: Standing) -> None:
        self._clear()
        hidden = standing.running - len(standing.seen)
        lines = [self._total_line(standing), *map(seen_line, standing.seen)]
        lines += [f"and {hidden} more"] if hidden > 0 else []
        if self._stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._block = [line[:width] for line in (lines[0], *(f"  {line}" for line in lines[1:]))]
        else:
            self._stream.write("; ".join(lines) + "\n")
        self._draw()

    def close(self) -> None:
        """Leave a clean line."""
        self._clear()
        self._block = []

    def _total_line(self, standing: Standing) -> str:
        seconds = self._gpu_seconds + standing.gpu_seconds
        parts = [f"{self._before + standing.done} of {self._total} done"]
        parts += [f"{standing.failed} failed"] if standing.failed else []
        parts += [f"{standing.running} being made"] if standing.running else []
        coming = standing.coming
        parts += [f"{coming} workers on their way" if coming > 1 else "1 worker on its way"] if coming else []
        parts += [f"about {duration(standing.left)} left"] if standing.left and standing.left >= 1 else []
        return ", ".join([*parts, spent(seconds, self._price)])

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write(_UP.format(self._drawn))
            self._drawn = 0

    def _draw(self) -> None:
        if self._block:
            self._stream.write("\n".join(self._block) + "\n")
            self._drawn = len(self._block)
        self._stream.flush()


def spent(gpu_seconds: float, price: float | None) -> str:
    """GPU time in hours, and what it costs."""
    cost = cost_of(gpu_seconds, price)
    said = "" if cost is None else f", cost {cost:.2f}" if cost >= 0.1 or not cost else f", cost {cost:.2g}"
    return f"{in_hours(gpu_seconds)} GPU-hours{said}"


def seen_line(seen: Seen) -> str:
    """Where a row is."""
    parts, position = [f"{seen.row} on {seen.where}"], seen.position
    if position is None:
        return parts[0]
    if position.segments:
        parts.append(f"segment {max(1, position.segment)} of {position.segments}")
    if position.steps:
        parts.append(f"step {position.step} of {position.steps}")
    elif position.stage:
        parts.append(position.stage)
    if position.left is not None:
        parts.append(f"about {duration(position.left)} left")
    return ", ".join(parts)


def made_line(report: RowReport) -> str:
    """What was made."""
    parts, last = [], report.last
    if frames := report.facts.frames.get("out"):
        parts.append(f"{frames} frames")
    if last is not None and last.kept:
        parts.append(f"{last.kept} of {last.kept + last.made} segments were there")
    if len(report.attempts) > 1:
        parts.append(f"attempt {len(report.attempts)}")
    if report.smaller:
        parts.append("with its smaller values")
    return f"{report.id} is done: {', '.join([*parts, spent(report.gpu_seconds, report.price)])}"
