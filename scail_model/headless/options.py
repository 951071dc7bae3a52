"""The arguments of `scail2 generate` and `scail2 check`: names and defaults of the official `generate.py` where it has
them, and every setting of the nodes (`video/options.py`).

The tables of settings bring torch with them, so `cli.py` imports this only for these two commands.
"""

from __future__ import annotations

import argparse
from dataclasses import Field
from pathlib import Path

from ..gpus.choice import ALL, wanted_gpus
from ..inputs.reference import ADDITIONAL_PICTURES, EACH_ALONE
from ..kernels.attention_backends import AUTOMATIC
from ..kernels.precision import EXACT, PRECISIONS
from ..plate.person_crop import MARGIN
from ..solvers import check_sigmas
from ..video.options import VideoOptions, check_value, option, option_fields
from . import attention

_GROUPS = {
    "sampling": ("solver", "steps", "shift", "guidance", "negative_strength", "driving_start", "driving_end", "draft"),
    "long videos": ("segment_length", "overlap", "lengths", "scene_cuts", "plan", "remake", "remake_scope",
                    "remake_seed"),
    "speed": ("sparse_density", "sparse_error"),
    "drift": ("history", "history_strength", "colour_match", "noise"),
    "plate": ("plate", "plate_grow", "plate_feather", "plate_person"),
    "driving video": ("driving_background", "driving_margin", "rate", "length_mismatch", "fps"),
    "files": ("codec", "quality", "jobs_limit"),
}


def add_check(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `scail2 check` to its parser."""
    add_generate(command)
    command.add_argument("--json", action="store_true", help="print the findings as JSON, for programs")
    command.add_argument("--preview", metavar="FILE",
                         help="picture to write (.png or .jpg) of what --plate keeps, what is made around the people, "
                              "and what has to be invented")


def add_generate(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `scail2 generate`, which `scail2 check` takes too: one becomes the other by its first
    word."""
    _add_models(command)
    _add_pictures(command)
    groups = {name: command.add_argument_group(name) for name in _GROUPS}
    for each in option_fields():
        _add_setting(groups[next(name for name, names in _GROUPS.items() if each.name in names)], each)
    groups["sampling"].add_argument("--sigmas", default="", metavar="LIST",
                                    help='noise levels in place of steps and shift, from 1 to 0, as in "1, 0.73, 0.29, '
                                         '0.02, 0"')
    groups["plate"].add_argument("--plate_mask", metavar="FILE",
                                 help="masks of the made people, from a first pass, which count beside the driving "
                                      "masks: a video in colours or in white on black, a folder with a picture for "
                                      "each frame, or tracks (default: none)")
    groups["files"].add_argument("--job_dir", metavar="FOLDER",
                                 help="where unfinished and finished segments are kept (default: scail2_jobs beside "
                                      "the output)")
    output = command.add_argument_group("output")
    output.add_argument("--save_file", metavar="FILE",
                        help=".mp4 to write (default: a name from size, prompt and time)")
    output.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    output.add_argument("--base_seed", type=int, default=-1, metavar="N",
                        help="below 0 draws one, or takes that of the unfinished run, or of the draft, with the same "
                             "settings (default: -1)")


def video_options(arguments: argparse.Namespace) -> VideoOptions:
    """The settings of a command line. ValueError for a number outside its range."""
    values = {each.name: getattr(arguments, each.name) for each in option_fields()}
    values["guidance"] = max(values["guidance"], 1.0)  # official: at 1 or less there is none
    if values["plan"].endswith(".json"):
        values["plan"] = _plan_file(Path(values["plan"]))
    for each in option_fields():
        check_value(each, values[each.name], f" (--{flag(each)})")
    return VideoOptions(**values)


def given_sigmas(arguments: argparse.Namespace) -> tuple[float, ...]:
    """The noise levels of a command line, none if it names none. ValueError for some that cannot be used."""
    if not arguments.sigmas:
        return ()
    try:
        sigmas = tuple(map(float, arguments.sigmas.split(",")))
    except ValueError as error:
        raise ValueError(f'sigmas is "{arguments.sigmas}" (--sigmas), but it must be numbers with commas between them: '
                         "correct it.") from error
    check_sigmas(sigmas)
    return sigmas


def _plan_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"The plan {path} (--plan) cannot be read ({reason}): give a JSON file, or the JSON "
                         "itself.") from error


def flag(of: Field) -> str:
    return option(of).flag or of.name


def flag_of(name: str | None) -> str | None:
    """The flag for an input of the nodes; None if there is none."""
    return next((f"--{flag(each)}" for each in option_fields() if each.name == name), None)


def _add_setting(group: argparse._ArgumentGroup, of: Field) -> None:
    how = option(of)
    if isinstance(of.default, bool):
        group.add_argument(f"--{flag(of)}", dest=of.name, action="store_true", help=how.help.replace("%", "%%"))
        return
    default = f"(default: {of.default})" if of.default != "" else "(default: none)"
    group.add_argument(f"--{flag(of)}", dest=of.name, default=of.default, choices=how.choices or None,
                       type=type(of.default), metavar=None if how.choices else type(of.default).__name__.upper(),
                       help=f"{how.help} {default}".replace("%", "%%"))


