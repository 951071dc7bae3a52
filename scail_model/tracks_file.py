"""Identities in a file, so that people are tracked once, and the fingerprint of the driving video that they belong to.

A .safetensors file: the bits of every plane as they are (`driving.<person>`, `reference.<picture>.<person>`) and the
fingerprint's thumbnails; as metadata the format, everything else as JSON, and a checksum over all of it. 1,000 frames
of 704x1280 are 113 MB a person.

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
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from .conditioning import check_frame_count, check_shape, same_shape
from .identities import Identities
from .planes import Planes
from .user_files import user_path

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


def fingerprint(frames: Tensor, rate: Fraction | None = None) -> Fingerprint:
    """Of a video [T, h, w, 3 or more], uint8 or float in 0..1, of any size."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int).tolist()
    return Fingerprint(tuple(chosen), _thumbnails(frames, chosen), rate)


def own_fingerprint(identities: Identities, frames: Tensor, rate: Fraction | None = None) -> Fingerprint:
    """Of the video that the masks were made of. Raises ValueError if it has another length or shape than they have."""
    _check_length(identities, frames)
    check_shape("driving mask", identities.driving.size, "driving video", tuple(frames.shape[1:3]))
    return fingerprint(frames, rate)


def compare(identities: Identities, saved: Fingerprint | None, frames: Tensor, rate: Fraction | None = None, *,
            accept: bool = False) -> tuple[str, ...]:
    """What there is to say of a video next to loaded masks, for the report.

    saved: of the video that was tracked, if its fingerprint is known. Raises ValueError if the number of frames is
    another one; also, unless `accept`, if the shape (by more than 2 %) or the pictures are.
    """
    _check_length(identities, frames)
    height, width = frames.shape[1:3]
    mask_height, mask_width = identities.driving.size
    sizes = f"{width}x{height} pixels, the masks {mask_width}x{mask_height}"
    shape = "" if same_shape(identities.driving.size, (height, width)) else f"it has {sizes}, another shape"
    differences = [text for text in (shape, _difference(saved, frames)) if text]
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
    if saved and saved.rate and rate and saved.rate != rate:
        remarks.append(f"driving video: {float(rate):g} frames per second, {float(saved.rate):g} when it was saved")
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
        save_file(arrays, part, {"format": _FORMAT, "identities": text, "checksum": _checksum(text, arrays)})
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
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
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise RuntimeError(f"{path} is no tracks file or was cut short ({error}): save the tracks again.") from error
    text = metadata.get("identities", "")
    if metadata.get("checksum") != _checksum(text, arrays):
        raise RuntimeError(f"{path} is damaged (its checksum is wrong): save the tracks again.")
    return _identities(json.loads(text), arrays)


def _arrays(identities: Identities) -> dict[str, np.ndarray]:
    sides = {"driving": identities.driving}
    sides |= {f"reference.{picture}": planes for picture, planes in enumerate(identities.references)}
    # a plane of a SAM3 track is every n-th mask of a larger tensor
    return {f"{side}.{person}": np.ascontiguousarray(bits.numpy())
            for side, planes in sides.items() for person, bits in enumerate(planes.bits)}


def _text(identities: Identities, video: Fingerprint | None) -> str:
    """Everything but the pixels, as JSON."""
    values = {key: getattr(identities, key) for key in ("mode", "labels", "names", "front", "notes")}
    rate = str(video.rate) if video and video.rate else None
    return json.dumps({**values, "driving": [len(identities.driving), *identities.driving.size],
                       "references": [planes.size for planes in identities.references],
                       "video": video and {"frames": video.frames, "rate": rate}})


def _identities(values: dict, arrays: Mapping[str, np.ndarray]) -> tuple[Identities, Fingerprint | None]:
    people = range(len(values["labels"]))

    def planes(side: str, frames: int, height: int, width: int) -> Planes:
        return Planes(tuple(torch.from_numpy(arrays[f"{side}.{person}"]) for person in people), frames, height, width)

    references = tuple(planes(f"reference.{picture}", 1, *size) for picture, size in enumerate(values["references"]))
    lists = {key: tuple(values[key]) for key in ("labels", "names", "front", "notes")}
    identities = Identities(values["mode"], planes("driving", *values["driving"]), references, **lists)
    video = values["video"]
    if video is None:
        return identities, None
    rate = Fraction(video["rate"]) if video["rate"] else None
    return identities, Fingerprint(tuple(video["frames"]), arrays[_THUMBNAILS], rate)


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    value = zlib.crc32(text.encode())
    for name, array in sorted(arrays.items()):
        value = zlib.crc32(array, zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), value))
    return f"{value:08x}"


def _check_length(identities: Identities, frames: Tensor) -> None:
    check_frame_count(len(frames), len(identities.driving))


def _difference(saved: Fingerprint | None, frames: Tensor) -> str:
    """What the pictures of a video have that the saved ones have not; empty if they are the same or unknown."""
    if saved is None:
        return ""
    now = _thumbnails(frames, saved.frames)
    cells = np.abs(now.astype(int) - saved.thumbnails).reshape(len(now), -1)  # [n, 256]
    levels = np.sort(cells, axis=1)[:, -1 - _FREE_CELLS]
    if not (other := np.flatnonzero(levels > _LEVELS)).size:
        return ""
    first = other[0]
    return (f"{len(other)} of {len(levels)} compared frames show another picture, the first is frame "
            f"{saved.frames[first]}, by up to {cells[first].max()} of 255 levels")


def _thumbnails(frames: Tensor, chosen: Iterable[int]) -> np.ndarray:
    """Area means of some frames, uint8 [n, 16, 16]."""
    down, across = (_shares(size) for size in frames.shape[1:3])
    scale = 1 if frames.dtype == torch.uint8 else 255
    mixed = (frames[index][..., :3].cpu().float() @ _WEIGHTS * scale for index in chosen)  # [h, w] each
    return torch.stack([down @ image @ across.T for image in mixed]).round().clamp(0, 255).byte().numpy()


def _shares(size: int) -> Tensor:
    """What each of `size` pixels gives to each of 16 parts of equal length, float32 [16, size]; a row adds up to 1."""
    edges, pixels = np.linspace(0, size, _SIDE + 1)[:, None], np.arange(size)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return torch.from_numpy(overlap.clip(0) * _SIDE / size).float()
