"""Stages on devices of their own give what one device gives, in order, and stop together."""

import json
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from scail_model.gpus import pipeline

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Those of a first run wait for more work; there are never more."""
    pipeline.run([CPU] * 5, [iter] * 5, [], list, nothing)
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def nothing():
    pass


def sums(pieces):
    """What every stage does here: it keeps something from piece to piece, and gives two pieces for each."""
    total = torch.zeros(1)
    for piece in pieces:
        total = total * 0.7 + piece
        yield total.sin()
        yield total.cos()


def pieces(count):
    return (torch.full((1,), float(number)) for number in range(count))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_pieces_arrive_in_order_and_equal(count, stages):
    expected = pieces(count)
    for _ in range(stages):
        expected = sums(expected)
    found = pipeline.run([CPU] * stages, [sums] * stages, pieces(count), list, nothing)
    assert torch.equal(torch.cat(found or [torch.zeros(0)]), torch.cat(list(expected) or [torch.zeros(0)]))


def test_a_piece_keeps_its_layout():
    """On which depends what computes a convolution."""
    piece = torch.rand(4, 6, 5, 3)[1:3].movedim(0, 1)[None]
    (found,) = pipeline.run([CPU] * 2, [iter] * 2, [piece], list, nothing)
    assert torch.equal(found, piece)
    assert found.stride() == piece.stride()
    assert found.data_ptr() != piece.data_ptr()


def test_stages_work_at_the_same_time():
    meet = threading.Barrier(2, timeout=10)

    def first(given):
        for number, piece in enumerate(given):
            if number > 0:
                meet.wait()
            yield piece

    def second(given):
        for number, piece in enumerate(given):
            if number < 4:
                meet.wait()  # with the first stage, which makes the piece after this one
            yield piece

    assert len(pipeline.run([CPU] * 2, [first, second], pieces(5), list, nothing)) == 5


def test_a_fast_stage_waits_for_a_slow_one():
    made, ahead = [], []

    def fast(given):
        for piece in given:
            made.append(piece)
            yield piece

    def slow(given):
        for number, piece in enumerate(given):
            time.sleep(0.02)
            ahead.append(len(made) - number)
            yield piece

    pipeline.run([CPU] * 2, [fast, slow], pieces(20), list, nothing)
    assert max(ahead) <= 4  # this one, two that are given, and one that is made


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_an_error_in_one_stage_ends_all(broken):
    def fails(given):
        for number, piece in enumerate(given):
            if number == 3:
                raise MemoryError(f"stage {broken}")
            yield piece

    def endless(given):
        yield from given

    stages = [fails if number == broken else endless for number in range(4)]
    begun = time.monotonic()
    with pytest.raises(MemoryError, match=f"stage {broken}"):
        pipeline.run([CPU] * 4, stages, pieces(1000), list, nothing)
    assert time.monotonic() - begun < 5
    assert len(pipeline.run([CPU] * 4, [endless] * 4, pieces(5), list, nothing)) == 5


def test_who_takes_the_pieces_may_fail():
    def use(given):
        next(iter(given))
        raise ValueError("no room for frames")

    with pytest.raises(ValueError, match="no room for frames"):
        pipeline.run([CPU] * 3, [sums] * 3, pieces(100), use, nothing)


@pytest.mark.parametrize("stages", [1, 3])
def test_every_stage_asks_before_each_piece(stages):
    asked = Counter()
    pipeline.run([CPU] * stages, [iter] * stages, pieces(7), list, lambda: asked.update([threading.current_thread()]))
    assert list(asked.values()) == [7] * stages
    assert threading.current_thread() in asked


@pytest.mark.parametrize("who", [0, 1, 2])
def test_what_any_of_them_hears_ends_all(who):
    threads, begun = [], Counter()

    def counting(stage, given):
        for piece in given:
            begun[stage] += 1
            yield piece

    def check():
        if threading.current_thread() not in threads:
            threads.append(threading.current_thread())
        if begun[who] == 4 and threads.index(threading.current_thread()) == who:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run([CPU] * 3, [partial(counting, stage) for stage in range(3)], pieces(100), list, check)
    assert begun[who] == 4
    assert max(begun.values()) <= 4 + 3 * who + 1


@pytest.mark.parametrize("inference", [True, False])
def test_stages_are_in_the_callers_inference_mode(inference):
    def stage(given):
        for piece in given:
            yield piece + 0 if torch.is_inference_mode_enabled() else -1 - piece

    with torch.inference_mode(inference):
        found = pipeline.run([CPU] * 2, [stage] * 2, pieces(2), list, nothing)
    assert [piece.is_inference() for piece in found] == [inference] * 2


@pytest.mark.parametrize(("costs", "count", "sizes"), [
    ((1, 1, 1, 1), 2, [2, 2]),
    ((1, 2, 3, 6, 5), 2, [3, 2]),
    ((5, 1, 1, 1, 5), 3, [1, 3, 1]),
    ((1, 9, 1), 5, [1, 1, 1]),
    ((3, 2), 1, [2]),
    ((1, 1, 4, 1, 1), 5, [2, 1, 2]),
])
def test_the_longest_stage_is_as_short_as_it_can_be(costs, count, sizes):
    cuts = pipeline.cuts(costs, count)
    assert [cut.stop - cut.start for cut in cuts] == sizes
    assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]


DECODER = json.loads((Path(__file__).parents[1] / "bench/gpus_h200.json").read_text())["decoder"]


@pytest.mark.parametrize("measured", DECODER, ids=lambda measured: measured["size"])
@pytest.mark.parametrize("count", [2, 4, 5, 8])
def test_a_decoder_is_cut_where_it_was_measured_to_be_fastest(measured, count):
    times = tuple(ms for _, ms in measured["parts"])
    longest, least = (max(sum(times[cut]) for cut in pipeline.cuts(costs, count))
                      for costs in (pipeline.decoder_costs([torch.nn.Identity()] * 14), times))
    assert longest == least


def test_another_decoder_is_cut_by_its_multiplications():
    parts = [torch.nn.Conv3d(width, width, 3) for width in (4, 2, 1)]
    assert pipeline.decoder_costs(parts) == pipeline.vae_costs(parts)
