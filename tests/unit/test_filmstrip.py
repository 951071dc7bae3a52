"""The picture of a run that goes on: its places and what is in them."""

import base64
import io

import pytest
import torch
from PIL import Image

from scail_model.drawing.filmstrip import data_url, filmstrip, thumbnail

CURRENT = Image.new("RGB", (128, 96), (1, 2, 3))


def colour(index):
    return (10 * index, 255 - 10 * index, 77)


def strip(count):
    """Colours in the strip below `count` finished segments, from left to right."""
    page = filmstrip(CURRENT, [thumbnail(torch.tensor(colour(index), dtype=torch.uint8).expand(48, 64, 3))
                               for index in range(count)])
    assert page.width == 512
    assert page.getpixel((256, 192)) == (1, 2, 3)  # the current picture is above, 384 pixels high
    return [page.getpixel((left + 31, page.height - 5)) for left in range(0, 512, 64)]


@pytest.mark.parametrize(("count", "shown"), [
    (1, [0]), (2, [0, 1]), (8, range(8)), (9, [0, 1, 2, 3, 4, 5, 6, 8]), (15, range(0, 15, 2)), (22, range(0, 22, 3))])
def test_finished_segments_stand_in_their_order_first_and_last_always(count, shown):
    expected = [colour(index) for index in shown]
    assert strip(count) == expected + [(0, 0, 0)] * (8 - len(expected))


def test_before_anything_is_finished_the_picture_is_alone():
    page = filmstrip(Image.new("L", (100, 50), 9), [])
    assert (page.size, page.mode, page.getpixel((5, 5))) == ((512, 256), "RGB", (9, 9, 9))


def test_a_thumbnail_is_the_mean_of_its_pixels():
    picture = torch.randint(0, 256, (62, 124, 3), dtype=torch.uint8)
    small = thumbnail(picture)
    assert small.size == (62, 31)
    mean = picture[20:22, 40:42].float().mean((0, 1)).round().int().tolist()
    assert all(abs(found - wanted) <= 1 for found, wanted in zip(small.getpixel((20, 10)), mean, strict=True))


def test_very_flat_pictures_keep_a_line():
    assert thumbnail(torch.zeros(1, 640, 3, dtype=torch.uint8)).size == (62, 1)


@pytest.mark.parametrize("size", [(704, 1280), (1280, 704), (60, 90)])
def test_a_picture_as_an_address_is_small_whatever_it_shows(size):
    for picture in (torch.randint(0, 256, (*size, 3), dtype=torch.uint8), torch.full((*size, 3), 200).byte()):
        address = data_url(picture)
        assert len(address) <= 6144
        kind, content = address.split(",")
        assert kind == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        assert max(image.size) == min(144, max(size))
        assert (image.width > image.height) == (size[1] > size[0])