def _add_models(command: argparse.ArgumentParser) -> None:
    models = command.add_argument_group("models")
    models.add_argument("--ckpt_dir", required=True, metavar="FOLDER",
                        help="folder with VAE, text encoder and CLIP: a Wan 2.1 folder in diffusers form (vae, "
                             "text_encoder, tokenizer, image_encoder), or the official SCAIL-2 folder")
    models.add_argument("--scail_path", metavar="FILE", help="SCAIL-2 transformer (default: the model in --ckpt_dir)")
    models.add_argument("--lora_path", metavar="FILE", nargs="+", action="extend", default=[],
                        help="LoRAs to merge into the model; may be given several times")
    models.add_argument("--lora_alpha", type=float, nargs="+", action="extend", default=[], metavar="X",
                        help="their strengths, in the same order (default: 1.0 each)")
    models.add_argument("--precision", choices=PRECISIONS, default=EXACT,
                        help="exact: in the precision of the file, bfloat16 on a GPU. 8-bit: most linears in int8, a "
                             "third less memory and faster, at a small error. fast: also leaves out most of "
                             f"self-attention, and measures its error while it samples (default: {EXACT})")
    models.add_argument("--attention", choices=attention.CHOICES, default=AUTOMATIC,
                        help=" ".join(f"{name}: {text}" for name, text in attention.CHOICES.items())
                             + f" (default: {AUTOMATIC})")
    models.add_argument("--gpus", type=_gpus, default=1, metavar="N",
                        help=f"GPUs that make the video together, a divisor of the model's heads (2, 4, 5 or 8), or "
                             f"{ALL}; the file is the same (default: 1)")
    models.add_argument("--offload_model", type=_truth, default=True, metavar="BOOL",
                        help="keep the transformer in main memory while the VAE works (default: true)")


def _add_pictures(command: argparse.ArgumentParser) -> None:
    job = command.add_argument_group("pictures, videos and prompts")
    job.add_argument("--image", required=True, metavar="FILE", help="reference picture of the character")
    job.add_argument("--mask_image", metavar="FILE", help="colour mask of the reference picture")
    job.add_argument("--pose", required=True, metavar="FILE",
                     help="driving video, or a rendered skeleton; or poses in a file (.safetensors, .npz or .json), "
                          "which are rendered and need no mask")
    job.add_argument("--mask_video", metavar="FILE", help="colour mask of the driving video")
    job.add_argument("--whole_picture", action="store_true",
                     help="there are no masks: one person is all of every picture (for animation)")
    job.add_argument("--additional_ref_image", "--additional_image", nargs="+", default=[], metavar="FILE",
                     help="more reference pictures")
    job.add_argument("--additional_ref_mask_image", "--additional_mask_image", nargs="+", default=[], metavar="FILE",
                     help="their colour masks, in the same order")
    job.add_argument("--additional_pictures", choices=ADDITIONAL_PICTURES, default=EACH_ALONE,
                     help=f"how they are encoded (default: {EACH_ALONE}, as official)")
    job.add_argument("--plan_image", nargs="+", default=[], metavar="FILE",
                     help="references 2, 3 and so on, which the plan can choose for a segment by number")
    job.add_argument("--plan_mask_image", nargs="+", default=[], metavar="FILE", help="their colour masks")
    job.add_argument("--replace_flag", action="store_true",
                     help="replacement: keep the driving video's scene (default: animation, keep the reference's)")
    job.add_argument("--keep_reference_background", action="store_true",
                     help="in replacement, do not cut the character out of the reference (as the official code)")
    job.add_argument("--crop_to_person", type=int, metavar="N",
                     help="make person N (counted from 1, in the order of the colours) through a steady window of the "
                          "target size, and put them back into the driving video; for small people, with "
                          "--replace_flag")
    job.add_argument("--face_pass", action="store_true",
                     help="the same with the head alone, and a close-up of the reference's face; --pose is what was "
                          "filmed, or a finished video")
    job.add_argument("--crop_margin", type=float, metavar="X",
                     help="what the window shows around them on each side, as a share of their box (default: "
                          f"{MARGIN})")
    job.add_argument("--face_mask", metavar="FILE",
                     help="masks of faces for --face_pass, in the forms of --plate_mask (default: estimated from the "
                          "person's mask)")
    job.add_argument("--prompt", default="", help="description of the finished video")
    job.add_argument("--negative_prompt", default="", help="what to steer away from (default: empty, as official)")
    job.add_argument("--target_w", type=int, default=896, metavar="PIXELS", help="width (default: 896)")
    job.add_argument("--target_h", type=int, default=512, metavar="PIXELS",
                     help="height (default: 512); swapped with the width if the reference's orientation differs, but "
                          "not where a person is cropped")


def _gpus(text: str) -> int | None:
    """None for all."""
    try:
        return wanted_gpus(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def _truth(text: str) -> bool:
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return answers[text.lower()]
