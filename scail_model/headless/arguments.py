"""What can be said of a command line of `scail2 generate` before a file of it is read, and the model files that it
names."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..geometry import check_size
from ..poses.poses_file import is_poses_file
from ..segments import plan_segments
from ..solvers import make_schedule
from ..video.options import HIGHEST_SEED, VideoOptions
from .cropping import check_crop
from .options import given_sigmas, video_options
from .weights import Weights

_SIDE = 8192  # pixels; as in the nodes


def check_arguments(arguments: argparse.Namespace) -> tuple[VideoOptions, tuple[float, ...]]:
    """The settings and noise levels of a command line. ValueError, in one sentence, for values and flags that cannot be
    used, or not together."""
    options, sigmas = video_options(arguments), given_sigmas(arguments)
    options.check_values()
    if arguments.base_seed > HIGHEST_SEED:
        raise ValueError(f"base_seed is {arguments.base_seed} (--base_seed), but it must be at most {HIGHEST_SEED}: "
                         "correct it.")
    _check_masks(arguments)
    options = check_crop(arguments, options)
    make_schedule(options.solver, options.steps, options.shift)
    plan_segments(1, options.segment_length, options.overlap)
    check_size(arguments.target_w, arguments.target_h)
    if max(arguments.target_w, arguments.target_h) > _SIDE:
        raise ValueError(f"The size is {arguments.target_w}x{arguments.target_h} (--target_w, --target_h), but a side "
                         f"has at most {_SIDE} pixels: choose a smaller one.")
    return options, sigmas


def transformer_file(arguments: argparse.Namespace) -> Path:
    """The file or folder of the transformer. RuntimeError if there is none."""
    folder = Path(arguments.ckpt_dir)
    if folder.is_dir() and not arguments.scail_path and not (folder / "model" / "latest").is_file():
        raise RuntimeError(f"{folder} (--ckpt_dir) holds no transformer (model/latest): name one with --scail_path.")
    return Path(arguments.scail_path or folder)


def opened_loras(arguments: argparse.Namespace, weights: Weights) -> list:
    """The LoRAs of a command line, checked against the weights. ValueError for some that do not fit."""
    paths, strengths = arguments.lora_path, arguments.lora_alpha or [1.0] * len(arguments.lora_path)
    if len(paths) != len(strengths):
        raise ValueError(f"There are {len(paths)} LoRAs (--lora_path) and {len(strengths)} strengths (--lora_alpha): "
                         "give one strength for each.")
    return [weights.check_lora(Path(path), strength) for path, strength in zip(paths, strengths, strict=True)]


def _check_masks(arguments: argparse.Namespace) -> None:
    """Raise ValueError for masks that are missing, or given although there are none."""
    given = {name: getattr(arguments, name) for name in ("mask_image", "mask_video", "additional_ref_mask_image",
                                                         "plan_mask_image")}
    poses = is_poses_file(Path(arguments.pose))  # poses show who is where
    if arguments.whole_picture and any(given.values()):
        name = next(name for name, value in given.items() if value)
        raise ValueError(f"--whole_picture says that there are no masks, but --{name} is given: leave one of them out.")
    missing = [f"--{name}" for name in ("mask_image", "mask_video")
               if not given[name] and not (poses and name == "mask_video")]
    if missing and not arguments.whole_picture:
        raise ValueError(f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing: give the mask, or "
                         "set --whole_picture if one person is all of the picture.")
