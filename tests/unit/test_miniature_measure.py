"""The miniature's measures: what the truth and known errors score, and the numbers worked out by hand."""

import math
from dataclasses import replace

import measure
import pytest
import torch
from world import SHIRT, SPOT_COLOURS, WORDS, Pictures, Random, draw, make_scenes

SIZE, FRAMES = 96, 9


def scenes_of(people, count=3, behind_share=0.0, seed=0, **options):
    return make_scenes(Random(seed), count, people, 1.0, behind_share=behind_share, **options)


def backs(people=1, count=3, seed=0):
    """Scenes in which everybody has the back to the viewer in every frame."""
    scenes = scenes_of(people, count, seed=seed)
    yaw = torch.tensor([math.pi, 0.0, 0.5]).expand_as(scenes.motion.yaw)
    return replace(scenes, motion=replace(scenes.motion, yaw=yaw))


def truth_of(scenes, looks=None, start=0.0):
    return measure.draw_truth(scenes, scenes.true_looks if looks is None else looks, SIZE, SIZE, FRAMES, start)


def small_pictures(truth, coverage, background):
    """One clip of one frame; only what `score` reads."""
    values = dict.fromkeys(Pictures.__dataclass_fields__)
    return Pictures(**{**values, "truth": truth, "coverage": coverage, "background": background})


def test_score_of_the_truth_itself():
    pictures = draw(scenes_of(2), SIZE, SIZE, FRAMES)
    score = measure.score(pictures.truth, pictures)
    assert score["psnr"].tolist() == score["psnr_inside"].tolist() == [pytest.approx(90)] * 3
    assert (score["iou"] > 0.75).all()  # soft edges and shirts like the background keep it from 1


def test_score_by_hand():
    truth, coverage = torch.zeros(1, 1, 3, 2, 4), torch.zeros(1, 1, 2, 2, 4)
    coverage[..., 0, 0, :2] = 1  # two pixels of one person, one of another
    coverage[..., 1, 1, 0] = 0.6
    coverage[..., 1, 1, 1] = 0.5  # not inside
    result = truth.clone()
    result[..., 0, 0, 0] = 0.6  # red, inside
    result[..., 2, 1, 3] = 0.3  # blue, outside
    result[..., 1, 1, 2] = 0.1  # outside, too little to be found
    score = measure.score(result, small_pictures(truth, coverage, torch.zeros(1, 3, 2, 4)))
    assert score["psnr"].item() == pytest.approx(-10 * math.log10((0.36 + 0.09 + 0.01) / 24), abs=1e-4)
    assert score["psnr_inside"].item() == pytest.approx(-10 * math.log10(0.36 / 9), abs=1e-4)
    assert score["iou"].item() == pytest.approx(1 / 4)


def test_score_is_per_clip():
    pictures = draw(scenes_of(1), SIZE, SIZE, FRAMES)
    result = pictures.truth.clone()
    result[1] = pictures.background[1]
    score = measure.score(result, pictures)
    assert score["iou"][1] == 0
    assert score["psnr"][1] < score["psnr"][0] == score["psnr"][2]


@pytest.mark.parametrize("order", [[1, 0], [1, 2, 0], [0, 2, 1]])
def test_identity(order):
    scenes = scenes_of(len(order), replacement=True)
    truth, coverage, _ = truth_of(scenes)
    swapped, _, _ = truth_of(scenes, scenes.true_looks.swapped(order))
    other = 0.3 * swapped + 0.7 * truth.flip(0)  # no answer at all
    noisy = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert measure.identity_right(noisy, truth, swapped, coverage).all()
    assert not measure.identity_right(swapped, truth, swapped, coverage).any()
    assert not measure.identity_right(swapped, truth, [other, swapped], coverage).any()
    assert measure.identity_right(noisy, truth, [other, swapped], coverage).all()


def test_spots_of_the_truth_and_flipped_ones():
    scenes = backs(people=2)
    flipped = scenes.looks.spots.clone()
    flipped[1, 0, :3] = 1 - flipped[1, 0, :3]
    result, _, _ = truth_of(scenes, replace(scenes.looks, spots=flipped))
    right, psnr = (measured(result, scenes, SIZE, SIZE) for measured in (measure.spots_right, measure.spots_psnr))
    assert right[[0, 2]].tolist() == [1, 1]
    assert right[1].item() == pytest.approx(0.75, abs=0.05)  # 9 of 12, all but hidden ones being seen
    assert (psnr > 45).all()  # either colour is admissible


