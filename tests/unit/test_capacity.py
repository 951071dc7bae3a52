"""What fits is what the estimates say, to the frame; and every weight is either on the GPU or comes."""

import itertools
import math
from dataclasses import replace

import pytest

from scail_model.config import TransformerConfig
from scail_model.preflight.budget import Machine, Work, block_weights, estimate
from scail_model.preflight.capacity import longest_segment, residence, smaller, smaller_settings

GIB = 2**30
WEIGHTS = 2 * sum(math.prod(shape) for shape in TransformerConfig().parameter_shapes().values())
WORK = Work(TransformerConfig(), 896, 512, (81,), additional=0, steps=40, guidance=5.0, weight_bytes=WEIGHTS,
            driving_width=1920, driving_height=1080)


def card(gib, free=None):
    return Machine(gib * GIB, round((gib - 1 if free is None else free) * GIB), 64 * GIB, 798.0)


@pytest.mark.parametrize(("free", "advice"), [
    (4.8, "segments of 81 frames, the longest that fit at this size"),
    (4.7, "segments of 77 frames, the longest that fit at this size"), (3.45, "672x384"), (3.0, "544x320"),
    (0.5, None)])
def test_too_little_memory_names_the_next_setting_that_fits(free, advice):
    assert smaller(replace(WORK, lengths=(85, 85, 21)), free * GIB) == advice


def test_advice_is_the_mildest_that_fits():
    settings = list(smaller_settings(896, 512, 81, 69))
    assert settings[:5] == [(896, 512, 77), (896, 512, 73), (896, 512, 69), (832, 480, 81), (768, 448, 81)]
    assert settings[-1] == (224, 128, 81)
    portrait = list(smaller_settings(512, 896, 81, 81))
    assert portrait[:2] == [(480, 832, 81), (448, 768, 81)]


@pytest.mark.parametrize("total", [0, 8, 139])
def test_the_longest_segment_is_the_last_that_fits(total):
    """Every length that is longer needs too much, also where longer segments are in chunks and need less."""
    for free in (4.0, 5.0, 6.5):
        longest = longest_segment(WORK, round(free * GIB), total * GIB)
        needs = {frames: estimate(replace(WORK, lengths=(frames,)), total * GIB).least for frames in range(1, 162, 4)}
        assert longest == max(frames for frames, need in needs.items() if need <= free * GIB)


def test_the_vae_in_tiles():
    assert longest_segment(WORK, round(3.4 * GIB)) == 5  # decoding more takes more
    assert longest_segment(WORK, round(3.4 * GIB), tiles=True) == 41
    assert longest_segment(WORK, GIB, tiles=True) is None
    assert longest_segment(WORK, 100 * GIB) == 161


def test_weights_that_all_stay():
    where = residence(WORK, card(48))
    assert (where.resident, set(where.streamed)) == (WEIGHTS, {0})
    assert where.needed_rate() == where.waiting_seconds(1e9) == 0
    assert residence(WORK, replace(card(48), matmul_tflops=None)) is None


@pytest.mark.parametrize(("gib", "size"), list(itertools.product(
    (12, 16, 24, 32), ((896, 512), (1280, 704)))))
def test_every_weight_stays_or_comes(gib, size):
    work = replace(WORK, width=size[0], height=size[1])
    where, need, block = residence(work, card(gib)), estimate(work, gib * GIB), block_weights(work)
    assert where.resident + sum(where.streamed) == WEIGHTS
    assert where.resident + need.sampling + GIB // 4 <= (gib - 1) * GIB
    assert (gib - 1) * GIB - (where.resident + need.sampling + GIB // 4) < block  # no room is wasted
    assert all(0 <= part <= block for part in where.streamed)


def test_feed_forward_stays_before_attention():
    """24 GB have room for all feed-forwards (10.5 GiB), so that only attention comes, in some of the blocks."""
    where, block = residence(WORK, card(24)), block_weights(WORK)
    share = 10 * 5120**2 / (10 * 5120**2 + 2 * 5120 * 13824)
    assert max(where.streamed) == pytest.approx(share * block, rel=1e-6)
    assert min(where.streamed) == 0


def test_a_bus_is_fast_enough_or_waited_for():
    where = residence(WORK, card(12))
    rate = where.needed_rate()
    assert rate == pytest.approx(block_weights(WORK) / where.block_seconds)
    assert where.waiting_seconds(rate) == pytest.approx(0, abs=1e-9)
    # half the rate: whole blocks wait as long as they compute
    whole = where.streamed.count(max(where.streamed))
    assert where.waiting_seconds(rate / 2) >= whole * where.block_seconds * 0.999
    slow = residence(WORK, replace(card(12), matmul_tflops=79.8))
    assert slow.needed_rate() == pytest.approx(rate / 10)


def test_next_to_nothing_has_no_room_for_weights():
    where = residence(WORK, card(12, free=1))
    assert set(where.streamed) == {block_weights(WORK)}
    assert where.resident == 0
