"""Picture and masks reframed together: nobody gets lost, and the frame that counts shows everybody."""

import pytest
import torch

from scail_model.identity.binding import bind
from scail_model.identity.identities import report
from scail_model.identity.mask_sources import from_masks, pictures
from scail_model.inputs.framed import reframed

HEIGHT, WIDTH = 96, 160


def mask(*boxes):
    """MASK of one person, [T, H, W]: (left, top, right, bottom) for each frame."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH)
    for picture, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        picture[top:bottom, left:right] = 1
    return masks


def identities(driving, reference):
    return bind("animation", from_masks(driving, "driving"), pictures(from_masks(reference, "reference")))


def test_somebody_behind_another_keeps_the_mask():
    person = (20, 20, 50, 90)
    bound = identities([mask(person), mask((25, 30, 45, 80))], [mask(person), mask((25, 30, 45, 80))])
    done = reframed(torch.rand(1, HEIGHT, WIDTH, 3), bound, HEIGHT, WIDTH, "black", 1.0)
    assert [tuple(extent.box[0]) for extent in done.identities.references[0].extents] == [person, (25, 30, 45, 80)]
    assert done.labels.unique().tolist() == [0, 1]
    assert "nan" not in report(done.identities)


def test_a_hand_that_comes_into_the_picture_is_not_the_person():
    frames = [(156, 40, 160, 44)] * 3 + [(100, 10, 130, 90)] * 5
    bound = identities([mask(*frames)], [mask((20, 30, 35, 70))])
    done = reframed(torch.rand(1, HEIGHT, WIDTH, 3), bound, HEIGHT, WIDTH, "black", 1.0)
    assert done.frame == 3
    assert tuple(done.identities.references[0].extents[0].box[0]) == (100, 10, 130, 90)
    assert "driving frame 3:" in done.report


def test_who_would_be_lost_is_named():
    bound = identities([mask((20, 20, 50, 90)), mask((110, 20, 140, 90))], [mask((20, 20, 50, 90)),
                                                                         mask((110, 20, 140, 90))])
    with pytest.raises(ValueError, match="Nothing is left of blue in the reframed reference: lower scale"):
        reframed(torch.rand(1, HEIGHT, WIDTH, 3), bound, HEIGHT, WIDTH, "black", 6.0)


def test_an_additional_reference_of_another_size_is_cropped_with_its_mask():
    bound = identities([mask((20, 20, 50, 90))], [mask((20, 20, 50, 90), (60, 10, 100, 90))])
    done = reframed(torch.rand(2, HEIGHT, WIDTH, 3), bound, 96, 96, "extend", 1.0)
    assert done.images.shape == (2, 96, 96, 3)
    assert tuple(done.identities.references[1].extents[0].box[0]) == (28, 10, 68, 90)