def test_grey_spots_are_no_answer():
    scenes = backs()
    grey, _, _ = truth_of(scenes)
    _, _, spots = truth_of(scenes)
    middle = (torch.tensor(SPOT_COLOURS[0]) + torch.tensor(SPOT_COLOURS[1])) / 2
    grey = torch.where(spots > 0.5, middle.view(3, 1, 1), grey)
    off = (torch.tensor(SPOT_COLOURS[0]) - middle).square().mean().item()
    # the middle is equally far from both; pixels at a spot's edge, mixed with the shirt, are nearer
    assert measure.spots_psnr(grey, scenes, SIZE, SIZE).tolist() == [pytest.approx(-10 * math.log10(off), abs=1.0)] * 3


def test_a_spot_that_changes_its_colour_is_half_wrong():
    scenes = backs(count=1)
    light, dark = (truth_of(scenes, replace(scenes.looks, spots=torch.full_like(scenes.looks.spots, index)))[0]
                   for index in (0, 1))
    flicker = torch.where(torch.arange(FRAMES).view(1, -1, 1, 1, 1) % 2 == 0, light, dark)
    assert measure.spots_psnr(light, scenes, SIZE, SIZE).item() > 45
    assert measure.spots_psnr(flicker, scenes, SIZE, SIZE).item() < 8


def test_each_spot_is_told_apart_by_redrawing_it_alone():
    scenes = backs(people=2, count=2)
    spots = measure.SpotTruth.of(scenes, SIZE, SIZE, FRAMES)
    plain, _, seen = truth_of(scenes)
    for person, spot in ((0, 0), (0, 5), (1, 2)):
        flipped = scenes.looks.spots.clone()
        flipped[:, person, spot] = 1 - flipped[:, person, spot]
        change, _, _ = truth_of(scenes, replace(scenes.looks, spots=flipped))
        changed = ((change - plain).abs().amax(2) > 0.45) & (seen[:, :, 0] > 0.5)
        owned = spots.owner == person * 6 + spot
        assert (changed & owned).sum() / (changed | owned).sum() > 0.95


def test_nothing_to_measure_is_nan():
    scenes = scenes_of(1)
    yaw = torch.zeros_like(scenes.motion.yaw)
    scenes = replace(scenes, motion=replace(scenes.motion, yaw=yaw))
    truth, _, _ = truth_of(scenes)
    assert measure.spots_psnr(truth, scenes, SIZE, SIZE).isnan().all()
    assert measure.spots_right(truth, scenes, SIZE, SIZE).isnan().all()


def test_start_is_respected():
    scenes = backs(count=2)
    later, _, _ = truth_of(scenes, start=1.0)
    assert (measure.spots_psnr(later, scenes, SIZE, SIZE, 1.0) > 45).all()
    assert (measure.shirt_error(later, scenes, scenes.looks.palette[:, 0, SHIRT], SIZE, SIZE, 1.0) < 1e-4).all()
    assert (measure.shirt_error(later, scenes, scenes.looks.palette[:, 0, SHIRT], SIZE, SIZE) > 1e-2).all()


def test_shirt_error_of_drawn_shirts():
    scenes = scenes_of(2, word_share=1.0)
    everywhere = torch.ones(3, dtype=torch.bool)
    green, red = (torch.tensor(WORDS[word]).expand(3, 3) for word in ("green", "red"))
    result, _, _ = truth_of(scenes, scenes.looks.with_shirt(green, everywhere))
    assert (measure.shirt_error(result, scenes, green, SIZE, SIZE) < 1e-3).all()
    off = (green - red)[0].square().mean().sqrt().item()
    # arms in shade and soft edges change less than the shirt itself
    assert measure.shirt_error(result, scenes, red, SIZE, SIZE).tolist() == [pytest.approx(off, rel=0.15)] * 3


def test_shirt_error_looks_at_shirts_alone():
    scenes = scenes_of(1, count=2)
    colours = scenes.looks.palette[:, 0, SHIRT]
    pictures = draw(scenes, SIZE, SIZE, FRAMES)
    outside = pictures.coverage.amax(2, keepdim=True) < 0.05
    result = torch.where(outside, 1 - pictures.truth, pictures.truth)
    assert (measure.shirt_error(result, scenes, colours, SIZE, SIZE) < 1e-3).all()


def test_way_of_a_shirt():
    scenes = make_scenes(Random(4), 3, 1, 1.0)
    everywhere = torch.ones(3, dtype=torch.bool)
    red, green = (torch.tensor([colour]).expand(3, 3) for colour in ((0.8, 0.1, 0.1), (0.1, 0.7, 0.2)))
    between = red + 0.25 * (green - red)
    before, after = (truth_of(scenes, scenes.looks.with_shirt(colour, everywhere))[0] for colour in (red, between))
    shirts = measure.ShirtTruth.of(scenes, SIZE, SIZE, FRAMES)
    torch.testing.assert_close(shirts.way(after, before, red, green), torch.full((3,), 0.25))
    assert (shirts.way(before, after, red, green) < 0).all()
    assert shirts.way(after, before, red, red + 0.05).isnan().all()
