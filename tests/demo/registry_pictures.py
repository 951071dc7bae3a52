"""Icon and banner of the pack in ComfyUI's registry: a drawn character, half of it as a mask; a dancer as filmed, the
skeleton made of them, and the character.

    python tests/demo/registry_pictures.py docs/pictures
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
from PIL import Image  # noqa: E402
from workflow_files import drawings  # noqa: E402

from scail_model.poses.scene import Scene  # noqa: E402
from scail_model.poses.value import Poses, from_smpl  # noqa: E402

ICON, BANNER = (400, 400), (1260, 540)  # at most 400 pixels a side; 21:9
_FRAMES, _SHOWN = 24, 0  # the frame in which the dancer stands as the character is drawn
_PANEL = BANNER[0] // 3


def main() -> None:
    folder = Path(sys.argv[1])
    icon().save(folder / "icon.png", optimize=True)
    banner().save(folder / "banner.jpg", quality=88)


def icon() -> Image.Image:
    """The left half as it looks, the right half as a mask."""
    size = 2 * ICON[0]
    with tempfile.TemporaryDirectory() as written:
        drawings.write(Path(written), "animation", frames=1, width=size, height=size)
        picture, mask = (Image.open(Path(written) / f"{name}.png").convert("RGB")
                         for name in ("reference", "reference_mask"))
    half = picture.width // 2
    picture.paste(mask.crop((half, 0, mask.width, mask.height)), (half, 0))
    return picture.resize(ICON, Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    size = {"width": 2 * _PANEL, "height": 2 * BANNER[1]}
    with tempfile.TemporaryDirectory() as written:
        drawings.write(Path(written), "animation", frames=_FRAMES, **size)
        filmed = _frame(Path(written) / "driving.mp4")
        character = Image.open(Path(written) / "reference.png").convert("RGB")
    strip = Image.new("RGB", BANNER)
    for place, panel in enumerate((filmed, _skeleton(size), character)):
        strip.paste(panel.resize((_PANEL, BANNER[1]), Image.Resampling.LANCZOS), (place * _PANEL, 0))
    return strip


def _frame(path: Path) -> Image.Image:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)][_SHOWN]


def _skeleton(size: dict[str, int]) -> Image.Image:
    points = drawings.key_points("animation", frames=_FRAMES, **size)
    joints = from_smpl(drawings.joints("animation", frames=_FRAMES, **size))
    poses = replace(Poses.of(joints, (size["height"], size["width"])), points=points,
                    scores=torch.ones(points.shape[:3]))
    pixels, _ = Scene.of(poses).frames(_SHOWN, _SHOWN + 1)
    return Image.fromarray(pixels[0].numpy())


if __name__ == "__main__":
    main()
