"""Masks of a user's: a tracks file, a mask video, or pictures; in the six colours, in other flat ones, or in white on
black.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from ..geometry import check_frame_count, check_shape, size_of
from ..identity import tracks_file
from ..identity.flat_colours import from_flat_colours
from ..identity.mask_set import MaskSet
from ..identity.mask_sources import DRIVING, REFERENCE, Source, from_colours, from_white
from ..identity.video_fingerprint import compare
from ..media.pictures import read_picture
from ..media.video_file import FileClip
from ..plate.choice import PLATE, check_somebody
from .prepare_files import STILL, TRACKS_ENDING, Say

_MOST_OF_BORDER = 0.5  # a person is seldom in more of it

Frames = Callable[[], Iterator[Tensor]]


def driving_masks(path: Path, driving: FileClip, notes: list[str], say: Say) -> tuple[Source, Source | None]:
    """The driving video's people, and those of the reference if the file has them. path: a tracks file, a video, or a
    folder with a picture for each frame. notes: takes up remarks.

    Raises ValueError or RuntimeError for masks that cannot be read, or are not of this video.
    """
    if path.suffix.lower() == TRACKS_ENDING:
        return _tracks(path, driving, notes)
    count, size, frames = _pictures(path, "tracks") if path.is_dir() else _video(path, driving)
    check_frame_count(len(driving), count)
    check_shape("driving mask", size, "driving video", driving.size)

    def told() -> Iterator[Tensor]:
        for number, frame in enumerate(frames(), 1):
            say(f"reading the masks, frame {number} of {count}")
            yield frame

    return _people(told, count, DRIVING, notes), None


def plate_masks(path: Path, notes: list[str]) -> MaskSet:
    """The made people of a first pass. path, notes: as for `masks_of`. Raises ValueError or RuntimeError for masks that
    cannot be read, or show nobody."""
    masks = masks_of(path, PLATE, notes)
    check_somebody(masks)
    return masks


def masks_of(path: Path, name: str, notes: list[str]) -> MaskSet:
    """Masks of people or parts of them. path: a tracks file, a video, or a folder with a picture for each frame. name:
    of what they are masks of; with _mask it is the flag. notes: takes up remarks.

    Raises ValueError or RuntimeError for masks that cannot be read.
    """
    if path.suffix.lower() == TRACKS_ENDING:
        return tracks_file.load(path)[0].driving
    if path.is_dir():
        count, _, frames = _pictures(path, f"{name}_mask")
        return _people(frames, count, name, notes).mask_set
    clip = FileClip(path, name=f"{name} mask")
    return _people(lambda: iter(clip), len(clip), name, notes).mask_set


def reference_mask(path: Path | None, tracked: Source | None, picture: Tensor, notes: list[str]) -> Source:
    """The reference's people, from a picture, else from the tracks file. picture: the reference [h, w, 3]."""
    if path is None:
        assert tracked is not None  # else there is a file
        check_shape("reference mask of the tracks file", tracked.mask_set.size, "reference", size_of(picture))
        return tracked
    mask = read_picture(path, "mask of the reference")
    check_shape("mask of the reference", size_of(mask), "reference", size_of(picture))
    return _people(lambda: iter([mask]), 1, REFERENCE, notes)


def _tracks(path: Path, driving: FileClip, notes: list[str]) -> tuple[Source, Source]:
    identities, video = tracks_file.load(path)
    notes += compare(identities, video, driving, "give the tracks of this video")
    names, front = identities.given_names, identities.front
    return (Source(DRIVING, identities.driving, identities.labels, names=names, front=front),
            Source(REFERENCE, identities.references[0], identities.labels))


def _video(path: Path, driving: FileClip) -> tuple[int, tuple[int, int], Frames]:
    mask = FileClip(path, name="driving mask").shaped_like(driving)
    return len(mask), mask.size, lambda: iter(mask)


def _pictures(folder: Path, flag: str) -> tuple[int, tuple[int, int], Frames]:
    """Of a folder, in the order of their names. flag: it was named with."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in STILL)
    if not paths:
        raise RuntimeError(f"The folder {folder} (--{flag}) has no pictures: give one with a mask for each frame.")
    size = size_of(read_picture(paths[0], "driving mask"))

    def frames() -> Iterator[Tensor]:
        for path in paths:
            picture = read_picture(path, "driving mask")
            if size_of(picture) != size:
                raise ValueError(f"The driving mask {path} has {picture.shape[1]}x{picture.shape[0]} pixels, but the "
                                 f"first one has {size[1]}x{size[0]}: save all at one size.")
            yield picture

    return len(paths), size, frames


def _people(frames: Frames, count: int, name: str, notes: list[str]) -> Source:
    try:
        source = from_colours(frames(), count, name)
    except ValueError:
        flat = from_flat_colours(frames, count, name)
        if flat is None:
            raise
        notes.append(f"{name} mask: {flat.mask_set.people} people in other colours than the six, numbered from left to "
                     "right")
        return flat
    if source.labels:
        return source
    white = from_white(frames(), name)
    if _border(white.mask_set.frame(0)[0]) > _MOST_OF_BORDER:
        notes.append(f"{name} mask: white fills most of the border of its first frame; if the person is the black "
                     "there, invert it")
    return white


def _border(mask: np.ndarray) -> float:
    """Share of the outermost pixels that a mask [H, W] has."""
    return float(np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean())
