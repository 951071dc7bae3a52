"""Identities in a file, so that people are tracked once, and the fingerprint of the driving video that they belong to.

A .safetensors file: the bits of every plane as they are (`driving.<person>`, `reference.<picture>.<person>`) and the
fingerprint's thumbnails; as metadata the format, everything else as JSON, and a checksum over all of it. 1,000 frames
of 704x1280 are 113 MB a person, of which one frame at a time is in memory.

The fingerprint tells whether a video is the one that was tracked, however it was decoded: 16 frames spread evenly over
the video, each as 16x16 levels, the means of red and blue over a part of the picture. Nothing else is looked at. Two
frames are the same if all but two of the 256 parts are within 16 levels. The third largest difference of 24 drawn and
two real clips was at most 11 after H.264 at CRF 34 or at half the size, at most 9 with the wrong colour matrix (BT.601
for BT.709; luma would have 20, because green suffers most). A clip that begins two frames later, with people who move,
was told from the saved one in 26 of 26, one frame later in 21.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.streamed_safetensors import Frames, StoredFrames, checksum, write
from ..files.user_files import user_path
from ..geometry import check_frame_count, check_shape, same_shape
from ..media.clips import Clip
from .identities import Identities
from .mask_set import MaskSet
from .packed_mask import pack_track

_FORMAT = "scail2-tracks-1"
_THUMBNAILS = "thumbnails"
_FRAMES, _SIDE = 16, 16  # of the fingerprint
_WEIGHTS = torch.tensor((0.5, 0.0, 0.5))  # of red, green, blue
_FREE_CELLS = 2  # specks: a logo, a subtitle
_LEVELS = 16  # of 255


@dataclass(frozen=True)
class Fingerprint:
    """What is remembered of a driving video. frames: numbers of the n frames looked at. thumbnails: uint8
    [n, 16, 16]. rate: frames per second, None if unknown."""

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


def compare(identities: Identities, saved: Fingerprint | None, video: Clip, *, accept: bool = False
            ) -> tuple[str, ...]:
    """What there is to say of a video next to loaded masks, for the report.

    saved: of the video that was tracked, if its fingerprint is known. Raises ValueError if the number of frames is
    another one; also, unless `accept`, if the shape (by more than 2 %) or the pictures are.
    """
    check_frame_count(len(video), len(identities.driving))
    height, width = video.size
    mask_height, mask_width = identities.driving.size
    sizes = f"{width}x{height} pixels, the masks {mask_width}x{mask_height}"
    shape = "" if same_shape(identities.driving.size, (height, width)) else f"it has {sizes}, another shape"
    differences = [text for text in (shape, _difference(saved, video)) if text]
    if differences and not accept:
        raise ValueError(f"The driving video is not the one of these tracks ({'; '.join(differences)}): connect the "
                         "video that was tracked, or set other_video to accept.")
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


def save(identities: Identities, folder: str | os.PathLike, name: str, *, video: Fingerprint | None = None,
         overwrite: bool = False) -> Path:
    """Write folder/name.safetensors and return the path; the file appears only when it is complete.

    Raises ValueError for a name outside the folder and for an existing file without `overwrite`, RuntimeError if the
    file cannot be written.
    """
    path = user_path(Path(folder), name, "tracks")
    if path.exists() and not overwrite:
        raise ValueError(f"The tracks file {name} exists already: choose another name or turn overwrite on.")
    arrays, text = _arrays(identities), _text(identities, video)
    if video is not None:
        arrays[_THUMBNAILS] = video.thumbnails
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part, arrays, {"format": _FORMAT, "identities": text, "checksum": checksum(text, arrays)})
        os.replace(part, path)
    except OSError as error:
        raise RuntimeError(f"The tracks cannot be written to {path} ({error}): free space there, or choose another "
                           "name.") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path: str | os.PathLike) -> tuple[Identities, Fingerprint | None]:
    """Read what `save` has written; the fingerprint is None if none was saved. Raises RuntimeError for any other file,
    and for one that has changed since."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:  # before the tensors are read: it may be a large model
                raise RuntimeError(f"{path} is no tracks file that this version of the pack can read: choose a file "
                                   "that Save SCAIL-2 Tracks has written, or update the pack.")
            arrays = {key: StoredFrames(file.get_slice(key)) for key in file.keys()}  # noqa: SIM118
            text = metadata.get("identities", "")
            if metadata.get("checksum") != checksum(text, arrays):
                raise RuntimeError(f"{path} is damaged (its checksum is wrong): save the tracks again.")
            return _identities(json.loads(text), arrays)
    except SafetensorError as error:
        raise RuntimeError(f"{path} is no tracks file or was cut short ({error}): save the tracks again.") from error


def _arrays(identities: Identities) -> dict[str, Frames]:
    sides = {"driving": identities.driving}
    sides |= {f"reference.{picture}": mask_set for picture, mask_set in enumerate(identities.references)}
    return {f"{side}.{person}": track for side, mask_set in sides.items()
            for person, track in enumerate(mask_set.tracks)}


def _text(identities: Identities, video: Fingerprint | None) -> str:
    """Everything but the pixels, as JSON."""
    values = {key: getattr(identities, key) for key in ("mode", "labels", "names", "front", "notes")}
    rate = str(video.rate) if video and video.rate else None
    return json.dumps({**values, "driving": [len(identities.driving), *identities.driving.size],
                       "references": [mask_set.size for mask_set in identities.references],
                       "video": video and {"frames": video.frames, "rate": rate}})


def _identities(values: dict, arrays: Mapping[str, Frames]) -> tuple[Identities, Fingerprint | None]:
    people = range(len(values["labels"]))

    def mask_set(side: str, frames: int, height: int, width: int) -> MaskSet:
        tracks = tuple(pack_track(arrays[f"{side}.{person}"], height, width) for person in people)
        return MaskSet(tracks, frames, height, width)

    references = tuple(mask_set(f"reference.{picture}", 1, *size) for picture, size in enumerate(values["references"]))
    lists = {key: tuple(values[key]) for key in ("labels", "names", "front", "notes")}
    identities = Identities(values["mode"], mask_set("driving", *values["driving"]), references, **lists)
    video = values["video"]
    if video is None:
        return identities, None
    rate = Fraction(video["rate"]) if video["rate"] else None
    return identities, Fingerprint(tuple(video["frames"]), np.stack(list(arrays[_THUMBNAILS])), rate)


def _difference(saved: Fingerprint | None, video: Clip) -> str:
    """What the pictures of a video have that the saved ones have not; empty if they are the same or unknown."""
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
