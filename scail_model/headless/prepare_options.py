"""The arguments of `scail2 prepare`: names and defaults of the official `process_animation_aio.py` and
`process_replacement.py` of zai-org/SCAIL-Pose, and those of this pack."""

from __future__ import annotations

import argparse

from ..identity.identities import ANIMATION, REPLACEMENT
from ..inputs.crops import BACKGROUNDS, BOXES, MARGIN, PEOPLE, STEADY_BOX
from ..poses.retarget import ERROR_LIMIT

_CROPS = {"mask": PEOPLE, "bbox": BOXES, "steady_bbox": STEADY_BOX}  # by official name
_SAM3 = "a model of SAM3, which is not run here: masks come from --tracks"


def add_prepare(command: argparse.ArgumentParser) -> None:
    """Add the two kinds of `scail2 prepare` to its parser."""
    kinds = command.add_subparsers(required=True, metavar="KIND", dest="mode")
    add_animation(kinds.add_parser(ANIMATION, help="the reference's scene is kept: rendered_v2.mp4, "
                                                   "rendered_mask_v2.mp4 and ref_mask.jpg"))
    add_replacement(kinds.add_parser(REPLACEMENT, help="the driving video's scene is kept: rendered_v2.mp4, "
                                                       "replace_mask.mp4 and ref_mask.png"))


def add_animation(command: argparse.ArgumentParser) -> None:
    command.set_defaults(matchnearest=False, test_mode=False)
    _add_folders(command)
    driving = command.add_argument_group("driving video")
    driving.add_argument("--e2e_mode", action="store_true",
                         help="the model sees the driving video itself (in rendered_v2.mp4), not a skeleton")
    crops = driving.add_mutually_exclusive_group()
    for name, kind in _CROPS.items():
        crops.add_argument(f"--crop_e2e_{name}", dest="crop", action="store_const", const=kind, default="",
                           help=f"with --e2e_mode: rendered_v2.mp4 shows {BACKGROUNDS[kind]}; the rest is black")
    driving.add_argument("--crop_margin", type=float, default=MARGIN, metavar="SHARE",
                         help=f"how much wider and higher a box is on each side, as a share of it (default: {MARGIN})")
    _add_poses(command)
    _add_masks(command)
    _add_files(command)


def _add_poses(command: argparse.ArgumentParser) -> None:
    poses = command.add_argument_group("poses, without --e2e_mode")
    poses.add_argument("--poses", metavar="FILE",
                       help="poses of the driving video, in each folder or anywhere: of Save SCAIL-2 Poses, or .npz or "
                            ".json as any detector can write them")
    poses.add_argument("--nlf", "--model_path", metavar="FILE",
                       help="NLF's torchscript file, which is run over the driving video; it contains code, and its "
                            "weights are for non-commercial research only")
    poses.add_argument("--detail", metavar="FILE",
                       help="faces and hands: OpenPose's JSON, one file with a list of frames, or a folder with a file "
                            "for each frame")
    poses.add_argument("--retarget", metavar="FILE",
                       help="OpenPose's JSON of the reference picture, to whose people skeletons are fitted in size "
                            "and place")
    poses.add_argument("--error_limit", type=float, metavar="SHARE",
                       help="the largest median distance between joints and reference that --retarget accepts, as a "
                            f"share of the size of the reference's joints (default: {ERROR_LIMIT})")
    poses.add_argument("--hold", type=int, metavar="FRAMES",
                       help="a person who is overlooked for at most this many frames keeps the last pose (default: "
                            "3; 0 is official)")
    poses.add_argument("--smooth", type=float, metavar="FRAMES",
                       help="smooth joints and points over about this many frames to both sides (default: 0)")


def add_replacement(command: argparse.ArgumentParser) -> None:
    command.set_defaults(e2e_mode=True, crop="", poses=None, nlf=None, detail=None, retarget=None)
    _add_folders(command)
    masks = _add_masks(command)
    masks.add_argument("--matchnearest", "--onetomany", action="store_true",
                       help="the person whose mask overlaps the reference's most in the first frame is replaced; same "
                            'as --binding "by overlap"')
    masks.add_argument("--test_mode", action="store_true",
                       help="the reference is the person in the first driving frame, cut out (ref_image.png)")
    _add_files(command)


def _add_folders(command: argparse.ArgumentParser) -> None:
    folders = command.add_argument_group("folders").add_mutually_exclusive_group(required=True)
    folders.add_argument("--subdir", metavar="FOLDER",
                         help="folder with the driving video and the reference (ref_image.jpg, ref_image.png, ref.jpg "
                              "or ref.png)")
    folders.add_argument("--input_root", metavar="FOLDER", help="folder of such folders, each prepared in turn")
    command.add_argument("--video_name", default="driving.mp4", metavar="NAME",
                         help="the driving video in each folder, such as GT.mp4 or raw.mp4 (default: driving.mp4)")


def _add_masks(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    masks = command.add_argument_group("masks")
    masks.add_argument("--tracks", metavar="FILE",
                       help="masks of the driving video, in each folder or anywhere: a tracks file (Save SCAIL-2 "
                            "Tracks), a mask video, or a folder of mask pictures, in colours or in white on black "
                            "(default: tracks.safetensors, or what is named like the driving video with _mask, such as "
                            "driving_mask.mp4)")
    masks.add_argument("--mask_image", metavar="FILE",
                       help="mask picture of the reference, in colours or in black and white (default: a picture named "
                            "like the reference with _mask, such as ref_image_mask.png, or reference_mask.png; else "
                            "that of the tracks file)")
    masks.add_argument("--binding", default="", metavar="TEXT",
                       help='who is who, as in Bind SCAIL-2 Identities: reference:driving, such as "1:2, 2:1", "by '
                            'position" or "by overlap" (default: equal colours, else from left to right)')
    masks.add_argument("--max_persons", type=int, metavar="N",
                       help="of the driving video's people only the N largest in the first frame (default: all)")
    masks.add_argument("--text", nargs="+", metavar="WORD", help="words for SAM3, which is not run here; has no effect")
    masks.add_argument("--sam3_model", metavar="FILE", help=f"{_SAM3}; has no effect")
    return masks


def _add_files(command: argparse.ArgumentParser) -> None:
    files = command.add_argument_group("output")
    existing = files.add_mutually_exclusive_group()
    existing.add_argument("--skip_existing", action="store_true", help="leave folders out whose mask video is there")
    existing.add_argument("--overwrite", action="store_true", help="replace files that exist")
    files.add_argument("--json", action="store_true", help="print what was written as JSON, for programs")
