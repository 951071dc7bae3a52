"""Peak main memory and time of `scail2 generate` on a CPU, for a short clip and for a long one.

    python tests/bench/generate_memory.py [--frames 200 2000] [--length 33] [--scale 1] [--plate] [--again]
        [--json FILE]

Small models with random weights, a drawn driving video and colour mask of 320x192 in .mp4 files, a result of 64x64, one
step. Every run is a process of its own; its peak is ru_maxrss, which counts pages of files. `--again` runs every
command a second time, when all segments are finished. `--scale 12` makes the clips 3840x2304; `--plate` runs every
replacement without a plate and with one. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from convert_memory import peak_of
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/miniature")]

from tests.demo import small_models  # noqa: E402

WIDTH, HEIGHT, SIZE = 320, 192, 64  # of the clip, and of the square result
_PROGRAM = """import sys, torch
from scail_model.headless.cli import main
from tests.demo.faster import take_onednn
torch.set_num_threads(1)
take_onednn()
sys.exit(main())"""


@dataclass(frozen=True)
class Run:
    frames: int
    peak_mib: int
    seconds: float


def write_models(folder: Path) -> None:
    small_models.write_encoders(folder / "encoders")
    small_models.write_transformer(folder / "transformer.safetensors")


def write_clips(folder: Path, frames: int, scale: int = 1, *, replacement: bool = False) -> None:
    """A figure that wanders over a lawn, its mask, and one frame of both as the reference. scale: pixels of the clips
    for each drawn one. replacement: masks on the backgrounds of that mode."""
    grounds = (255, 0) if replacement else (0, 255)  # of the driving mask, of the reference's
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_picture(0)).save(folder / "reference.png")
    Image.fromarray(_mask(0, grounds[1])).save(folder / "reference_mask.png")
    for name, draw in (("driving", _picture), ("mask", partial(_mask, background=grounds[0]))):
        with av.open(str(folder / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=16, options={"qp": "0", "preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuv444p"
            for number in range(frames):
                picture = draw(number).repeat(scale, 0).repeat(scale, 1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


def _inside(number: int) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return ((columns - WIDTH / 2 - 30 * np.sin(number / 20)) / 30) ** 2 + ((rows - 100) / 60) ** 2 < 1


def _picture(number: int) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    lawn = np.stack(np.broadcast_arrays(60 + columns // 4, 120 + (columns + rows) % 40, 50 + rows // 4), -1)
    return np.where(_inside(number)[..., None], (200, 60, 40), lawn).astype(np.uint8)


def _mask(number: int, background: int) -> np.ndarray:
    return np.where(_inside(number)[..., None], (0, 0, 255), background).astype(np.uint8)


def generate(models: Path, clips: Path, output: Path, frames: int, length: int, *more: str) -> Run:
    """One run in a process of its own, with segments of `length` frames. more: arguments."""
    options = {"ckpt_dir": models / "encoders", "scail_path": models / "transformer.safetensors",
               "image": clips / "reference.png", "mask_image": clips / "reference_mask.png",
               "pose": clips / "driving.mp4", "mask_video": clips / "mask.mp4", "target_w": SIZE, "target_h": SIZE,
               "segment_len": length, "sample_solver": "euler", "sample_steps": 1, "sample_guide_scale": 1,
               "base_seed": 3, "save_file": output}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    peak, seconds = peak_of(_PROGRAM, "generate", *given, *more)
    return Run(frames, peak >> 20, round(seconds, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--length", type=int, default=33)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--plate", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        for frames in options.frames:
            clips = folder / str(frames)
            write_clips(clips, frames, options.scale, replacement=options.plate)
            for plate in ("off", "composite") if options.plate else ("off",):
                for run in range(1 + options.again):
                    flags = ["--replace_flag", "--plate", plate] if options.plate else []
                    found = generate(folder, clips, clips / f"{plate}{run}.mp4", frames, options.length, *flags)
                    rows.append({**asdict(found), "again": bool(run), "plate": plate})
                    print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
