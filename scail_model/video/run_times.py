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
        self._decoding_since: dict[int, float] = {}  # by segment
        self.at_once([range(len(lengths))])

    def at_once(self, lanes: Sequence[Sequence[int]]) -> None:
        """The segments of each lane, before anything is made."""
        self._lanes = [_Lane(order, self.lengths, self.steps) for order in lanes]
        self._lane_of = {index: lane for lane in self._lanes for index in lane.order}

    @property
    def lanes(self) -> int:
        """How many make segments at the same time."""
        return len(self._lanes)

    def stage(self, segment: int, *, decoding: bool) -> None:
        """A segment has entered another stage, and has left the one before."""
        now = self._clock()
        if (since := self._decoding_since.pop(segment, None)) is not None:
            self.decoded[self.lengths[segment]] += 1
            self.decoded_seconds += now - since
        if decoding:
            self._decoding_since[segment] = now

    def step(self, segment: int) -> None:
        """A sampling step is done. It is timed from the second one of a segment on: weights may be read before that."""
        now = self._clock()
        lane = self._lane_of[segment]
        lane.done += self.lengths[segment]
        lane.left = max(0.0, lane.left - self.lengths[segment])
        lane.seconds = now - self._started
        if segment == lane.at:
            self.sampled[self.lengths[segment]] += 1
            self.sampled_seconds += now - lane.since
        lane.at, lane.since = segment, now

    def finished(self, segment: int) -> None:
        """Nothing is left of a segment, made or found; the next one of its lane may be in its steps already."""
        lane = self._lane_of[segment]
        after = lane.order[lane.order.index(segment) + 1 :]
        lane.left = min(lane.left, float(sum(self.lengths[index] for index in after) * self.steps))

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def left(self) -> float | None:
        """Seconds to the end, which is that of the last lane; None before the first step."""
        done = sum(lane.done for lane in self._lanes)
        if not done:
            return None
        # a lane that has ended took the time up to its last step; one that has no step yet is as fast as the others
        times = [self.elapsed() if lane.left else lane.seconds for lane in self._lanes]
        usual = sum(spent for spent, lane in zip(times, self._lanes, strict=True) if lane.done) / done
        return max((spent / lane.done if lane.done else usual) * lane.left
                   for spent, lane in zip(times, self._lanes, strict=True))


class _Lane:
    """left, done: units of work in this run: steps times frames. seconds: up to its last step. at, since: segment and
    time of that."""

    def __init__(self, order: Sequence[int], lengths: Sequence[int], steps: int) -> None:
        self.order = list(order)
        self.done, self.left = 0.0, float(sum(lengths[index] for index in order) * steps)
        self.seconds, self.at, self.since = 0.0, -1, 0.0
