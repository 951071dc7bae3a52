"""`make demo`: SCAIL-2 without ComfyUI, from a drawn clip to a finished .mp4, on any machine and without a download.

It draws a driving clip and a reference, and runs `scail2 generate` on them as a user would. With the trained miniature
(tests/miniature/*.safetensors) the reference's figures perform the motion; without it the weights are random and the
picture is noise, but every stage is the real one.

    python tests/demo/make_demo.py FOLDER [--miniature FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "miniature"), str(TESTS.parent)]

import drawing  # noqa: E402
import language  # noqa: E402
import small_models  # noqa: E402
from contact_sheet import Result, sheet  # noqa: E402
from diffusers import AutoencoderKLWan  # noqa: E402
from faster import FASTER  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from scail_model.headless import official_names  # noqa: E402

SIZE = (192, 192)
FRAMES = 29  # two segments of 17 that share 5
STEPS, FEW_STEPS = 8, 4


@dataclass(frozen=True)
class Show:
    """What one video of the demo shows; the seeds were chosen for clips that are easy to follow."""

    mode: str
    people: int
    seed: int
    back: bool  # with an additional reference


# the two people change sides, so that only the masks say who is who
SHOWS = (Show("animation", people=2, seed=9, back=False), Show("replacement", people=1, seed=2, back=True))


@dataclass(frozen=True)
class Miniature:
    """Where the trained files lie, or should."""

    folder: Path = TESTS / "miniature"

    @property
    def transformer(self) -> Path:
        return self.folder / "nano_scail2.safetensors"

    @property
    def vae(self) -> Path:
        return self.folder / "nano_vae.safetensors"

    @property
    def lora(self) -> Path:
        """For few steps."""
        return self.folder / "nano_lora.safetensors"

    @property
    def trained(self) -> bool:
        return self.transformer.is_file() and self.vae.is_file()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a small SCAIL-2 video from nothing.")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--miniature", type=Path, default=Miniature.folder, help="folder of the trained miniature")
    arguments = parser.parse_args()
    started = time.monotonic()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    miniature = Miniature(arguments.miniature)
    models = model_options(arguments.folder / "models", miniature)
    lines = [f"{show.mode}: {result}\n" for show in SHOWS for result in make(arguments.folder, models, miniature, show)]
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"\nIn {seconds:.0f} s: animation.mp4, replacement.mp4 and a contact sheet (.png) of each in "
        f"{arguments.folder}/.\n{''.join(lines)}{TRAINED if miniature.trained else RANDOM}\n")


TRAINED = """The weights are the trained miniature's: about 12 million parameters that know this drawn world only.
What this shows: the motion goes from the driving video to the reference's figures, over two segments, with frame
count, rate and sound of the driving video. What it does not show: the quality of the 14B model."""
RANDOM = """The weights are random, so the picture is noise. What this proves: files, masks, text and picture encoders,
VAE, transformer, solver, segments with history, sound and .mp4 writing work together on this machine, without ComfyUI.
What it does not prove: anything about picture quality."""


def make(folder: Path, models: list, miniature: Miniature, show: Show) -> list[Result]:
    """The videos of one mode and their contact sheet. Returns how good they are, and the driving video to compare."""
    job = drawing.write_job(folder / "inputs" / show.mode, SIZE, FRAMES, show.mode == "replacement", tone=True,
                            people=show.people, seed=show.seed, back=show.back)
    ways = [(f"{STEPS} steps", f"{show.mode}.mp4", ["--sample_steps", STEPS])]
    if miniature.trained and miniature.lora.is_file():
        ways.append((f"{FEW_STEPS} steps with a LoRA", f"{show.mode}_lora.mp4",
                     ["--sample_steps", FEW_STEPS, "--sample_solver", "euler", "--lora_path", miniature.lora]))
    truth, results = job["pose"].with_name("truth.mp4"), []
    for name, file, options in ways:
        generate(folder / file, [*models, *options, *["--replace_flag"] * (show.mode == "replacement")], job)
        results.append(Result.of(name, folder / file, truth))
    sheet(show.mode, job, results).save(folder / f"{show.mode}.png")
    return [*results, Result.of("the driving video unchanged", job["pose"], truth)]


def generate(result: Path, options: list, job: dict[str, Path]) -> None:
    """Run `scail2 generate` in a process of its own, and say so."""
    result.unlink(missing_ok=True)
    command = [Path(sys.executable).with_name("scail2"), "generate", "--save_file", result, *options,
               "--target_w", SIZE[0], "--target_h", SIZE[1], "--segment_len", 17, "--segment_overlap", 5,
               "--base_seed", 1, *(part for name, path in job.items() for part in (f"--{name}", path))]
    command = list(map(str, command))
    sys.stdout.write(f"$ {shlex.join(command)}\n")
    sys.stdout.flush()
    subprocess.run(command, check=True, env={**FASTER, **os.environ})


def model_options(folder: Path, miniature: Miniature) -> list:
    """Write the encoders (and random weights without a miniature); the options that name the models."""
    if miniature.trained:
        small_models.write_encoders(folder / "miniature", trained_vae(miniature.vae))
        language.write_text_encoder(folder / "miniature")
        # without a word there is nothing for guidance to guide to
        return ["--ckpt_dir", folder / "miniature", "--scail_path", miniature.transformer, "--prompt", "",
                "--sample_guide_scale", 1]
    small_models.write_encoders(folder / "random")
    small_models.write_transformer(folder / "random.safetensors")
    return ["--ckpt_dir", folder / "random", "--scail_path", folder / "random.safetensors",
            "--prompt", "A figure with a hat walks and waves."]


def trained_vae(path: Path) -> AutoencoderKLWan:
    config, state = official_names.vae(load_file(path))
    vae = AutoencoderKLWan(**config)
    vae.load_state_dict(state)
    return vae


if __name__ == "__main__":
    main()
