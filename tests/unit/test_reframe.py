"""Reframing: drawn people of every size end at the driving person's, measured in the result's rows and columns.

Then picture and masks together: nobody gets lost, and the frame that counts shows everybody.
"""

import pytest
import torch
import torch.nn.functional as F

from scail_model.drawing.before_after import before_after
from scail_model.geometry import cover_crop
from scail_model.identity.binding import bind
from scail_model.identity.identities import report
from scail_model.identity.mask_sources import from_masks, pictures
from scail_model.inputs.placement import Box, Placement, box_of, cover, outside_share, place, resample_labels
from scail_model.inputs.reframe import place_on_canvas, reframe_references

CANVAS = (256, 448)
GREEN, RED = (0.1, 0.6, 0.2), (0.9, 0.1, 0.1)


def person(height, width, share, centre=0.5, feet=None, arms=0.16):
    """Label map of a drawn person `share` of the picture high, feet on the line `feet` and in the middle by default.

    Ellipses in parts of the body's height: head, trunk, two legs, arms that reach `arms` to both sides.
    """
    tall = share * height
    ground = height * (0.5 + share / 2 if feet is None else feet)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    up, across = (ground - y) / tall, (x - centre * width) / tall
    ellipses = [(0, 0.93, 0.05, 0.07), (0, 0.66, 0.10, 0.22), (0, 0.78, arms, 0.03),
                (-0.05, 0.25, 0.045, 0.25), (0.05, 0.25, 0.045, 0.25)]
    inside = [((across - cx) / rx) ** 2 + ((up - cy) / ry) ** 2 <= 1 for cx, cy, rx, ry in ellipses]
    return torch.stack(inside).any(0).to(torch.uint8)


def picture(labels, background=GREEN):
    return torch.where(labels[..., None] > 0, torch.tensor(RED), torch.tensor(background))


def extent(mask):
    """left, top, right, bottom of a mask by its rows and columns."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1


def assert_same_place(found, expected, height, width):
    assert found[3] - found[1] == pytest.approx(expected[3] - expected[1], rel=0.02)
    assert found[3] == pytest.approx(expected[3], abs=0.02 * (expected[3] - expected[1]))
    assert (found[0] + found[2]) / 2 == pytest.approx((expected[0] + expected[2]) / 2, abs=0.02 * width)
    assert 0 <= found[1] <= found[3] <= height


@pytest.mark.parametrize("share", [0.30, 0.45, 0.60, 0.80, 1.0])
@pytest.mark.parametrize(("size", "fill"), [((360, 640), "extend"), ((480, 270), "black"), ((300, 300), "extend")])
def test_people_end_at_the_driving_persons_size_and_place(share, size, fill):
    reference = person(*size, share, centre=0.45)
    driving = person(360, 640, 0.55, centre=0.6, feet=0.9)  # not the canvas's shape, so it is cropped a little
    placement, note = place(reference, driving, *CANVAS)
    image, labels = place_on_canvas(picture(reference), reference, placement, *CANVAS, fill)
    on_canvas = cover_crop(driving[None, None].float().expand(-1, 3, -1, -1), *CANVAS)[0, 0] > 0.5
    expected = extent(on_canvas)
    assert_same_place(extent(labels == 1), expected, *CANVAS)
    assert_same_place(extent((image - torch.tensor(RED)).abs().amax(-1) < 0.3), expected, *CANVAS)
    assert note == "Equal height, feet on the same line."
    # nothing is lost: all of the person's pixels are there, at the new size
    assert (labels == 1).sum().item() == pytest.approx((reference == 1).sum().item() * placement.scale**2, rel=0.03)
    assert outside_share(reference, placement, *CANVAS) == 0


def test_everybody_counts_as_one():
    reference = person(300, 500, 0.7, centre=0.3) + 2 * person(300, 500, 0.5, centre=0.7, feet=0.85)
    driving = person(*CANVAS, 0.4, centre=0.35) + 2 * person(*CANVAS, 0.4, centre=0.7)
    placement, _ = place(reference, driving, *CANVAS)
    labels = resample_labels(reference, placement, *CANVAS)
    assert_same_place(extent(labels > 0), extent(driving > 0), *CANVAS)
    assert labels.unique().tolist() == [0, 1, 2]


def cut(labels, top=0.0, bottom=1.0):
    """The rows between two parts of the body's height from the head down; the upper or lower edge then cuts it off."""
    _, head, _, feet = extent(labels > 0)
    rows = (round(head + part * (feet - head)) for part in (top, bottom))
    first, last = rows
    return labels[first if top else 0 : last if bottom < 1 else None]


