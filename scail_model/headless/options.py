"""The arguments of `scail2 generate`: names and defaults of the official `generate.py`, where they mean something here.

Nothing heavy is imported, so that `--help` answers at once.
"""

import argparse

_SOLVERS = ("unipc", "dpm++", "euler")


def add_generate(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `scail2 generate` to its parser."""
    _add_files(command)
    _add_sampling(command)


def _add_files(command: argparse.ArgumentParser) -> None:
    models = command.add_argument_group("models")
    models.add_argument("--ckpt_dir", required=True, metavar="FOLDER",
                        help="folder with VAE, text encoder and CLIP: a Wan 2.1 folder in diffusers form (vae, "
                             "text_encoder, tokenizer, image_encoder), or the official SCAIL-2 folder")
    models.add_argument("--scail_path", metavar="FILE", help="SCAIL-2 transformer (default: the model in --ckpt_dir)")
    models.add_argument("--lora_path", metavar="FILE", help="LoRA to merge into the model")
    models.add_argument("--lora_alpha", type=float, default=1.0, metavar="X", help="strength (default: 1.0)")
    job = command.add_argument_group("pictures and videos")
    job.add_argument("--image", required=True, metavar="FILE", help="reference picture of the character")
    job.add_argument("--mask_image", required=True, metavar="FILE", help="colour mask of the reference picture")
    job.add_argument("--pose", required=True, metavar="FILE", help="driving video (or a rendered skeleton)")
    job.add_argument("--mask_video", required=True, metavar="FILE", help="colour mask of the driving video")
    job.add_argument("--additional_ref_image", "--additional_image", nargs="+", default=[], metavar="FILE",
                     help="more reference pictures")
    job.add_argument("--additional_ref_mask_image", "--additional_mask_image", nargs="+", default=[], metavar="FILE",
                     help="their colour masks, in the same order")
    job.add_argument("--replace_flag", action="store_true",
                     help="replacement: keep the driving video's scene (default: animation, keep the reference's)")
    job.add_argument("--keep_reference_background", action="store_true",
                     help="in replacement, do not cut the character out of the reference (as the official code)")
    job.add_argument("--save_file", metavar="FILE", help=".mp4 to write (default: a name from size, prompt and time)")


def _add_sampling(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("sampling")
    group.add_argument("--prompt", default="", help="description of the finished video")
    group.add_argument("--negative_prompt", default="", help="what to steer away from (default: empty, as official)")
    group.add_argument("--target_w", type=int, default=896, metavar="PIXELS", help="width (default: 896)")
    group.add_argument("--target_h", type=int, default=512, metavar="PIXELS",
                       help="height (default: 512); swapped with the width if the reference's orientation differs")
    group.add_argument("--sample_solver", choices=_SOLVERS, default="unipc", help="default: unipc")
    group.add_argument("--sample_steps", type=int, default=40, metavar="N", help="default: 40")
    group.add_argument("--sample_shift", type=float, default=3.0, metavar="X", help="default: 3.0")
    group.add_argument("--sample_guide_scale", type=float, default=5.0, metavar="X",
                       help="guidance; at 1 or less the negative prompt is not used (default: 5.0)")
    group.add_argument("--segment_len", type=int, default=81, metavar="FRAMES", help="4n+1 (default: 81)")
    group.add_argument("--segment_overlap", type=int, default=5, metavar="FRAMES", help="4n+1 (default: 5)")
    group.add_argument("--base_seed", type=int, default=-1, metavar="N", help="below 0 draws one (default: -1)")
    group.add_argument("--offload_model", type=_truth, default=True, metavar="BOOL",
                       help="keep the transformer in main memory while the VAE works (default: true)")


def _truth(text: str) -> bool:
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return answers[text.lower()]
