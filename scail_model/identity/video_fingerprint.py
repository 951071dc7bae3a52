"""Whether a driving video is the one that was tracked, however it was decoded.

The fingerprint of a video is 16 frames spread evenly over it, each as 16x16 levels: the means of red and blue over a
part of the picture. Nothing else is compared. Two frames are the same if all but two of the 256 parts are within 16
levels. The third largest difference of 24 drawn and two real clips was at most 11 after H.264 at CRF 34 or at half the
size, at most 9 with the wrong colour matrix (BT.601 for BT.709; luma would have 20, because green suffers most). A clip
that begins two frames later, with people who move, was told from the saved one in 26 of 26, one frame later in 21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..geometry import check_frame_count, check_shape, same_shape
from ..media.clips import Clip
from .identities import Identities

_FRAMES, _SIDE = 16, 16
_WEIGHTS = torch.tensor((0.5, 0.0, 0.5))  # of red, green, blue
_FREE_CELLS = 2  # specks: a logo, a subtitle
_LEVELS = 16  # of 255


@dataclass(frozen=True)
class Fingerprint:
    """What a file keeps of a driving video. frames: numbers of the n frames in it. thumbnails: uint8 [n, 16, 16].
    rate: frames per second, None if unknown."""

    frames: tuple[int, ...]
    thumbnails: np.ndarray
    rate: Fraction | None = None


def fingerprint(video: Clip) -> Fingerprint:
    """Of a video of any size."""
    chosen = np.linspace(0, len(video) - 1, min(len(video), _FRAMES)).round().astype(int).tolist()
    return Fingerprint(tuple(chosen), _thumbnails(video, chosen), video.rate)


def own_fingerprint(identities: Identities, video: Clip) -> Fingerprint:
    """Of the video that the masks were made of. Raises ValueError if it has another length or shape than they have."""
    check_frame_count(len(video), len(identities.driving))
    check_shape("driving mask", identities.driving.size, "driving video", video.size)
    return fingerprint(video)


def compare(identities: Identities, saved: Fingerprint | None, video: Clip, remedy: str, *, accept: bool = False
            ) -> tuple[str, ...]:
    """Lines for the report on how a video and loaded masks fit.

    saved: of the video that was tracked, if its fingerprint is known. remedy: what to do about another video. Raises
    ValueError if the video has another number of frames; also, unless `accept`, if it has another shape (by more than
    2 %) or shows other pictures.
    """
    check_frame_count(len(video), len(identities.driving))
    height, width = video.size
    mask_height, mask_width = identities.driving.size
    sizes = f"{width}x{height} pixels, the masks {mask_width}x{mask_height}"
    shape = "" if same_shape(identities.driving.size, (height, width)) else f"it has {sizes}, another shape"
    differences = [text for text in (shape, _difference(saved, video)) if text]
    if differences and not accept:
        raise ValueError(f"The driving video is not the one of these tracks ({'; '.join(differences)}): {remedy}.")
    remarks = [f"driving video: not the one of these tracks, accepted ({text})" for text in differences]
    if not shape and (height, width) != identities.driving.size:
        remarks.append(f"driving video: {sizes}, the same shape")
    if saved is None:
        remarks.append("driving video: its pictures were not compared, because the tracks were saved without it")
    elif not differences:
        remarks.append(f"driving video: the one that was tracked ({len(saved.frames)} frames compared)")
    if saved and saved.rate and video.rate and saved.rate != video.rate:
        remarks.append(f"driving video: {float(video.rate):g} frames per second, {float(saved.rate):g} when it was "
                       "saved")
    return tuple(remarks)


def _difference(saved: Fingerprint | None, video: Clip) -> str:
    """How the pictures of a video differ from the saved ones; empty if they are the same or unknown."""
    if saved is None:
        return ""
    now = _thumbnails(video, saved.frames)
    cells = np.abs(now.astype(int) - saved.thumbnails).reshape(len(now), -1)  # [n, 256]
    levels = np.sort(cells, axis=1)[:, -1 - _FREE_CELLS]
    if not (other := np.flatnonzero(levels > _LEVELS)).size:
        return ""
    first = other[0]
    return (f"{len(other)} of {len(levels)} compared frames show another picture, the first is frame "
            f"{saved.frames[first]}, by up to {cells[first].max()} of 255 levels")


def _thumbnails(video: Clip, chosen: Sequence[int]) -> np.ndarray:
    """Area means of some frames, uint8 [n, 16, 16]."""
    down, across = (_shares(size) for size in video.size)
    mixed = (frame.float() @ _WEIGHTS for frame in video.at(chosen))  # [h, w] each
    return torch.stack([down @ image @ across.T for image in mixed]).round().clamp(0, 255).byte().numpy()


def _shares(size: int) -> Tensor:
    """What each of `size` pixels gives to each of 16 parts of equal length, float32 [16, size]; a row adds up to 1."""
    edges, pixels = np.linspace(0, size, _SIDE + 1)[:, None], np.arange(size)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return torch.from_numpy(overlap.clip(0) * _SIDE / size).float()
