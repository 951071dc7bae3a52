"""Noise of segments: the official order of draws, and keys that tell noise from noise."""

import pytest
import torch

from scail_model.video.noise import NOISES, ONE_GENERATOR, PER_SEGMENT, SAME, Noise

SHAPES = [(1, 16, 3, 2, 4), (1, 16, 3, 2, 4), (1, 16, 2, 2, 4), (1, 16, 1, 2, 4)]


def drawn(seed, shapes):
    """The official loop: one generator, a segment after the other."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float32) for shape in shapes]


def same(one, other):
    return one.shape == other.shape and torch.equal(one, other)


def test_one_generator_draws_on_from_segment_to_segment():
    noises = Noise(ONE_GENERATOR, 7, SHAPES)
    for index, expected in enumerate(drawn(7, SHAPES)):
        assert same(noises.of(index), expected)


@pytest.mark.parametrize("order", [(3,), (2, 0, 3), (1, 1), (3, 2, 1, 0), (0, 2)])
def test_a_segment_has_its_noise_in_whatever_order_it_is_asked_for(order):
    noises = Noise(ONE_GENERATOR, 2**64 - 1, SHAPES)
    expected = drawn(2**64 - 1, SHAPES)
    for index in order:
        assert same(noises.of(index), expected[index])


def test_a_seed_of_its_own_leaves_the_others_as_they_are():
    noises = Noise(ONE_GENERATOR, 7, SHAPES)
    expected = drawn(7, SHAPES)
    assert same(noises.of(0), expected[0])
    assert same(noises.of(1, seed=9), drawn(9, SHAPES[1:2])[0])
    assert same(noises.of(2), expected[2])


def test_each_segment_seeded_anew():
    for index, shape in enumerate(SHAPES):
        assert same(Noise(PER_SEGMENT, 7, SHAPES).of(index), drawn(7 + index, [shape])[0])
        assert same(Noise(SAME, 7, SHAPES).of(index), drawn(7, [shape])[0])
    assert same(Noise(PER_SEGMENT, 2**64 - 1, SHAPES).of(1), drawn(0, SHAPES[1:2])[0])  # goes round


def test_other_noise_has_another_key():
    found = []
    for shapes in (SHAPES, SHAPES[1:], [SHAPES[3], *SHAPES[:3]]):
        for seed in (7, 8):
            for kind in NOISES:
                noises = Noise(kind, seed, shapes)
                found += [(noises.key(index, own), noises.of(index, own))
                          for index in range(len(shapes)) for own in (None, 8, 9)]
    for number, (key, noise) in enumerate(found):
        for other_key, other in found[number + 1 :]:
            assert key != other_key or same(noise, other), key
    assert len({key for key, _ in found}) > 20


@pytest.mark.parametrize("kind", NOISES)
def test_what_does_not_change_the_noise_leaves_the_key(kind):
    """So that finished segments are found again when the end of a video, or another segment, has changed."""
    noises, longer = Noise(kind, 7, SHAPES), Noise(kind, 7, [*SHAPES[:2], (1, 16, 9, 2, 4), *SHAPES])
    assert [noises.key(index) for index in (0, 1)] == [longer.key(index) for index in (0, 1)]
    assert noises.key(0, 9) == noises.key(1, 9) == Noise(SAME, 5, SHAPES).key(1, 9)
    noises.of(2)
    assert noises.key(1) == longer.key(1)


def test_the_generator_cares_for_what_was_drawn_before_alone():
    """Two segments that draw as many numbers as one: what follows has the same noise, and the same key."""
    halves, whole = [(1, 16, 1, 2, 4)] * 2 + SHAPES[:1], [(1, 16, 2, 2, 4)] + SHAPES[:1]
    one, other = Noise(ONE_GENERATOR, 7, halves), Noise(ONE_GENERATOR, 7, whole)
    assert same(one.of(2), other.of(1))
    assert one.key(2) == other.key(1)
