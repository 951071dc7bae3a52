"""The drawn world: seeded, with exact masks, and with nothing of the truth where it should not be."""

from dataclasses import replace

import pytest
import torch
import world
from world import Random, draw, make_scenes

from scail_model.masks import PALETTE

SIZE, FRAMES = 64, 9


def pictures_of(scenes, **changes):
    return draw(replace(scenes, **changes), SIZE, SIZE, FRAMES)


def differs(one, other):
    return ((one - other).abs().amax(2, keepdim=True) > 0.02)


def test_a_seed_is_a_scene():
    first, again, other = (pictures_of(make_scenes(Random(seed), 2, 2, 1.0)) for seed in (1, 1, 2))
    assert torch.equal(first.truth, again.truth)
    assert not torch.allclose(first.truth, other.truth, atol=0.1)


@pytest.mark.parametrize("people", [1, 2, 3])
@pytest.mark.parametrize("replacement", [False, True])
def test_masks_show_who_is_where(people, replacement):
    scenes = make_scenes(Random(3), 4, people, 1.0, replacement=replacement)
    drawn = pictures_of(scenes)
    assert {tuple(colour) for colour in (drawn.driving_mask * 255).byte().movedim(2, -1).flatten(0, 3).tolist()} <= {
        *PALETTE, (255, 255, 255) if replacement else (0, 0, 0)}
    assert len(set(scenes.identities[0].tolist())) == people
    for mask, white in ((drawn.reference_mask, not replacement), (drawn.additional_mask, False)):
        corner = mask[:, 0, :, 0, 0]
        assert (corner == float(white)).all()
    # who has the colour in the reference has it in the driving video
    colours = (torch.tensor(PALETTE) / 255)[scenes.identities]
    for person in range(people):
        for mask in (drawn.reference_mask, drawn.driving_mask):
            assert (mask == colours[:, person, None, :, None, None]).all(2).flatten(1).any(1).all()


def test_truth_is_the_references_people_in_the_drivers_motion():
    scenes = make_scenes(Random(4), 4, 1, 1.0, replacement=False)
    drawn = pictures_of(scenes)
    people = drawn.coverage.amax(2, keepdim=True) > 0.5
    # in the characters' looks: with the drivers' it is another picture, and only inside the people
    driven = pictures_of(scenes, looks=scenes.drivers)
    assert differs(drawn.truth, driven.truth)[people.expand(-1, -1, 1, -1, -1)].float().mean() > 0.5
    far = drawn.coverage.amax(2, keepdim=True) + driven.coverage.amax(2, keepdim=True) == 0
    assert not differs(drawn.truth, driven.truth)[far].any()
    assert torch.equal(drawn.driving, driven.driving)
    # before the reference's background; before the driving video's in replacement
    assert not differs(drawn.truth, drawn.background[:, None])[drawn.coverage.amax(2, keepdim=True) == 0].any()
    replaced = pictures_of(scenes, replacement=torch.ones(4, dtype=torch.bool))
    empty = (drawn.coverage.amax(2, keepdim=True) == 0) & ~differs(replaced.driving, replaced.background[:, None])
    assert not differs(replaced.truth, replaced.driving)[empty].any()


def test_only_an_additional_reference_shows_the_spots():
    scenes = make_scenes(Random(5), 4, 1, 1.0, behind_share=1.0)
    looks = replace(scenes.looks, spots=1 - scenes.looks.spots)
    drawn, other = (draw(each, SIZE, SIZE, 17) for each in (scenes, replace(scenes, looks=looks)))  # all have turned
    torch.testing.assert_close(drawn.reference, other.reference, atol=0.01, rtol=0)
    assert torch.equal(drawn.driving, other.driving)
    assert differs(drawn.additional, other.additional).flatten(1).any(1).all()
    assert differs(drawn.truth, other.truth).flatten(1).any(1).all()
    assert not differs(drawn.truth, other.truth)[drawn.spots == 0].any()


def test_a_word_colours_the_shirts_of_the_truth_alone():
    scenes = make_scenes(Random(6), 6, 2, 1.0, word_share=1.0)
    plain = replace(scenes, word=torch.full_like(scenes.word, -1))
    drawn, without = (pictures_of(each) for each in (scenes, plain))
    assert torch.equal(drawn.reference, without.reference)
    assert differs(drawn.truth, without.truth).flatten(1).any(1).all()
    disobeyed = pictures_of(scenes, obeyed=torch.zeros(6, dtype=torch.bool))
    assert torch.equal(disobeyed.truth, without.truth)
    assert (scenes.true_looks.palette[:, :, world.SHIRT] == scenes.word_colours[:, None]).all()


def test_a_long_motion_goes_on():
    scenes = make_scenes(Random(7), 2, 1, 1.0)
    whole = draw(scenes, SIZE, SIZE, 2 * FRAMES)
    later = draw(scenes, SIZE, SIZE, FRAMES, start=FRAMES / world.FPS)
    torch.testing.assert_close(whole.truth[:, FRAMES:], later.truth, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.driving_mask[:, FRAMES:], later.driving_mask)
    assert (whole.coverage.flatten(2).sum(2) > 0).all()  # nobody walks off, however long
    assert (draw(scenes, SIZE, SIZE, 1, start=500.0).coverage.flatten(2).sum(2) > 0).all()
