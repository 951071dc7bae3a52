"""Times of a run, by a clock that is set by hand."""

import pytest

from scail_model.video.run_times import RunTimes


@pytest.fixture
def clock():
    return Clock()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_goes_by_frames_and_steps(clock):
    times = RunTimes([81, 41], 2, clock)
    assert times.left() is None
    clock.now += 10
    times.step(0)
    assert times.left() == pytest.approx(10 / 81 * (81 + 2 * 41))
    times.step(0)
    times.finished(0)
    clock.now += 10
    times.step(1)
    assert times.left() == pytest.approx(20 / (2 * 81 + 41) * 41)
    assert times.elapsed() == 20


def test_a_segment_that_was_found_takes_its_share_away(clock):
    times = RunTimes([81, 81], 4, clock)
    times.finished(0)
    clock.now += 3
    times.step(1)
    assert times.left() == pytest.approx(3 * 3)


def test_steps_are_timed_from_the_second_one_of_a_segment(clock):
    times = RunTimes([81, 41], 3, clock)
    for segment, seconds in ((0, 100), (0, 7), (0, 7), (1, 100), (1, 7)):
        clock.now += seconds
        times.step(segment)
    assert dict(times.sampled) == {81: 2, 41: 1}
    assert times.sampled_seconds == 21


def test_decoding_is_timed_until_the_next_stage(clock):
    times = RunTimes([81, 41], 1, clock)
    for segment, decoding, seconds in ((0, False, 5), (0, True, 2), (0, False, 9), (1, True, 1), (1, False, 4)):
        times.stage(segment, decoding=decoding)
        clock.now += seconds
    assert dict(times.decoded) == {81: 1, 41: 1}
    assert times.decoded_seconds == 3


def test_with_several_lanes_the_last_one_counts(clock):
    times = RunTimes([81, 81, 41, 81], 2, clock)
    times.at_once([[0, 1], [2], [3]])
    clock.now += 10
    times.step(0)
    assert times.left() == pytest.approx(10 / 81 * 3 * 81)  # what has no step yet takes its time too, and has less
    clock.now += 2
    times.step(2)
    times.step(2)  # this lane has ended
    assert times.left() == pytest.approx(12 / 81 * 3 * 81)
    for segment in (0, 0, 0):
        clock.now += 10
        times.step(segment)
    times.finished(0)
    times.finished(1)
    assert times.left() == pytest.approx((42 + 12) / (4 * 81 + 2 * 41) * 2 * 81)  # of the last lane
    clock.now += 4
    times.step(3)
    assert times.left() == pytest.approx(46)


def test_lanes_are_timed_apart(clock):
    times = RunTimes([81, 81], 3, clock)
    times.at_once([[0], [1]])
    for segment, seconds in ((0, 100), (1, 3), (0, 4), (1, 5), (0, 6), (1, 7)):
        clock.now += seconds
        times.step(segment)
    assert times.sampled == {81: 4}
    assert times.sampled_seconds == (3 + 4) + (4 + 5) + (5 + 6) + (6 + 7)
    times.stage(0, decoding=True)
    clock.now += 1
    times.stage(1, decoding=True)
    clock.now += 2
    times.stage(0, decoding=False)
    clock.now += 4
    times.stage(1, decoding=False)
    assert (times.decoded, times.decoded_seconds) == ({81: 2}, 3 + 6)
