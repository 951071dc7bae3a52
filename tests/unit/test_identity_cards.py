"""Cards of both sides' people: numbers as a binding has them, the frame that shows a person well, and the cut-out."""

import numpy as np
import pytest
import torch

from scail_model.identity import binding, cards, mask_sources
from scail_model.masks import PALETTE
from scail_model.media.clips import TensorClip


def masks(*people, name="driving", height=60, width=80):
    """A source of plain masks; each person is a list of boxes (left, top, right, bottom), one for each frame, or
    None."""
    masks = []
    for boxes in people:
        mask = torch.zeros(len(boxes), height, width)
        for frame, box in zip(mask, boxes, strict=True):
            if box:
                left, top, right, bottom = box
                frame[top:bottom, left:right] = 1
        masks.append(mask)
    return mask_sources.from_masks(masks, name)


LEFT, RIGHT = (10, 10, 30, 50), (50, 20, 62, 56)


def two(*, video=None, picture=None):
    driving = masks([None, LEFT, LEFT], [RIGHT, RIGHT, None])
    return cards.cards(driving, masks([LEFT], [RIGHT], name="reference"), video, picture)


def test_a_card_for_everybody_of_both_sides():
    found = two()
    assert [(card.side, card.number, card.place) for card in found] == [
        ("reference", 1, 0), ("reference", 2, 1), ("driving", 1, 0), ("driving", 2, 1)]
    assert [card.colour for card in found] == ["#0000ff", "#ff0000"] * 2
    assert [card.seen for card in found] == [1, 1, 2, 2]
    assert [card.coverage for card in found] == [800 / 4800, 432 / 4800] * 2
    assert [card.nearest for card in found] == [1, 2, None, None]
    assert "thumbnail" not in found[0].values()


def test_people_who_do_not_pair_by_themselves_have_the_nearest():
    found = cards.cards(masks([LEFT], [RIGHT]), masks([RIGHT], name="reference"), None, None)
    assert [card.nearest for card in found] == [2, None, None]


def test_colours_are_numbers_and_the_place_is_that_of_a_name():
    frame = torch.full((1, 60, 80, 3), 255, dtype=torch.uint8)
    for number, (left, top, right, bottom) in ((2, LEFT), (5, RIGHT)):
        frame[:, top:bottom, left:right] = torch.tensor(PALETTE[number - 1], dtype=torch.uint8)
    source = mask_sources.from_colours(frame, 1, "reference")
    found = cards.cards(masks([LEFT], [RIGHT]), source, None, None)
    assert [(card.number, card.place, card.colour_name, card.painted) for card in found[:2]] == [
        (2, 0, "red", True), (5, 1, "cyan", True)]


def test_a_person_who_is_never_seen_has_no_card():
    found = cards.cards(masks([None], [RIGHT]), masks([LEFT], [RIGHT], name="reference"), None, None)
    assert [(card.side, card.number) for card in found] == [("reference", 1), ("reference", 2), ("driving", 2)]


def test_the_good_frame_is_no_sliver_at_the_edge():
    assert cards.good_frame(np.array([0, 3, 40, 100, 110, 90, 100])) == 3
    assert cards.good_frame(np.array([0, 0, 1])) == 2


def test_a_thumbnail_is_cut_from_the_frame_and_darkens_what_is_not_the_person():
    frames = torch.full((3, 60, 80, 3), 100, dtype=torch.uint8)
    frames[1] = 200  # the first frame that shows person 1
    picture = torch.full((60, 80, 4), 0.5)
    reference, _, first, second = two(video=TensorClip(frames), picture=picture)
    for card, level in ((reference, 128), (first, 200), (second, 100)):
        assert card.thumbnail.shape == (128, 96, 3)
        assert card.thumbnail[64, 48].tolist() == [level] * 3  # the middle of the person
        assert card.thumbnail[0, 0].tolist() == [round(level * 0.4 - 0.01)] * 3


def test_without_pictures_a_thumbnail_is_the_mask_in_its_colour():
    blue, red = (card.thumbnail for card in two()[:2])
    assert blue[64, 48].tolist() == [0, 0, 255]
    assert red[64, 48].tolist() == [255, 0, 0]
    assert blue[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("box", [(0, 0, 80, 60), (0, 0, 1, 1), (79, 0, 80, 60), (0, 58, 80, 60)])
def test_every_box_has_a_thumbnail_that_shows_it_undistorted(box):
    source = masks([box], name="reference")
    found = cards.thumbnail(source.mask_set, 0, 0, None, 1)
    assert found.shape == (128, 96, 3)
    assert found.max() > 60


def test_many_people_of_a_track_have_cards_too():
    people = masks(*([(4 * index, 4, 4 * index + 3, 40)] for index in range(6)))
    doubled = mask_sources.Source("driving", people.mask_set.select((*range(6), *range(6))))
    found = cards.cards(doubled, masks([LEFT], name="reference"), None, None)
    assert [card.colour for card in found[-6:]] == [""] * 6
    assert found[-1].thumbnail.max() == 160


def test_pairs_in_numbers_are_those_of_a_binding():
    driving, reference = masks([LEFT], [RIGHT]), masks([LEFT], [RIGHT], name="reference")
    assert binding.numbered_pairs(driving, reference, " 2:1,1:2") == [(1, 2), (2, 1)]
    with pytest.raises(ValueError, match="cannot be read"):
        binding.numbered_pairs(driving, reference, "1-2")
