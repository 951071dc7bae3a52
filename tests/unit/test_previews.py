"""Previews: every pixel of the blend written out, tags found in the picture, channels read back from the sheet."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ImageFont

from scail_model.drawing.previews import channels, chosen_frames, contact_sheet, overlay
from scail_model.masks import PALETTE, pack_mask

COLOURS = np.array([(0, 0, 0), *PALETTE, (255, 255, 255)]) / 255  # by label
PERSON, SURROUNDINGS, OUTLINE = 0.45, 0.25, 2
HALF_LEVEL = 0.5 / 255 + 1e-6


def label_map(height, width, *people, background=0):
    """One frame [1, H, W]; each of `people` is a label and the rows and columns of a rectangle."""
    labels = torch.full((1, height, width), background, dtype=torch.uint8)
    for label, rows, columns in people:
        labels[0, slice(*rows), slice(*columns)] = label
    return labels


def grey(labels, level=128):
    return torch.full((*labels.shape, 3), level, dtype=torch.uint8)


def blended(frames, labels):
    """What overlay has to draw without tags: frames in 0..1 and label maps, arrays of one size."""
    _, height, width = labels.shape
    padded = np.pad(labels, ((0, 0), (OUTLINE, OUTLINE), (OUTLINE, OUTLINE)), "edge")  # none at the border
    edge = np.zeros(labels.shape, bool)
    for y in range(2 * OUTLINE + 1):
        for x in range(2 * OUTLINE + 1):
            edge |= padded[:, y : y + height, x : x + width] != labels
    person = (labels != 0) & (labels != 7)
    shares = np.where(person, np.where(edge, 1.0, PERSON), SURROUNDINGS)[..., None]
    return (1 - shares) * frames + shares * COLOURS[labels]


def tags_of(picture, labels, level=128):
    """Rectangles (left, top, width, height) of what lies over a grey picture's blend."""
    expected = blended(grey(labels, level).numpy() / 255, labels.numpy())[0]
    return islands(torch.from_numpy((np.abs(picture.numpy() - expected) > 2 * HALF_LEVEL).any(-1)))


def islands(mask):
    """Rectangles (left, top, width, height) round the connected parts of a mask [H, W]."""
    numbers = torch.where(mask, torch.arange(1.0, mask.numel() + 1).view(mask.shape), 0.0)
    while True:  # the highest number of a part spreads over it
        spread = F.max_pool2d(numbers[None], 3, stride=1, padding=1)[0] * mask
        if torch.equal(spread, numbers):
            break
        numbers = spread
    places = []
    for number in numbers.unique()[1:]:
        rows, columns = torch.where(numbers == number)
        low, high = (torch.stack((columns, rows)).aminmax(dim=1))
        places.append((*low.tolist(), *(high - low + 1).tolist()))
    return places


