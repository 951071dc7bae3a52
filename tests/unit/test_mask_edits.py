"""Mask edits against what each of them means, spelled out with distances between pixels."""

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter

from scail_model.identity.mask_edits import Edits
from scail_model.identity.mask_set import pack_frames, packed, unpacked


def disc(height=60, width=90, x=40, y=30, radius=12):
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def near(mask, pixels):
    """Pixels with a pixel of the mask not farther away than `pixels`."""
    there = np.argwhere(mask)
    everywhere = np.argwhere(np.ones_like(mask))
    distance = np.sqrt(((everywhere[:, None] - there[None]) ** 2).sum(-1)).min(1)
    return (distance <= pixels).reshape(mask.shape)


@pytest.mark.parametrize("pixels", [1, 4, 9])
def test_grow_is_a_round_brush(pixels):
    mask = disc(40, 50, x=3, y=20, radius=6)  # half outside the picture
    assert (Edits(grow=pixels)(mask) == near(mask, pixels)).all()


def test_shrink_takes_away_what_is_near_the_outside():
    mask = disc(40, 50, radius=9, x=25, y=20)
    assert (Edits(grow=-3)(mask) == ~near(~mask, 3)).all()
    at_the_edge = np.zeros((20, 20), bool)
    at_the_edge[:, :10] = True
    shrunk = Edits(grow=-3)(at_the_edge)
    assert shrunk[:, :7].all()  # the border of the picture does not count as an edge
    assert not shrunk[:, 7:].any()
    assert not Edits(grow=-30)(mask).any()


def test_fill_holes_and_keep_largest():
    ring = disc(radius=12) & ~disc(radius=5)
    ring[2:4, 80:85] = True
    assert (Edits(fill_holes=True)(ring) == ring | disc(radius=5)).all()
    assert (Edits(keep_largest=True)(ring) == (disc(radius=12) & ~disc(radius=5))).all()
    assert (Edits(keep_largest=True, fill_holes=True)(ring) == disc(radius=12)).all()


def test_edits_have_the_bits_that_scipy_gives():
    drawn = np.random.default_rng(0)
    for _ in range(60):
        height, width = drawn.integers(1, 120, 2)
        noise = gaussian_filter(drawn.normal(size=(height, width)), drawn.choice([1, 3, 8]))
        mask = noise > np.quantile(noise, drawn.choice([0.2, 0.5, 0.9]))
        assert (Edits(fill_holes=True)(mask) == binary_fill_holes(mask)).all()
        for pixels in (1, 5, 17, 60):
            if mask.any() and not mask.all():
                assert (Edits(grow=pixels)(mask) == (distance_transform_edt(~mask) <= pixels)).all()
                assert (Edits(grow=-pixels)(mask) == (distance_transform_edt(mask) > pixels)).all()


def test_feather_rounds_corners_and_keeps_straight_edges():
    mask = np.zeros((60, 60), bool)
    mask[15:45, 15:45] = True
    result = Edits(feather=3.0)(mask)
    assert (result[30] == mask[30]).all()
    assert not result[15, 15]
    assert result[20, 20]
    speck = np.zeros((40, 40), bool)
    speck[20, 20] = True
    assert not Edits(feather=3.0)(speck).any()


def test_a_wide_feather_is_a_gaussian_too():
    mask = disc(200, 300, x=150, y=100, radius=70)
    mask[:20, :30] = True  # a corner, which goes
    wide, exact = Edits(feather=12.0)(mask), gaussian_filter(mask.astype(float), 12.0) > 0.5
    assert (wide != exact).mean() < 0.01
    assert not wide[0, 29]
    assert (wide != mask).mean() > 0.002


def test_an_empty_mask_stays_empty_and_nothing_to_do_is_false():
    assert not Edits(grow=5, feather=2, keep_largest=True, fill_holes=True)(np.zeros((8, 8), bool)).any()
    assert not Edits()
    assert Edits(grow=1)


def test_planes_are_edited_frame_by_frame():
    masks = [np.stack([disc(x=20 + 5 * step), np.zeros((60, 90), bool)]) for step in range(3)]
    mask_set = pack_frames(masks, 3, 2, 60, 90)
    edited = mask_set.edited(Edits(grow=2))
    for step in range(3):
        assert (edited.frame(step)[0] == near(masks[step][0], 2)).all()
        assert not edited.frame(step)[1].any()
        assert (mask_set.frame(step)[0] == masks[step][0]).all()


@pytest.mark.parametrize("width", [1, 8, 13])
def test_bits_and_extents(width):
    random = np.random.default_rng(width)
    masks = random.random((4, 2, 5, width)) < 0.5
    masks[1, 0] = False
    assert (unpacked(packed(masks), width) == masks).all()
    mask_set = pack_frames(masks, 4, 2, 5, width)
    for person, extent in enumerate(mask_set.extents):
        for frame in range(4):
            places = np.argwhere(masks[frame, person])
            assert extent.area[frame] == len(places)
            if len(places):
                (top, left), (bottom, right) = places.min(0), places.max(0) + 1
                assert extent.box[frame].tolist() == [left, top, right, bottom]
                assert mask_set.centre(person, frame) == pytest.approx(places[:, 1].mean() / width)
