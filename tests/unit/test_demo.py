"""The demo's drawn inputs and its one number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from tests.demo import contact_sheet, drawing

BLACK, WHITE, BLUE, RED = (0, 0, 0), (255, 255, 255), (0, 0, 255), (255, 0, 0)


def colours(picture):
    return {colour for _, colour in picture.getcolors(1 << 16)}


@pytest.mark.parametrize(("replacement", "people"), [(False, 2), (True, 1)])
def test_a_job_is_what_the_command_line_asks_for(tmp_path, replacement, people):
    job = drawing.write_job(tmp_path, (96, 64), 3, replacement, people=people, back=True)
    shown = {BLUE, RED} if people == 2 else {BLUE}
    assert colours(Image.open(job["mask_image"])) == shown | {BLACK if replacement else WHITE}
    assert colours(Image.open(job["additional_ref_mask_image"])) == shown | {BLACK}
    masks, truth = contact_sheet.frames(job["mask_video"]), contact_sheet.frames(tmp_path / "truth.mp4")
    assert len(masks) == len(truth) == len(contact_sheet.frames(job["pose"])) == 3
    assert masks[0].getpixel((0, 0))[0] == pytest.approx(255 if replacement else 0, abs=3)
    assert all(Image.open(path).size == (96, 64) for path in job.values() if path.suffix == ".png")


def test_a_scene_is_drawn_the_same_again():
    first, again, other = (drawing.images(drawing.draw((64, 64), 1, seed=seed).truth)[0] for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_psnr_by_hand():
    """A fifth of the range off in every pixel of one of two frames: half of 0.04 on average."""
    grey, lighter = (Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (0, 51))
    assert contact_sheet.psnr([grey, grey], [grey, lighter]) == pytest.approx(-10 * math.log10(0.04 / 2), abs=1e-3)
    assert contact_sheet.psnr([grey], [grey]) == pytest.approx(90)
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet.psnr([grey, grey], [grey])
