"""The picture of the kinds of driving video in docs: drawn people, the skeleton made of them, a drawn animal; and below
each its masks.

    python tests/demo/driving_kinds.py docs/pictures/driving_kinds.jpg
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [*(str(TESTS / part) for part in ("workflows", "host", "unit", "miniature")), str(TESTS.parent)]

import av  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402
from workflow_files import drawings  # noqa: E402

from scail_model.masks import PALETTE  # noqa: E402
from scail_model.poses.scene import Scene  # noqa: E402
from scail_model.poses.value import Poses, from_smpl  # noqa: E402

SIZE = {"width": 896, "height": 512}
FRAMES, SHOWN = 24, 6
_WIDE, _HIGH, _GAP, _STRIP = 448, 256, 8, 30
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def main() -> None:
    columns = {"the clip itself": _drawn("two_people"), "a skeleton": _skeleton("two_people"),
               "an animal": _drawn("animal")}
    sheet = Image.new("RGB", (len(columns) * (_WIDE + _GAP) - _GAP, _STRIP + 2 * _HIGH + _GAP), _PAPER)
    for column, (name, pictures) in enumerate(columns.items()):
        left = column * (_WIDE + _GAP)
        ImageDraw.Draw(sheet).text((left + 2, 2), name, _INK, ImageFont.load_default(20))
        for row, picture in enumerate(pictures):
            sheet.paste(picture.resize((_WIDE, _HIGH), Image.Resampling.LANCZOS), (left, _STRIP + row * (_HIGH + _GAP)))
    sheet.save(sys.argv[1], quality=90)


def _drawn(workflow: str) -> list[Image.Image]:
    with tempfile.TemporaryDirectory() as folder:
        drawings.write(Path(folder), workflow, frames=FRAMES, **SIZE)
        return [_frame(Path(folder) / name) for name in ("driving.mp4", "driving_mask.mp4")]


def _frame(path: Path) -> Image.Image:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)][SHOWN]


def _skeleton(workflow: str) -> list[Image.Image]:
    size = SIZE["height"], SIZE["width"]
    points = drawings.key_points(workflow, frames=FRAMES, **SIZE)
    poses = replace(Poses.of(from_smpl(drawings.joints(workflow, frames=FRAMES, **SIZE)), size), points=points,
                    scores=torch.ones(points.shape[:3]))
    pixels, people = Scene.of(poses).frames(SHOWN, SHOWN + 1)
    colours = torch.tensor([(0, 0, 0), *PALETTE], dtype=torch.uint8)
    return [Image.fromarray(picture.numpy()) for picture in (pixels[0], colours[people[0].long()])]


if __name__ == "__main__":
    main()
