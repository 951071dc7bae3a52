"""Pictures as people see them; what is not a picture is named."""

import pytest
import torch
from PIL import Image

from scail_model.media.pictures import read_picture


def test_camera_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20))
    image.putpixel((0, 19), (255, 0, 0))  # lower left, which the quarter turn clockwise brings to the upper left
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    picture = read_picture(tmp_path / "photo.png", "reference")
    assert picture.shape == (40, 20, 3)
    assert torch.equal(picture[0, 0], torch.tensor((255, 0, 0), dtype=torch.uint8))


@pytest.mark.parametrize("content", [b"this is text", b""])
def test_what_is_not_a_picture_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(RuntimeError, match="The mask of the reference .*a.png cannot be read as a picture"):
        read_picture(tmp_path / "a.png", "mask of the reference")
