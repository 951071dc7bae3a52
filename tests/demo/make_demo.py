"""`make demo`: SCAIL-2 without ComfyUI, from a drawn clip to a finished .mp4, on any machine and without a download.

It draws a driving clip and a reference, makes small weights, and runs `scail2 generate` on them as a user would. With
the trained miniature (tests/miniature/*.safetensors) the reference figure performs the motion; without it the weights
are random and the picture is noise, but every stage is the real one.

    python tests/demo/make_demo.py FOLDER [--miniature FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import av
import drawing
import small_models
from diffusers import AutoencoderKLWan
from PIL import Image
from safetensors.torch import load_file

from scail_model.headless import official_names

SIZE = (192, 192)  # what the miniature was trained at
FRAMES = 29  # two segments of 17 that share 5
COLUMNS = 8
MINIATURE = Path(__file__).parents[1] / "miniature"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small SCAIL-2 video from nothing.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--miniature", type=Path, default=MINIATURE, help="folder of the trained miniature")
    arguments = parser.parse_args()
    started = time.monotonic()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for mode in ("animation", "replacement"):
        make(arguments.folder, arguments.miniature, mode)
    seconds = time.monotonic() - started
    trained = (arguments.miniature / "nano_scail2.safetensors").is_file()
    sys.stdout.write(
        f"\nIn {seconds:.0f} s: animation.mp4, replacement.mp4 and contact sheets (.png) in {arguments.folder}/.\n"
        "On a sheet: reference and its mask on the left; driving video, its mask and the result in rows.\n"
        f"{TRAINED if trained else RANDOM}\n")


TRAINED = """The weights are the trained miniature's: 8 million parameters, which ignore text and CLIP (both random).
What this shows: the motion goes from the driving video to the reference's figure, over two segments, with frame
count, rate and sound of the driving video. What it does not show: the quality of the 14B model."""
RANDOM = """The weights are random, so the picture is noise. What this proves: files, masks, text and picture encoders,
VAE, transformer, solver, segments with history, sound and .mp4 writing work together on this machine, without ComfyUI.
What it does not prove: anything about picture quality."""


def make(folder: Path, miniature: Path, mode: str) -> None:
    """One video and its contact sheet."""
    job = drawing.write_job(folder / "inputs" / mode, SIZE, FRAMES, replacement=mode == "replacement", tone=True)
    result = folder / f"{mode}.mp4"
    result.unlink(missing_ok=True)
    command = [Path(sys.executable).with_name("scail2"), "generate", "--save_file", result,
               *model_options(folder / "models", miniature), "--prompt", "A figure with a hat walks and waves.",
               "--target_w", SIZE[0], "--target_h", SIZE[1], "--segment_len", 17, "--segment_overlap", 5,
               "--sample_steps", 8, "--base_seed", 1]
    command += [part for name, path in job.items() for part in (f"--{name}", path)]
    command += ["--replace_flag"] * (mode == "replacement")
    command = list(map(str, command))
    sys.stdout.write(f"$ {shlex.join(command)}\n")
    sys.stdout.flush()
    # on a machine that others use too, threads that wait actively for each other cost five times as long
    subprocess.run(command, check=True, env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ})
    sheet(job, result).save(folder / f"{mode}.png")


def model_options(folder: Path, miniature: Path) -> list:
    """Write the encoders (and random weights, where there is no miniature) once; which models to use."""
    trained = miniature / "nano_scail2.safetensors"
    encoders = folder / ("encoders_miniature" if trained.is_file() else "encoders_random")
    if not encoders.is_dir():
        small_models.write_encoders(encoders, trained_vae(miniature) if trained.is_file() else None)
        small_models.write_transformer(folder / "random.safetensors")
    if trained.is_file():
        # text means nothing to the miniature, so guidance has nothing to guide
        return ["--ckpt_dir", encoders, "--scail_path", trained, "--sample_guide_scale", 1]
    return ["--ckpt_dir", encoders, "--scail_path", folder / "random.safetensors"]


def trained_vae(miniature: Path) -> AutoencoderKLWan:
    config, state = official_names.vae(load_file(miniature / "nano_vae.safetensors"))
    vae = AutoencoderKLWan(**config)
    vae.load_state_dict(state)
    return vae


def sheet(job: dict[str, Path], result: Path) -> Image.Image:
    """Reference and mask on the left; evenly spread frames of driving video, mask and result in rows."""
    rows = [frames(path) for path in (job["pose"], job["mask_video"], result)]
    left = [Image.open(job["image"]), Image.open(job["mask_image"])]
    page = Image.new("RGB", ((COLUMNS + 1) * SIZE[0], len(rows) * SIZE[1]), (40, 40, 40))
    for row, picture in enumerate(left):
        page.paste(picture, (0, row * SIZE[1]))
    for row, clip in enumerate(rows):
        for column in range(COLUMNS):
            index = round(column * (len(clip) - 1) / (COLUMNS - 1))
            page.paste(clip[index], ((column + 1) * SIZE[0], row * SIZE[1]))
    return page


def frames(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


if __name__ == "__main__":
    main()
