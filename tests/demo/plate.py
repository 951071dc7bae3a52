"""Pictures of what was filmed and what is made, for docs and help pages: replacement by the miniature without a plate,
put back into it, and locked to it; a small person with the whole picture and through a window.

    python tests/demo/plate.py FOLDER        plate.jpg, small_person.jpg, and the videos
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "miniature"), str(TESTS / "demo"), str(TESTS.parent)]

import drawing  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import world  # noqa: E402
from contact_sheet import frames  # noqa: E402
from make_demo import Miniature, model_options  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from scail_model.headless.cli import main as scail2  # noqa: E402

MADE, PLATE, FRAMES, STEPS = 192, 384, 17, 8
WIDE = 4 * MADE  # of the plate with a small person, whose height is a quarter of it
_SEED, _SMALL_SEED = 13, 130
_SHOWN, _PANEL, _DETAIL, _GAP, _STRIP = 8, 288, 96, 8, 30
_PAPER, _INK, _FRAME = (225, 225, 225), (20, 20, 20), (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the plate.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    models = model_options(folder / "models", Miniature())
    plate(folder, models)
    small_person(folder, models)


def plate(folder: Path, models: list) -> None:
    job = drawing.write_job(folder / "plate", (PLATE, PLATE), FRAMES, replacement=True, seed=_SEED)
    ways = {"plate off": "off", "composite": "composite", "lock": "lock"}
    shown = {"as filmed": _shown(job["pose"])}
    for name, kind in ways.items():
        shown[name] = _shown(_made(folder / f"plate_{kind}.mp4", models, job, plate=kind, plate_grow=4,
                                   plate_feather=4))
    # where what is put back fits worst
    _sheet(shown, _worst(shown["composite"], shown["as filmed"], frames(job["mask_video"])[_SHOWN])).save(
        folder / "plate.jpg", quality=88)


def small_person(folder: Path, models: list) -> None:
    job = _small_job(folder / "small")
    shown = {"as filmed": _shown(job["pose"])}
    ways = {"the whole picture": {"plate": "composite"}, "through a window": {"crop_to_person": 1}}
    for name, options in ways.items():
        shown[name] = _shown(_made(folder / f"small_{len(shown)}.mp4", models, job, plate_grow=4, plate_feather=4,
                                   **options))
    shown["what it should be"] = _shown(job["pose"].with_name("truth.mp4"))
    people = np.argwhere((np.array(frames(job["mask_video"])[_SHOWN]) < 128).any(-1))
    middle = people.mean(0).astype(int)
    _sheet(shown, (int(middle[1]), int(middle[0])), detail=MADE + _GAP).save(folder / "small_person.jpg", quality=88)


def _small_job(folder: Path) -> dict[str, Path]:
    """A person of a quarter of the height in a wide shot, and the character at rest in the reference."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = world.make_scenes(world.Random(_SMALL_SEED), 1, 1, 1.0, replacement=True)
    scenes = replace(scenes, identities=torch.zeros(1, 1, dtype=torch.long), cut_out=torch.zeros(1, dtype=torch.bool))
    shrink = 0.25 / scenes.motion.height
    path = scenes.motion.path.clone()
    path[:, :, 1] *= shrink
    far = replace(scenes, motion=replace(scenes.motion, height=torch.full_like(shrink, 0.25), path=path,
                                         feet=scenes.motion.feet - 0.15, bob=scenes.motion.bob * shrink))
    wide, near = world.draw(far, WIDE, WIDE, FRAMES), world.draw(scenes, PLATE, PLATE, 1)
    for name, picture in (("reference", near.reference), ("reference_mask", near.reference_mask)):
        drawing.images(picture)[0].save(folder / f"{name}.png")
    for name, video in (("driving", wide.driving), ("driving_mask", wide.driving_mask), ("truth", wide.truth)):
        drawing.write_video(folder / f"{name}.mp4", drawing.images(video))
    return {"image": folder / "reference.png", "mask_image": folder / "reference_mask.png",
            "pose": folder / "driving.mp4", "mask_video": folder / "driving_mask.mp4"}


def _made(target: Path, models: list, job: dict[str, Path], *, replacement: bool = True, **options: object) -> Path:
    """Run `scail2 generate`, unless the video is there."""
    if not target.is_file():
        given = {"sample_steps": STEPS, "target_w": MADE, "target_h": MADE, "segment_len": FRAMES, "base_seed": 1,
                 "codec": "lossless", "save_file": target, **job, **options}
        command = ["generate", *models, *["--replace_flag"] * replacement,
                   *(part for name, value in given.items() for part in (f"--{name}", value))]
        with contextlib.redirect_stdout(sys.stderr):
            assert scail2(list(map(str, command))) == 0
    return target


def _shown(path: Path) -> Image.Image:
    return frames(path)[_SHOWN]


def _worst(made: Image.Image, filmed: Image.Image, mask: Image.Image) -> tuple[int, int]:
    """The middle of the square beside the people in which two pictures differ most."""
    difference = np.abs(np.asarray(made, float) - np.asarray(filmed.resize(made.size))).sum(-1)
    difference[(np.asarray(mask) < 200).any(-1)] = 0
    sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    square = (sums[_DETAIL:, _DETAIL:] - sums[:-_DETAIL, _DETAIL:] - sums[_DETAIL:, :-_DETAIL]
              + sums[:-_DETAIL, :-_DETAIL])
    row, column = np.unravel_index(square.argmax(), square.shape)
    return int(column) + _DETAIL // 2, int(row) + _DETAIL // 2


def _sheet(shown: dict[str, Image.Image], middle: tuple[int, int], detail: int = _DETAIL) -> Image.Image:
    """Pictures beside each other, and below each a part of it, enlarged; middle: of that part."""
    size = max(picture.size for picture in shown.values())
    page = Image.new("RGB", (len(shown) * (_PANEL + _GAP) - _GAP, _STRIP + 2 * (_PANEL + _GAP) - _GAP), _PAPER)
    for column, (name, picture) in enumerate(shown.items()):
        left, whole = column * (_PANEL + _GAP), picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        ImageDraw.Draw(page).text((left + 4, _STRIP / 2), name, _INK, ImageFont.load_default(16), anchor="lm")
        page.paste(whole.resize((_PANEL, _PANEL), Image.Resampling.LANCZOS), (left, _STRIP))
        box = tuple(min(max(place - detail // 2, 0), side - detail) for place, side in zip(middle, size, strict=True))
        part = whole.crop((*box, box[0] + detail, box[1] + detail))
        page.paste(part.resize((_PANEL, _PANEL), Image.Resampling.BICUBIC), (left, _STRIP + _PANEL + _GAP))
        corners = [(left + x * _PANEL / size[0], _STRIP + y * _PANEL / size[1])
                   for x, y in (box, [edge + detail for edge in box])]
        ImageDraw.Draw(page).rectangle(corners, outline=_FRAME)
    return page


if __name__ == "__main__":
    main()
