"""How long the parts of a run take, and from that how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence


class RunTimes:
    """Told of each step and stage as it happens.

    lengths: frames of each segment. clock: seconds. `sampled` and `decoded` count, by the frames of their segment, the
    sampling steps and the decoded segments that `sampled_seconds` and `decoded_seconds` are the time of.
    """

    def __init__(self, lengths: Sequence[int], steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.lengths, self.steps = lengths, steps
        self.sampled: Counter[int] = Counter()
        self.sampled_seconds = 0.0
        self.decoded: Counter[int] = Counter()
        self.decoded_seconds = 0.0
        self._clock, self._started = clock, clock()
        self._done, self._left = 0.0, float(sum(lengths) * steps)  # units of work in this run: steps times frames
        self._last_step = (-1, 0.0)  # segment and time
        self._decoding_since: float | None = None

    def stage(self, segment: int, *, decoding: bool) -> None:
        """A segment has entered another stage, and has left the one before."""
        now = self._clock()
        if self._decoding_since is not None:
            self.decoded[self.lengths[segment]] += 1
            self.decoded_seconds += now - self._decoding_since
        self._decoding_since = now if decoding else None

    def step(self, segment: int) -> None:
        """A sampling step is done. It is timed from the second one of a segment on: weights may be read before that."""
        self._done += self.lengths[segment]
        self._left = max(0.0, self._left - self.lengths[segment])
        (last, since), now = self._last_step, self._clock()
        if segment == last:
            self.sampled[self.lengths[segment]] += 1
            self.sampled_seconds += now - since
        self._last_step = (segment, now)

    def finished(self, segment: int) -> None:
        """Nothing is left of a segment, made or found; the next one may be in its steps already."""
        self._left = min(self._left, float(sum(self.lengths[segment + 1 :]) * self.steps))

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def left(self) -> float | None:
        """Seconds to the end; None before the first step."""
        return self.elapsed() / self._done * self._left if self._done else None
