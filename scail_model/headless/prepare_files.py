"""The files of one folder that is prepared, by their official names: what is read, and what will be written."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..identity.identities import ANIMATION, REPLACEMENT
from ..poses.poses_file import is_own_form

REFERENCES = "ref_image.jpg", "ref_image.png", "ref.jpg", "ref.png"  # the first that is there is read, as officially
RENDERED, CUT_OUT = "rendered_v2.mp4", "ref_image.png"
MASK_VIDEO = {ANIMATION: "rendered_mask_v2.mp4", REPLACEMENT: "replace_mask.mp4"}
MASK_PICTURE = {ANIMATION: "ref_mask.jpg", REPLACEMENT: "ref_mask.png"}
TRACKS_ENDING = ".safetensors"
_VIDEOS = "driving.mp4", "GT.mp4", "raw.mp4"
_TRACKS = "tracks.safetensors"
_MOVING = ".mp4", ".mkv", ".webm", ".mov", ".avi", ".gif", ".png"
STILL = ".png", ".jpg", ".jpeg", ".webp", ".bmp"

Say = Callable[[str], None]  # told what is being done, and how far


@dataclass(frozen=True)
class Files:
    """masks: None if only the poses know who is there. people_from_masks: whether the masks say who is who in the
    poses. reference: None if it is made of the driving video. reference_mask: None if the tracks file has it. posed:
    whether the model sees poses. poses, detail, keypoints: files of these, keypoints being the reference's. notes:
    sentences about what was chosen."""

    folder: Path
    mode: str
    driving: Path
    masks: Path | None
    people_from_masks: bool
    reference: Path | None
    reference_mask: Path | None
    posed: bool
    poses: Path | None
    detail: Path | None
    keypoints: Path | None
    notes: list[str]

    @property
    def written(self) -> list[Path]:
        """What will be written, in this order."""
        names = [RENDERED, MASK_VIDEO[self.mode], MASK_PICTURE[self.mode], *([] if self.reference else [CUT_OUT])]
        return [self.folder / name for name in names]

    @property
    def picture(self) -> Path:
        """The reference picture when all is done."""
        return self.reference or self.folder / CUT_OUT


def folders_of(arguments: argparse.Namespace) -> list[Path]:
    """The folders to prepare. RuntimeError if there are none."""
    flag = "--input_root" if arguments.subdir is None else "--subdir"
    name = arguments.input_root if arguments.subdir is None else arguments.subdir
    root = Path(name)
    if not name:
        raise RuntimeError(f"The path of the folder ({flag}) is empty: give one, such as . for the current folder.")
    if not root.is_dir():
        raise RuntimeError(f"{root} ({flag}) is {'not a folder' if root.exists() else 'not there'}: check the path.")
    if arguments.subdir:
        return [root]
    found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise RuntimeError(f"{root} (--input_root) has no folders in it: give the folder that holds them, or one of "
                           "them with --subdir.")
    return found


def is_done(folder: Path, mode: str) -> bool:
    """Whether the mask video is there, which officially means that all is."""
    return (folder / MASK_VIDEO[mode]).is_file()


def find_files(folder: Path, arguments: argparse.Namespace) -> Files:
    """RuntimeError, in one sentence, for what is missing, and for files that would be replaced."""
    notes: list[str] = []

    def given(name: str) -> Path | None:
        value = getattr(arguments, name)
        return _given(folder, value, f"--{name}") if value else None

    posed, poses = not arguments.e2e_mode, given("poses")
    driving = _driving(folder, arguments.video_name)
    reference = None if arguments.test_mode else _reference(folder, notes)
    masks = given("tracks") or _masks(folder, driving, needed=not posed)
    knowing = poses is not None and is_own_form(poses) and not arguments.tracks
    picture = None if reference is None else given("mask_image") or _reference_mask(folder, reference, masks)
    files = Files(folder, arguments.mode, driving, masks, masks is not None and not knowing, reference, picture, posed,
                  poses, given("detail"), given("retarget"), notes)
    _check_written(files, overwrite=arguments.overwrite)
    return files


def _driving(folder: Path, name: str) -> Path:
    if (folder / name).is_file():
        return folder / name
    others = [other for other in _VIDEOS if (folder / other).is_file()]
    hint = f"add --video_name {others[0]}" if others else "put it there, or name it with --video_name"
    raise RuntimeError(f"There is no driving video {name} in {folder}: {hint}.")


def _reference(folder: Path, notes: list[str]) -> Path:
    found = [folder / name for name in REFERENCES if (folder / name).is_file()]
    if not found:
        raise RuntimeError(f"There is no reference picture in {folder}: name it {', '.join(REFERENCES[:-1])} or "
                           f"{REFERENCES[-1]}.")
    if len(found) > 1:
        notes.append(f"{found[0].name} is the reference, and {', '.join(path.name for path in found[1:])} is not read.")
    return found[0]


def _masks(folder: Path, driving: Path, *, needed: bool) -> Path | None:
    names = [_TRACKS, *(f"{driving.stem}_mask{ending}" for ending in (*_MOVING, ""))]  # without one: a folder
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None and needed:
        raise RuntimeError(f"There are no masks of the driving video in {folder} ({names[0]} or {names[1]}), and SAM3 "
                           "is not run here: track the people in ComfyUI and save them with Save SCAIL-2 Tracks, or "
                           "give a mask video, and name it with --tracks.")
    return found


def _reference_mask(folder: Path, reference: Path, masks: Path | None) -> Path | None:
    names = [f"{stem}_mask{ending}" for stem in (reference.stem, "reference") for ending in STILL]
    found = next((folder / name for name in names
                  if name not in MASK_PICTURE.values() and (folder / name).is_file()), None)
    if found is None and (masks is None or masks.suffix.lower() != TRACKS_ENDING):
        raise RuntimeError(f"There is no mask of the reference in {folder} (reference_mask.png), and SAM3 is not run "
                           "here: paint the person in blue or white on black, and name the picture with --mask_image.")
    return found


def _given(folder: Path, name: str, flag: str) -> Path:
    """A file in the folder, or anywhere."""
    for path in (folder / name, Path(name)):
        if path.exists():
            return path
    raise RuntimeError(f"{name} ({flag}) is neither in {folder} nor here: check the path.")


def _check_written(files: Files, *, overwrite: bool) -> None:
    read = {os.path.realpath(path) for path in (files.driving, files.masks, files.reference, files.reference_mask)
            if path is not None}
    for path in files.written:
        if os.path.realpath(path) in read:
            raise RuntimeError(f"{path} is read, and would be written too: rename it, and name it with --tracks, "
                               "--mask_image or --video_name.")
        if overwrite and os.path.lexists(path) and not path.is_file():
            raise RuntimeError(f"{path} is not a file, but will be written: rename it.")
        if files.reference is None and path.name == CUT_OUT and path.is_file() and not overwrite:
            raise RuntimeError(f"{path} exists, and --test_mode makes the reference anew: rename it, or add "
                               "--overwrite to replace it.")
        if os.path.lexists(path) and not overwrite:
            raise RuntimeError(f"{path} exists: add --overwrite, or --skip_existing to leave finished folders out.")
