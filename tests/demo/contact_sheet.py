"""One picture of a whole video: what went in, what came out and what should have, in rows with their names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 8
_STRIP, _GAP = 26, 14  # pixels: above each picture for its name; between the still pictures and the frames
_PAPER, _INK, _FAINT = (225, 225, 225), (20, 20, 20), (110, 110, 110)
_TITLES = {
    "animation": "Animation: the figures of the reference perform the motion of the driving video, in their own scene.",
    "replacement": "Replacement: the figure of the reference takes the place of the one in the driving video.",
}
_TRUTH = "truth: what the result should be"
_OPEN = ", but for the spots on the backs: nothing shows them, so they have to be invented"


@dataclass(frozen=True)
class Result:
    """A finished video and what it should show."""

    name: str
    path: Path
    decibels: float

    @classmethod
    def of(cls, name: str, path: Path, truth: Path) -> Result:
        return cls(name, path, psnr(frames(path), frames(truth)))

    def __str__(self) -> str:
        return f"{self.name}, {self.decibels:.1f} dB against the truth"


def psnr(found: list[Image.Image], truth: list[Image.Image]) -> float:
    """Peak signal-to-noise ratio of two videos of one length, in dB; equal ones count as 90."""
    errors = [np.square(np.asarray(one, np.float64) - np.asarray(other)).mean()
              for one, other in zip(found, truth, strict=True)]
    return -10 * math.log10(np.mean(errors) / 255**2 + 1e-9)


def sheet(mode: str, job: dict[str, Path], results: list[Result]) -> Image.Image:
    """Reference pictures and their masks on the left; evenly spread frames of driving video, mask, results and truth.

    job: the files as `drawing.write_job` names them.
    """
    stills = [(name, Image.open(job[part])) for name, part in (
        ("reference", "image"), ("its mask", "mask_image"), ("reference from behind", "additional_ref_image"),
        ("its mask", "additional_ref_mask_image")) if part in job]
    rows = [("driving video", job["pose"]), ("its mask: a colour says who is who", job["mask_video"]),
            *((f"result: {result}", result.path) for result in results),
            (_TRUTH if "additional_ref_image" in job else _TRUTH + _OPEN, job["pose"].with_name("truth.mp4"))]
    width, height = stills[0][1].size
    page = Image.new("RGB", ((COLUMNS + 1) * width + _GAP, (height + _STRIP) * len(rows) + _STRIP), _PAPER)
    _write(page, 0, 0, _TITLES[mode], size=18)
    for row, (name, picture) in enumerate(stills):
        _place(page, 0, _STRIP + row * (height + _STRIP), picture, name)
    for row, (name, path) in enumerate(rows):
        clip = frames(path)
        for column in range(COLUMNS):
            index = round(column * (len(clip) - 1) / (COLUMNS - 1))
            left, top = width + _GAP + column * width, _STRIP + row * (height + _STRIP)
            _place(page, left, top, clip[index], name if column == 0 else "")
            if row == 0 and column:
                _write(page, left, top, f"frame {index + 1}", _FAINT)
    return page


def frames(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def _place(page: Image.Image, left: int, top: int, picture: Image.Image, name: str) -> None:
    """A picture with its name above."""
    page.paste(picture, (left, top + _STRIP))
    _write(page, left, top, name)


def _write(page: Image.Image, left: int, top: int, text: str, colour: tuple = _INK, size: int = 16) -> None:
    ImageDraw.Draw(page).text((left + 4, top + _STRIP / 2), text, colour, ImageFont.load_default(size), anchor="lm")