@pytest.mark.parametrize("background", [0, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_each_pixel_is_blended_with_its_colour(background, dtype):
    people = [(label, (40, 60), (40 * label - 30, 40 * label - 12)) for label in range(1, 7)]
    labels = label_map(64, 240, *people, background=background)
    labels[0, 50:60, 22:40] = 3  # two people touch
    labels[0, 45:64, 225:240] = 6  # and one is cut off
    levels = torch.randint(256, (1, 64, 240, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    frames = levels if dtype == torch.uint8 else levels.float() / 255
    drawn = overlay(frames, labels, {}, [])
    assert drawn.dtype == torch.float32
    expected = blended(levels.numpy() / 255, labels.numpy())
    assert np.abs(drawn.numpy() - expected)[:, 41:].max() <= HALF_LEVEL  # below the tags
    assert np.abs(drawn.numpy() - expected)[:, :15].max() <= HALF_LEVEL  # above them


def test_flat_colours_without_a_picture():
    labels = label_map(48, 60, (4, (30, 45), (5, 20)), (6, (30, 45), (40, 60)), background=7)
    drawn = overlay(None, labels, {}, [])
    assert np.array_equal(drawn[0, 31:].numpy(), COLOURS[labels[0, 31:].numpy()].astype(np.float32))


@pytest.mark.parametrize(("size", "longest", "expected"), [
    ((300, 500), 100, (60, 100)), ((500, 300), 100, (100, 60)), ((90, 70), 100, (90, 70)), ((101, 333), 111, (34, 111)),
])
def test_the_longest_side_is_limited_and_nothing_is_enlarged(size, longest, expected):
    assert overlay(None, label_map(*size), {}, [], longest=longest).shape == (1, *expected, 3)


def test_small_label_maps_take_the_middle_of_the_pixels_that_they_stand_for():
    labels = torch.zeros(1, 90, 60, dtype=torch.uint8)
    labels[:, 1::3, 1::3] = 2
    drawn = overlay(None, labels, {}, [], longest=30)[0]
    assert torch.equal(drawn[25:], torch.tensor([1.0, 0, 0]).expand(5, 20, 3))


def test_a_picture_of_another_size_is_laid_under_the_labels():
    labels = label_map(80, 120, (1, (60, 80), (0, 60)))
    frame = torch.zeros(1, 40, 60, 3)
    frame[:, :, 30:] = 1.0
    drawn = overlay(frame, labels, {}, [])[0]
    assert torch.allclose(drawn[70, 10], torch.tensor([0, 0, PERSON]), atol=2 * HALF_LEVEL)
    assert torch.allclose(drawn[70, 100], torch.full((3,), 1 - SURROUNDINGS), atol=2 * HALF_LEVEL)
    halved = overlay(frame, labels, {}, [], longest=60)[0]
    assert torch.allclose(halved[35, 5], torch.tensor([0, 0, PERSON]), atol=2 * HALF_LEVEL)


def test_a_tag_stands_above_the_head_and_not_above_a_raised_hand():
    labels = label_map(200, 240, (3, (80, 180), (100, 140)), (3, (30, 110), (140, 150)))
    (left, top, width, height), = tags_of(overlay(grey(labels), labels, {3: "Anna"}, [])[0], labels)
    assert abs(left + width / 2 - 120) < 12
    assert 80 - 10 < top + height <= 80


def test_the_tag_carries_the_colour_and_the_name():
    labels = label_map(120, 160, (5, (60, 110), (60, 100)))
    found = {}
    for name in ("Anna", "Otto", ""):
        picture = overlay(grey(labels), labels, {5: name}, [])[0]
        (left, top, width, height), = tags_of(picture, labels)
        box = picture[top : top + height, left : left + width]
        assert (box - torch.tensor([0.0, 1.0, 1.0])).abs().amax(-1).le(HALF_LEVEL).sum() > 30  # cyan chip
        assert (box > 0.85).all(-1).sum() > 5  # light letters
        assert box.median() < 0.35  # dark box
        found[name] = box
    assert found["Anna"].shape != found["Otto"].shape or not torch.equal(found["Anna"], found["Otto"])
    assert found[""].shape[1] < found["Anna"].shape[1]
    assert torch.equal(overlay(grey(labels), labels, {}, []), overlay(grey(labels), labels, {5: ""}, []))


@pytest.mark.parametrize("level", [0, 255])
def test_letters_are_readable_on_black_and_on_white(level):
    labels = label_map(120, 160, (2, (60, 110), (60, 100)))
    picture = overlay(grey(labels, level), labels, {2: "Anna"}, [])[0]
    box = picture[42:56, 75:95].amax(-1)  # inside the tag, right of its chip
    assert box.max() > 0.85
    assert box.median() < 0.35


@pytest.mark.parametrize("corner", [(slice(0, 30), slice(0, 20)), (slice(0, 30), slice(-20, None)),
                                    (slice(-6, None), slice(0, 6)), (slice(-6, None), slice(-6, None))])
def test_tags_stay_whole_inside_the_picture(corner):
    free = label_map(120, 160, (1, (60, 110), (60, 100)))
    (_, _, *size), = tags_of(overlay(grey(free), free, {1: "Anna"}, [])[0], free)
    labels = label_map(120, 160)
    labels[0][corner] = 1
    (left, top, *found), = tags_of(overlay(grey(labels), labels, {1: "Anna"}, [])[0], labels)
    assert found == size
    assert left >= 2
    assert top >= 2
    assert left + size[0] <= 158
    assert top + size[1] <= 118


@pytest.mark.parametrize("top", [2, 60, 130])  # at the bottom, they make way upwards
def test_tags_of_heads_that_coincide_do_not_overlap(top):
    people = [(label, (top + label, 150), (60 + 8 * label, 68 + 8 * label)) for label in range(1, 5)]
    labels = label_map(150, 200, *people)
    names = {label: f"Anna {label}" for label in range(1, 5)}
    assert len(tags_of(overlay(grey(labels), labels, names, [])[0], labels)) == 4
    with_line = overlay(grey(labels), labels, names, [17])[0]
    found = tags_of(with_line, labels)
    assert len(found) == 5
    assert len({height for *_, height in found}) == 1  # none is covered in part


def test_tags_make_way_downwards_in_the_order_of_the_heads():
    labels = label_map(200, 200, (3, (100, 180), (80, 90)), (1, (101, 180), (92, 102)), (2, (102, 180), (104, 114)))
    names = {3: "", 1: "Anna", 2: "Annabella"}
    found = sorted(tags_of(overlay(grey(labels), labels, names, [])[0], labels), key=lambda tag: tag[2])
    tops = [top for _, top, _, _ in found]  # the longer the name, the wider the tag
    assert 100 - 10 < tops[0] + found[0][3] <= 100
    assert tops[0] < tops[1] < tops[2]


def test_nobody_who_is_absent_has_a_tag():
    labels = torch.cat((label_map(100, 160, (1, (50, 90), (20, 40)), (2, (50, 90), (110, 130))),
                        label_map(100, 160, (2, (50, 90), (110, 130))), label_map(100, 160)))
    drawn = overlay(grey(labels), labels, {1: "Anna", 2: "Otto"}, [])
    tags = [tags_of(picture, frame[None]) for picture, frame in zip(drawn, labels, strict=True)]
    assert [len(found) for found in tags] == [2, 1, 0]
    assert tags[1][0] in tags[0]
    assert tags[1][0][0] > 80


def test_frames_are_numbered_at_the_top_left():
    labels = label_map(100, 160).expand(3, -1, -1)
    drawn = overlay(grey(labels), labels, {}, [17, 18, 17])
    (left, top, width, height), = tags_of(drawn[0], labels[:1])
    assert max(left, top) < 6
    assert width > 2 * height
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_long_names_are_cut_to_the_picture():
    labels = label_map(80, 100, (1, (50, 70), (40, 60)))
    (left, _, width, _), = tags_of(overlay(grey(labels), labels, {1: "Anna of the second scene " * 3}, [])[0], labels)
    assert left >= 2
    assert 70 < width <= 96


def test_names_in_other_letters_are_written_where_a_font_is_installed():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 11)
    except OSError:
        pytest.skip("DejaVu Sans is not installed")
    labels = label_map(80, 100, (1, (50, 70), (40, 60)))
    drawn = [overlay(grey(labels), labels, {1: name}, []) for name in ("Анна", "Отто")]
    assert not torch.equal(*drawn)  # missing letters are all the same box


def test_unequal_counts_are_named():
    labels = label_map(20, 20).expand(3, -1, -1)
    with pytest.raises(ValueError, match="The preview has 2 pictures, but 3 label maps: pass one for each"):
        overlay(torch.zeros(2, 20, 20, 3), labels, {}, [])
    with pytest.raises(ValueError, match="The preview has 1 frame numbers, but 3 label maps"):
        overlay(None, labels, {}, [4])


def cells(sheet):
    """{number: (top, left, rows, columns)} of the even areas that hold (number + 1) / 61 in the strongest colour."""
    strongest = sheet.amax(-1)
    found = {}
    for number in range(28):
        rows, columns = torch.where(strongest == torch.tensor((number + 1) / 61))
        if len(rows):
            top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            assert len(rows) == (bottom - top) * (right - left)  # one whole rectangle
            found[number] = [int(value) for value in (top, left, bottom - top, right - left)]
    return found


def numbered_planes(height, width):
    """[28, 2, height, width], the second latent frame even in every channel and different between them."""
    packed = torch.zeros(28, 2, height, width)
    packed[:, 1] = (torch.arange(1.0, 29.0) / 61).view(28, 1, 1)
    return packed


@pytest.mark.parametrize("size", [(12, 8), (6, 20), (100, 250)])
def test_a_sheet_has_every_channel_in_its_row_and_column(size):
    found = cells(channels(numbered_planes(*size), 1, title="Driving mask"))
    assert len(found) == 28
    factor = found[0][2] // size[0]
    assert factor >= 1
    for number, (top, left, height, width) in found.items():
        assert (height, width) == (factor * size[0], factor * size[1])
        assert top == found[number % 7][0]  # colours in rows
        assert left == found[number // 7 * 7][1]  # frames in columns
    assert all(found[row][0] + found[row][2] < found[row + 1][0] for row in range(6))
    assert all(found[7 * frame][1] + found[0][3] < found[7 * frame + 7][1] for frame in range(3))


def test_cells_hold_the_packed_values_in_the_colour():
    # the colours of the channels, in the order of the packed mask
    white_red_green_blue_yellow_magenta_cyan = (
        (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1))
    where = cells(channels(numbered_planes(12, 8), 1, title="Mask"))
    packed = torch.rand(28, 2, 12, 8, generator=torch.Generator().manual_seed(0))
    sheet = channels(packed, 1, title="Mask")
    for number, (top, left, height, width) in where.items():
        values = np.kron(packed[number, 1].numpy(), np.ones((height // 12, width // 8), np.float32))
        expected = values[..., None] * np.float32(white_red_green_blue_yellow_magenta_cyan[number % 7])
        assert np.array_equal(sheet[top : top + height, left : left + width].numpy(), expected)


def test_the_row_of_a_person_is_where_the_packed_mask_has_the_colour():
    for label, colour in enumerate(PALETTE, start=1):
        mask = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64)
        sheet = channels(pack_mask(mask), 0, title=f"person {label}")
        full = (sheet == torch.tensor(COLOURS[label], dtype=torch.float32)).all(-1)
        assert full.sum() >= 4 * 64 * 64


def test_empty_rows_are_dim_strips():
    packed = numbered_planes(12, 8)
    full = channels(packed, 1, title="Mask")
    packed[1::7] = 0
    sheet = channels(packed, 1, title="Mask")
    found = cells(sheet)
    assert sorted(found) == [number for number in range(28) if number % 7 != 1]
    assert len(sheet) < len(full)
    strip = sheet[found[0][0] + found[0][2] + 2 : found[2][0] - 2, found[0][1] :]
    assert 20 < len(strip) < 60
    assert strip.max() < 0.5
    assert strip.std() > 0.01  # it says so


def test_a_row_says_its_highest_value():
    packed = numbered_planes(12, 8)
    sheets = [channels(packed, 1, title="Mask")]
    packed[21, 1] /= 2  # of the first row, channel 21 is the highest
    sheets.append(channels(packed, 1, title="Mask"))
    left = cells(sheets[0])[0][1] - 2
    rows = [[sheet[top : top + height, :left] for top, _, height, _ in (cells(sheets[0])[0], cells(sheets[0])[1])]
            for sheet in sheets]
    assert not torch.equal(rows[0][0], rows[1][0])
    assert torch.equal(rows[0][1], rows[1][1])


def test_the_columns_say_which_video_frames_they_are():
    packed = torch.zeros(28, 3, 12, 8)
    first, second, third = (channels(packed, frame, title="Mask") for frame in range(3))
    assert first.shape == second.shape == third.shape
    where = cells(channels(numbered_planes(12, 8), 1, title="Mask"))

    def headings(sheet):
        top, _, _, width = where[0]
        return [sheet[top - 30 : top - 2, left : left + width] for _, left, _, _ in (where[0], where[7], where[21])]

    assert all(torch.equal(heading, headings(first)[0]) for heading in headings(first))  # four times the first frame
    later = [*headings(second), *headings(third), headings(first)[0]]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(later, 2))
    assert not torch.equal(first, channels(packed, 0, title="Reference"))


def test_what_is_no_packed_mask_is_named():
    with pytest.raises(ValueError, match=r"The packed mask has shape \[3, 1, 8, 8\], but it must be \[28, T', h, w\]"):
        channels(torch.zeros(3, 1, 8, 8), title="Mask")
    with pytest.raises(ValueError, match="The latent frame to show is 2, but the last one is 1: choose 0 to 1"):
        channels(torch.zeros(28, 2, 8, 8), 2, title="Mask")


def even_pictures(*sizes):
    """Pictures of one value each, which lettering, in whole levels, does not have."""
    return [(torch.full((*size, 3), (number + 0.5) / 255 + 0.25), f"picture {number}")
            for number, size in enumerate(sizes)]


def found_at(sheet, pictures):
    """[(left, top)] of each even picture on the sheet."""
    places = []
    for picture, _ in pictures:
        level = (picture[0, 0, 0] * 255).round() / 255
        rows, columns = torch.where((sheet == level).all(-1))
        height, width, _ = picture.shape
        assert len(rows) == height * width
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (height, width)
        places.append((int(columns.min()), int(rows.min())))
    return places


def test_a_contact_sheet_wraps_into_even_rows():
    pictures = even_pictures(*[(40, 500)] * 4)  # three would fit in a row
    sheet = contact_sheet(pictures)
    assert sheet.dtype == torch.float32
    places = found_at(sheet, pictures)
    assert places[0][0] == places[2][0] < places[1][0] == places[3][0]
    assert places[0][1] == places[1][1] < places[2][1] == places[3][1]
    assert 1000 < sheet.shape[1] < 1100
    caption = sheet[: places[0][1], places[0][0] : places[1][0]]
    assert caption.max() > 0.8


def test_a_contact_sheet_takes_pictures_of_all_sizes():
    pictures = even_pictures((30, 60), (90, 20), (50, 2000))
    sheet = contact_sheet(pictures)
    places = found_at(sheet, pictures)
    assert len({left for left, _ in places}) == 1  # the widest leaves room for one in a row
    tops = [top for _, top in places]
    assert tops[1] - tops[0] > 30 + 10
    assert tops[2] - tops[1] > 90 + 10
    assert sheet.shape[1] < 2050


def test_a_caption_stays_over_its_picture():
    pictures = even_pictures((30, 80), (30, 80))
    long = contact_sheet([(pictures[0][0], "a very long caption that goes on"), (pictures[1][0], "")])
    (left, top), (right, _) = found_at(long, pictures)
    assert torch.equal(long[:top, right:], long[:1, right:].expand(top, -1, -1))  # nothing over the second
    assert long[:top, left : left + 80].max() > 0.8


def test_an_empty_sheet_is_named():
    with pytest.raises(ValueError, match="The sheet has 0 pictures, but it needs at least one"):
        contact_sheet([])


@pytest.mark.parametrize(("total", "count", "expected"), [
    (65, 5, [0, 16, 32, 48, 64]), (10, 1, [0]), (1, 8, [0]), (3, 8, [0, 1, 2]), (8, 8, list(range(8))), (2, 2, [0, 1]),
])
def test_chosen_frames(total, count, expected):
    assert chosen_frames(total, count) == expected


def test_chosen_frames_are_evenly_spread():
    for total in range(2, 60):
        for count in range(2, total + 1):
            frames = chosen_frames(total, count)
            steps = np.diff(frames)
            assert (len(frames), frames[0], frames[-1]) == (count, 0, total - 1)
            assert steps.min() >= 1
            assert steps.max() - steps.min() <= 1


def test_no_frames_to_choose_are_named():
    for total, count in ((0, 3), (5, 0)):
        with pytest.raises(ValueError, match=f"The preview shows {count} of {total} frames, but it needs"):
            chosen_frames(total, count)