TALL = 400  # pixels of the body in the references below


@pytest.mark.parametrize("part", [0.45, 0.6, 0.75])
@pytest.mark.parametrize("arms", [0.12, 0.22])
def test_a_half_length_driver_gives_a_half_length_result(part, arms):
    driving = cut(person(500, 600, 0.8, arms=0.16), bottom=part)
    reference = person(500, 400, TALL / 500, arms=arms)
    placement, note = place(reference, driving, *driving.shape)
    assert placement.scale == pytest.approx(1, rel=0.08)  # both bodies are 400 pixels high
    labels = resample_labels(reference, placement, *driving.shape)
    assert extent(labels > 0)[1] == pytest.approx(extent(driving > 0)[1], abs=2)
    assert "The lower edge cuts the driving person off." in note
    assert "heads on the same line" in note
    assert outside_share(reference, placement, *driving.shape) > 0.1


@pytest.mark.parametrize("part", [0.45, 0.6, 0.75])
def test_a_half_length_reference_stands_on_the_lower_edge(part):
    reference = cut(person(500, 400, TALL / 500), bottom=part)
    driving = person(500, 600, 0.8, arms=0.13)
    placement, note = place(reference, driving, 500, 600)
    assert placement.scale == pytest.approx(1, rel=0.08)
    assert extent(resample_labels(reference, placement, 500, 600) > 0)[3] == 500
    assert "The lower edge cuts the reference person off." in note
    assert "so that its cut is outside the picture" in note


def test_two_half_lengths_are_compared_by_what_both_show():
    reference, driving = cut(person(500, 400, 0.8), bottom=0.7), cut(person(300, 500, 0.8), bottom=0.5)
    placement, note = place(reference, driving, *driving.shape)
    assert placement.scale == pytest.approx(240 / 400, rel=0.03)
    assert note.count("cuts the") == 2


@pytest.mark.parametrize("part", [0.25, 0.35, 0.55])
def test_without_a_head_the_feet_meet(part):
    driving = cut(person(500, 600, 0.8), top=part)
    placement, note = place(person(500, 400, 0.8), driving, *driving.shape)
    assert placement.scale == pytest.approx(1, rel=0.03)
    labels = resample_labels(person(500, 400, 0.8), placement, *driving.shape)
    assert extent(labels > 0)[3] == pytest.approx(extent(driving > 0)[3], abs=2)
    assert "The upper edge cuts the driving person off." in note
    assert "feet on the same line" in note


def test_neither_head_nor_feet_is_said_and_heights_become_equal():
    reference = cut(person(500, 400, 0.8), top=0.2, bottom=0.7)
    driving = person(*CANVAS, 0.5)
    placement, note = place(reference, driving, *CANVAS)
    assert_same_place(extent(resample_labels(reference, placement, *CANVAS) > 0), extent(driving > 0), *CANVAS)
    assert "Neither heads nor feet can be compared" in note


