"""Work beside the caller's: its result and its errors arrive, it can be left, and no thread outlives it."""

import threading
import time

import pytest
import torch

from scail_model.media.workers import Cancelled, WorkerPool, ahead, result, together


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]


@pytest.fixture
def aside():
    made = WorkerPool()
    yield made
    made.stop()


def nothing():
    pass


def endless(tick):
    while True:
        tick()
        time.sleep(0.005)


def test_results_come_in_order_and_one_after_the_other(aside):
    running = []

    def work(number, tick):
        running.append(number)
        time.sleep(0.01)
        assert running[-1] == number
        return number

    assert [result(future, nothing) for future in [aside.start(work, number) for number in range(5)]] == list(range(5))


def test_an_error_is_raised_where_the_result_is_taken(aside):
    def work(tick):
        raise ValueError("frame 3 is damaged")

    with pytest.raises(ValueError, match="frame 3 is damaged"):
        result(aside.start(work), nothing)
    assert result(aside.start(lambda tick: 2), nothing) == 2


def test_a_timeout_of_the_work_is_no_patience_of_the_caller(aside):
    def work(tick):
        raise TimeoutError("the network drive")

    with pytest.raises(TimeoutError, match="the network drive"):
        result(aside.start(work), nothing)


def test_who_waits_can_cancel_and_the_work_ends(aside):
    def cancel():
        raise KeyboardInterrupt

    future = aside.start(endless)
    with pytest.raises(KeyboardInterrupt):
        result(future, cancel)
    started = time.monotonic()
    aside.stop()
    assert time.monotonic() - started < 0.5
    with pytest.raises(Cancelled):
        future.result()


def test_the_tick_of_the_caller_is_called_by_the_caller_only(aside):
    threads = set()
    result(aside.start(lambda tick: time.sleep(0.15)), lambda: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("inference", [True, False])
def test_work_is_done_in_the_callers_inference_mode(aside, inference):
    with torch.inference_mode(inference):
        assert result(aside.start(lambda tick: torch.ones(1).is_inference()), nothing) is inference


def test_together_gives_results_in_the_order_of_the_items():
    meet = threading.Barrier(3, timeout=5)

    def work(number, tick):
        meet.wait()  # all at once
        return 2 * number

    assert together(work, [1, 2, 3], 3, nothing) == [2, 4, 6]


def test_together_ends_with_the_first_error():
    def work(number, tick):
        if number == 0:
            raise ValueError("no room")
        endless(tick)

    with pytest.raises(ValueError, match="no room"):
        together(work, [0, 1, 2], 2, nothing)


def test_items_are_made_one_ahead():
    made, used = [], []

    def items():
        for number in range(4):
            made.append(number)
            yield number
        raise ValueError("frame 4 is damaged")

    def use():
        for number in ahead(items()):
            used.append(number)
            time.sleep(0.03)
            assert made[-1] == min(number + 1, 3)

    with pytest.raises(ValueError, match="frame 4 is damaged"):
        use()
    assert used == [0, 1, 2, 3]


def test_who_stops_using_items_leaves_no_thread():
    for number in ahead(iter(range(100))):
        if number == 3:
            break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]
