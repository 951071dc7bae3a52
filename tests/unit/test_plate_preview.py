"""The picture of what the plate keeps: what is drawn over what was filmed, and the file of the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from scail_model.drawing.plate_preview import preview, sheet
from scail_model.drawing.previews import read_frames
from scail_model.headless.plate_preview import check_preview, write_preview
from scail_model.identity import mask_sources
from scail_model.identity.binding import bind
from scail_model.masks import PALETTE
from scail_model.media.clips import TensorClip
from scail_model.plate.choice import Choice
from scail_model.plate.edge import Edge
from scail_model.plate.placement import Covered
from scail_model.plate.plate import Plate

SIZE = (384, 768)  # drawn at its own size
EDGE = Edge(16, 16)
GREY = 100 / 255
LEFT, RIGHT = (150, 160, 230, 360), (500, 160, 580, 360)  # left, top, right, bottom


def mask_of(boxes):
    """A box in each frame, or None -> MASK [T, H, W]."""
    drawn = torch.zeros(len(boxes), *SIZE)
    for mask, box in zip(drawn, boxes, strict=True):
        if box:
            left, top, right, bottom = box
            mask[top:bottom, left:right] = 1
    return drawn


def set_of(*people):
    return mask_sources.from_masks([mask_of(boxes) for boxes in people], "driving").mask_set


def plate_of(*people, made=SIZE, edge=EDGE, bystanders=None, given=None, references=None, names="",
             mode="replacement"):
    masks = [mask_of(boxes) for boxes in people]
    shown = [mask_of([box]) for box in references or [next(filter(None, boxes)) for boxes in people]]
    identities = bind(mode, mask_sources.from_masks(masks, "driving"), [mask_sources.from_masks(shown, "reference")],
                      names=names)
    filmed = TensorClip(torch.full((len(people[0]), *SIZE, 3), 100, dtype=torch.uint8))
    identities = replace(identities, bystanders=None if bystanders is None else set_of(bystanders))
    return Plate(filmed, Covered(SIZE, made), identities, edge, None if given is None else set_of(given))


def colour(picture, x, y):
    return (picture[y, x] * 255).round().int().tolist()


def test_what_stays_is_shown_as_it_is_and_the_rest_in_colours():
    picture = preview(plate_of([LEFT], [RIGHT]), [0])[0]
    assert picture.shape[1] == 768
    assert picture.shape[0] > 384  # the legend
    assert colour(picture, 380, 300) == [100] * 3
    blue, red = (np.array(PALETTE[index]) for index in (0, 1))
    assert colour(picture, 190, 300) == np.round(100 + 0.45 * (blue - 100)).astype(int).tolist()
    assert colour(picture, 540, 300) == np.round(100 + 0.45 * (red - 100)).astype(int).tolist()
    assert colour(picture, 150, 300) == blue.tolist()  # the outline
    grown, fading, gone = (colour(picture, x, 300) for x in (238, 254, 266))
    assert grown == [193, 146, 40]
    assert 100 < fading[0] < grown[0]
    assert gone == [100] * 3


def stripes(picture, x0, x1, y0, y1):
    """Share of light and of dark pixels of a hatch."""
    part = picture[y0:y1, x0:x1].mean(-1)
    return float((part > 0.75).float().mean()), float((part < 0.35).float().mean())


def test_what_is_left_free_is_hatched_where_the_masks_of_the_made_people_end():
    given = [(150, 260, 230, 360)]
    picture = preview(plate_of([LEFT], given=given), [0])[0]
    light, dark = stripes(picture, 160, 220, 170, 250)
    assert light == pytest.approx(0.4, abs=0.05)
    assert dark == pytest.approx(0.6, abs=0.05)
    assert stripes(picture, 160, 220, 270, 350) == (0, pytest.approx(1, abs=1))
    assert stripes(picture, 160, 220, 270, 350)[0] == 0


def test_without_such_masks_a_rim_is_hatched_as_large_as_the_areas_say():
    """A reference of half the width leaves half of the pixels free."""
    picture = preview(plate_of([LEFT], references=[(170, 160, 210, 360)]), [0])[0]
    assert stripes(picture, 156, 162, 200, 340)[0] == pytest.approx(0.4, abs=0.1)
    assert stripes(picture, 182, 198, 200, 340)[0] == 0
    whole = preview(plate_of([LEFT]), [0])[0]
    assert stripes(whole, 156, 224, 200, 340)[0] == 0


def test_who_stays_is_outlined_and_who_is_made_too_far_out_ends_at_a_line():
    plate = plate_of([LEFT], bystanders=[RIGHT], made=(384, 384))
    picture = preview(plate, [0])[0]
    edge = picture[200:340, 500]
    assert 0.3 < float((edge == 1).all(-1).float().mean()) < 0.7  # dashes
    assert colour(picture, 540, 300) == [100] * 3
    line = picture[:384, 192]
    assert 0.3 < float((line == 1).all(-1).float().mean()) < 0.7
    more, fewer = preview(plate, [0])[0], preview(plate_of([LEFT]), [0])[0]
    assert more.shape[0] >= fewer.shape[0]


@pytest.mark.parametrize(("kind", "people"), [
    ("nobody in a frame", ([None, LEFT],)), ("somebody at the edge", ([(0, 0, 80, 384)] * 2,)),
    ("six people", tuple([(20 + 120 * index, 100, 100 + 120 * index, 300)] * 2 for index in range(6))),
    ("crossing people", ([LEFT, RIGHT], [RIGHT, LEFT])), ("one over the other", ([LEFT] * 2, [LEFT] * 2))])
def test_other_people_are_drawn_too(kind, people):
    frames = len(people[0])
    pictures = preview(plate_of(*people), range(frames))
    assert len(pictures) == frames, kind
    assert torch.isfinite(pictures).all()
    page = sheet(plate_of(*people, given=[None] * frames), range(frames))
    assert page.shape[0] > 384, kind
    assert page.min() >= 0
    assert page.max() <= 1


@pytest.mark.parametrize("text", ["1,", "a", "-1", "5", "0 1", "0,1,2,9", ",".join(["0"] * 65)])
def test_frames_that_there_are_not(text):
    with pytest.raises(ValueError, match=r"^frames is .* at most 64 frame numbers from 0 to 4 with commas"):
        read_frames(text, 5)
    assert read_frames(" 4, 0 ", 5) == [4, 0]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPG", ".webp"])
def test_the_command_line_writes_a_picture(tmp_path, ending):
    plate, path = plate_of([LEFT] * 9), tmp_path / f"plate{ending}"
    check_preview(path)
    write_preview(path, plate.clip, plate.identities, (192, 384), Choice())
    with Image.open(path) as image:
        assert image.size[0] > 1500
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_is_drawn_with_as_wide_an_edge_as_the_video(tmp_path):
    plate = plate_of([LEFT])

    def drawn(size, *full):
        write_preview(tmp_path / "plate.png", plate.clip, plate.identities, size, Choice(), *full)
        return np.asarray(Image.open(tmp_path / "plate.png"))[:380].astype(int)  # without the legend

    video, draft, smaller = drawn((192, 384)), drawn((96, 192), (192, 384)), drawn((96, 192))
    assert np.abs(draft - video).mean() < np.abs(smaller - video).mean() / 4


def test_pictures_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r"plate.mp4 \(--preview\) is not the name of a picture: end it with .png"):
        check_preview(tmp_path / "plate.mp4")
    with pytest.raises(ValueError, match=r"none \(--preview\) does not exist: make it first"):
        check_preview(tmp_path / "none" / "plate.png")
    plate = plate_of([LEFT], mode="animation")
    with pytest.raises(ValueError, match="the mode is animation"):
        write_preview(tmp_path / "plate.png", plate.clip, plate.identities, (192, 384), Choice())