def test_a_long_skirt_on_the_edge_is_no_cut():
    """Wide down to the lower edge, but as long as the driving person."""
    def skirted(height, width, share, feet):
        body = person(height, width, share, feet=feet)
        _, head, _, ground = extent(body > 0)
        middle, tall = width / 2, ground - head
        body[head + tall // 2 : ground, round(middle - 0.1 * tall) : round(middle + 0.1 * tall)] = 1
        return body

    reference, driving = skirted(500, 400, 0.7, 1.0), skirted(*CANVAS, 0.5, 0.8)
    placement, note = place(reference, driving, *CANVAS)
    assert_same_place(extent(resample_labels(reference, placement, *CANVAS) > 0), extent(driving > 0), *CANVAS)
    assert note == "Equal height, feet on the same line."


def test_who_is_cut_off_is_not_smaller_than_what_is_seen():
    """A stout person has more area, which must not make its whole body shorter than half of the other."""
    thin, stout = person(500, 400, 0.8), person(500, 400, 0.8).repeat_interleave(3, dim=1)
    half = cut(thin, bottom=0.6)
    placement, _ = place(stout, half, *half.shape)
    assert placement.scale >= 0.6 * 0.99
    placement, _ = place(half, stout, *stout.shape)
    assert placement.scale <= 1 / 0.6 * 1.01


def test_a_side_edge_is_named():
    _, note = place(person(300, 400, 0.7, centre=0.02), person(*CANVAS, 0.5), *CANVAS)
    assert "A side edge cuts a person off" in note


def test_what_the_canvas_cuts_off_is_counted():
    labels = torch.zeros(100, 200, dtype=torch.uint8)
    labels[10:90, 40:140] = 3
    labels[:5] = 7  # surroundings
    assert outside_share(labels, Placement(2, 100, 0), 200, 400) == 0  # columns 180..380
    assert outside_share(labels, Placement(2, 170, 0), 200, 400) == pytest.approx(50 / 200)  # 250..450 of 400
    assert outside_share(labels, Placement(2, 170, -60), 200, 400) == pytest.approx(1 - 150 / 200 * 120 / 160)
    assert outside_share(labels, Placement(2, 900, 0), 200, 400) == 1


def test_specks_do_not_count_but_hands_do():
    mask = torch.zeros(200, 300, dtype=torch.bool)
    mask[60:180, 100:150] = True
    mask[100:102, 80:100] = True  # an arm, two pixels wide: 0.7 % of all
    clean = Box(80, 60, 150, 180)
    assert box_of(mask) == clean
    mask[3:5, 290:293] = True
    mask[195, 7] = True
    assert box_of(mask) == clean
    assert (clean.width, clean.height, clean.centre) == (70, 120, (115, 120))
    mask[20:30, 200:210] = True  # 1.6 %: no speck
    assert box_of(mask) == Box(80, 20, 210, 180)
    assert box_of(torch.zeros(4, 4, dtype=torch.bool)) is None


def test_pixels_are_those_of_the_pipelines_resize():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(90, 120, 3, generator=generator)
    for height, width in ((45, 50), (180, 200)):
        expected = cover_crop(image.movedim(-1, 0)[None], height, width)[0].movedim(0, -1).clamp(0, 1)
        labels = torch.ones(90, 120, dtype=torch.uint8)
        covering, _ = place_on_canvas(image, labels, cover((90, 120), height, width), height, width, "black")
        inner = slice(4, -4)
        torch.testing.assert_close(covering[inner, inner], expected[inner, inner], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [0.31, 0.5, 1.0, 2.7])
def test_every_point_lands_where_the_placement_says(scale):
    """A dot's centre of mass, and the label map's pixels by a loop."""
    image, labels = torch.zeros(80, 100, 3), torch.zeros(80, 100, dtype=torch.uint8)
    image[40:48, 60:70] = 1
    labels[40:48, 60:70], labels[:, :10] = 5, 7
    placement = Placement(scale, 10.3, -6.6)
    result, placed = place_on_canvas(image, labels, placement, 140, 220, "black")
    grey = result.mean(-1).double()
    for axis, (offset, middle) in enumerate(((-6.6, 44), (10.3, 65))):
        places = torch.arange(grey.shape[axis]) + 0.5
        centre = (grey.sum(1 - axis) * places).sum() / grey.sum()
        assert centre.item() == pytest.approx(offset + scale * middle, abs=0.05)
    for y in range(0, 140, 3):
        for x in range(0, 220, 3):
            source_y, source_x = int((y + 0.5 + 6.6) // scale), int((x + 0.5 - 10.3) // scale)
            assert placed[y, x] == (5 if 40 <= source_y < 48 and 60 <= source_x < 70 else 0)


@pytest.mark.parametrize("scale", [0.4, 2.5])
def test_no_ringing_and_no_aliasing(scale):
    checks = ((torch.arange(120)[:, None] + torch.arange(160)) % 2).float()[..., None].expand(-1, -1, 3)
    labels = torch.ones(120, 160, dtype=torch.uint8)
    result, _ = place_on_canvas(checks, labels, Placement(scale, 0, 0), 48, 64, "black")
    assert result.min() >= 0
    assert result.max() <= 1
    if scale < 0.5:
        assert (result - 0.5).abs().max() < 0.1  # the checks are finer than pixels: they become grey


def extended(image, labels, placement, height=128, width=256):
    black, placed = place_on_canvas(image, labels, placement, height, width, "black")
    result, _ = place_on_canvas(image, labels, placement, height, width, "extend")
    outside = resample_labels(torch.ones_like(labels), placement, height, width) == 0
    assert torch.equal(result[~outside], black[~outside])
    assert (black[outside] == 0).all()
    assert result.min() >= 0
    assert result.max() <= 1
    return result, outside


def test_a_plain_background_goes_on():
    labels = person(100, 80, 0.7)
    result, outside = extended(picture(labels), labels, Placement(0.9, 70, 20))
    torch.testing.assert_close(result[outside], torch.tensor(GREEN).expand(int(outside.sum()), 3), rtol=0, atol=2e-3)


def test_nobody_is_smeared_or_copied():
    """The person stands at the right edge, and its legs are cut off by the lower one."""
    labels = cut(person(120, 80, 0.9, centre=0.9), bottom=0.7)
    image = picture(labels)
    result, outside = extended(image, labels, Placement(0.8, 60, 30))
    assert (labels[:, -1] > 0).sum() > 20
    assert (result[..., 0] - result[..., 1])[outside].max() < -0.4  # green everywhere; red would be +0.8


def test_the_edge_goes_on_and_softens_with_distance():
    stripes = (torch.arange(96) // 6 % 2).float()[:, None, None].expand(96, 100, 3) * 0.8 + 0.1
    labels = torch.zeros(96, 100, dtype=torch.uint8)
    labels[40:50, 50:60] = 1
    result, _ = extended(stripes, labels, Placement(1, 20, 16))
    contrast = result[24:104, :, 0].std(0)  # by column; the picture ends at column 120
    assert contrast[121] > 0.9 * contrast[118]
    assert contrast[128] < contrast[121]
    assert contrast[140] < 0.25 * contrast[121]
    assert contrast[200] < 0.05
    assert result[:, 122:].diff(dim=1).abs().max() < 0.2  # no seams


SHEET_LINE, SHEET_BOX = (255, 190, 0), (255, 255, 255)


def test_before_and_after_lie_side_by_side_with_lines_through_all():
    reference, driving = person(300, 500, 0.8), person(360, 640, 0.4, feet=0.8)
    image, frame = picture(reference), (picture(driving, (0.1, 0.2, 0.5)) * 255).to(torch.uint8)
    placement, _ = place(reference, driving, *CANVAS)
    result, labels = place_on_canvas(image, reference, placement, *CANVAS, "extend")
    sheet = before_after(image, reference, result, labels, frame, driving)
    height, width = CANVAS
    gap = (sheet.shape[1] - 3 * width) // 2
    assert sheet.shape == (height, 3 * width + 2 * gap, 3)
    assert 0 < gap < 20
    levels = (sheet * 255).round().int()
    panels = [levels[:, start : start + width] for start in (0, width + gap, 2 * (width + gap))]

    driver = extent(cover_crop(driving[None, None].float().expand(-1, 3, -1, -1), *CANVAS)[0, 0] > 0.5)
    lines = (levels == torch.tensor(SHEET_LINE)).all(-1).float().mean(1) > 0.8  # rows, through all panels
    assert lines.nonzero()[:, 0].tolist() == pytest.approx(
        [driver[1] - 2, driver[1] - 1, driver[3], driver[3] + 1], abs=1)
    for panel, shown in ((panels[0], person(*CANVAS, 0.8 * (448 / 500) * 300 / 256)), (panels[1], labels)):
        left, top, right, bottom = extent(shown > 0)
        white = (panel == torch.tensor(SHEET_BOX)).all(-1)
        white[: height // 8] = False  # the caption
        assert extent(white) == pytest.approx((left, max(top, height // 8), right, bottom), abs=2)
    below = slice(driver[3] + 4, height - 8)
    seen = cover_crop(image.movedim(-1, 0)[None], *CANVAS)[0].movedim(0, -1)
    assert (panels[0][below, :90] / 255 - seen[below, :90]).abs().max() < 0.01
    assert (panels[1][below, :90] / 255 - result[below, :90]).abs().max() < 0.01
    assert (panels[2][below, :90] / 255 - torch.tensor((0.1, 0.2, 0.5))).abs().max() < 0.01
    captions = [panel[: height // 10, : width // 2] for panel in panels]
    assert not torch.equal(captions[0], captions[1])

    two = before_after(image, reference, result, labels, None, driving)
    assert torch.equal(two, sheet[:, : 2 * width + gap])


def test_before_and_after_without_anybody():
    """The crop may lose the person, and the first driving frame may be empty."""
    reference = person(600, 100, 0.2, feet=0.2)
    image = picture(reference)
    nobody = torch.zeros(CANVAS, dtype=torch.uint8)
    result, labels = place_on_canvas(image, reference, Placement(0.4, 100, 0), *CANVAS, "black")
    sheet = before_after(image, reference, result, labels, None, nobody)
    assert not (sheet == torch.tensor(SHEET_LINE) / 255).all(-1).any()


def test_mistakes_are_named():
    somebody, nobody = person(100, 80, 0.7), torch.full((100, 80), 7, dtype=torch.uint8)
    with pytest.raises(ValueError, match="The driving frame shows no person, but .*choose a picture"):
        place(somebody, nobody, *CANVAS)
    with pytest.raises(ValueError, match="The reference mask shows no person, but .*paint the person"):
        place(nobody, somebody, *CANVAS)
    with pytest.raises(ValueError, match="The reference mask is empty"):
        outside_share(nobody, Placement(1, 0, 0), *CANVAS)
    at = Placement(1, 0, 0)
    with pytest.raises(ValueError, match="The mask is 80x100 and the picture 80x50 pixels, but .*make the mask"):
        place_on_canvas(torch.zeros(50, 80, 3), somebody, at, *CANVAS, "black")
    with pytest.raises(ValueError, match='fill is "grey", but it must be black or extend'):
        place_on_canvas(picture(somebody), somebody, at, *CANVAS, "grey")
    with pytest.raises(ValueError, match="The reference shows no background, but fill is .extend.*check the mask"):
        place_on_canvas(picture(somebody), torch.ones_like(somebody), at, *CANVAS, "extend")


def test_no_pixel_is_lost_by_resampling_labels():
    """Against torch's own nearest neighbour, at whole factors."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 7, (30, 40), generator=generator, dtype=torch.uint8)
    larger = F.interpolate(labels[None, None].float(), scale_factor=3, mode="nearest")[0, 0].to(torch.uint8)
    assert torch.equal(resample_labels(labels, Placement(3, 0, 0), 90, 120), larger)
    assert torch.equal(resample_labels(larger, Placement(1 / 3, 0, 0), 30, 40), labels)


# Picture and masks together

SCENE = (96, 160)


def walker(*boxes):
    """MASK of one person, [T, H, W]: (left, top, right, bottom) for each frame."""
    masks = torch.zeros(len(boxes), *SCENE)
    for picture, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        picture[top:bottom, left:right] = 1
    return masks


def bound_people(driving, reference):
    return bind("animation", from_masks(driving, "driving"), pictures(from_masks(reference, "reference")))


def test_somebody_behind_another_keeps_the_mask():
    person = (20, 20, 50, 90)
    bound = bound_people([walker(person), walker((25, 30, 45, 80))], [walker(person), walker((25, 30, 45, 80))])
    done = reframe_references(torch.rand(1, *SCENE, 3), bound, *SCENE, "black", 1.0)
    assert [tuple(extent.box[0]) for extent in done.identities.references[0].extents] == [person, (25, 30, 45, 80)]
    assert done.labels.unique().tolist() == [0, 1]
    assert "nan" not in report(done.identities)


def test_a_hand_that_comes_into_the_picture_is_not_the_person():
    frames = [(156, 40, 160, 44)] * 3 + [(100, 10, 130, 90)] * 5
    bound = bound_people([walker(*frames)], [walker((20, 30, 35, 70))])
    done = reframe_references(torch.rand(1, *SCENE, 3), bound, *SCENE, "black", 1.0)
    assert done.frame == 3
    assert tuple(done.identities.references[0].extents[0].box[0]) == (100, 10, 130, 90)
    assert "driving frame 3:" in done.report


def test_who_would_be_lost_is_named():
    people = [walker((20, 20, 50, 90)), walker((110, 20, 140, 90))]
    bound = bound_people(people, people)
    with pytest.raises(ValueError, match="The reframed reference no longer shows blue: lower scale"):
        reframe_references(torch.rand(1, *SCENE, 3), bound, *SCENE, "black", 6.0)


def test_an_additional_reference_of_another_size_is_cropped_with_its_mask():
    bound = bound_people([walker((20, 20, 50, 90))], [walker((20, 20, 50, 90), (60, 10, 100, 90))])
    done = reframe_references(torch.rand(2, *SCENE, 3), bound, 96, 96, "extend", 1.0)
    assert done.images.shape == (2, 96, 96, 3)
    assert tuple(done.identities.references[1].extents[0].box[0]) == (28, 10, 68, 90)
