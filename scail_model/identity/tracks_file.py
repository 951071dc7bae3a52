"""Identities in a file, so that people are tracked once.

A .safetensors file. Each person has two arrays on each side, under `driving.<person>` and
`reference.<picture>.<person>`, and so have people of the driving video who are not bound, under `bystanders.<person>`:

    <name>          uint8 [bytes], the person's masks one after another, compressed as in memory (`packed_mask.py`)
    <name>.frames   int64 [T, 7], for each frame: area, box, first byte and number of bytes of its mask; equal
                    neighbours share one mask

`thumbnails` is the fingerprint of the driving video. The metadata holds the format, everything else as JSON, and a
checksum over all of it. A dancer in 1,000 frames of 704x1280 takes 2.9 MB.

Files of the first format are still read: under <name> they have the bits of every frame, uint8 [T, H, ceil(W / 8)],
113 MB for the same dancer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from ..files.streamed_safetensors import JoinedBytes, Pieces, StoredArray, checksum, write
from ..files.user_files import new_path, writing_user_file
from .identities import Identities
from .mask_set import MaskSet
from .packed_mask import EMPTY, MaskTrack, PackedMask, append_packed, pack_track
from .video_fingerprint import Fingerprint

_FORMAT, _FIRST_FORMAT = "scail2-tracks-2", "scail2-tracks-1"
_THUMBNAILS = "thumbnails"


def save(identities: Identities, folder: str | os.PathLike, name: str, *, video: Fingerprint | None = None,
         overwrite: bool = False) -> Path:
    """Write folder/name.safetensors and return the path; the file appears only when it is complete.

    Raises ValueError for a name outside the folder and for an existing file without `overwrite`, RuntimeError if the
    file cannot be written.
    """
    path = new_path(Path(folder), name, "tracks", overwrite=overwrite)  # before the work is done
    arrays, text = _arrays(identities), _text(identities, video)
    if video is not None:
        arrays[_THUMBNAILS] = video.thumbnails
    try:
        with writing_user_file(Path(folder), name, "tracks", overwrite=overwrite) as part:
            write(part, arrays, {"format": _FORMAT, "identities": text, "checksum": checksum(text, arrays)})
    except OSError as error:
        raise RuntimeError(f"The tracks cannot be written to {path} ({error}): free space there, or choose another "
                           "name.") from error
    return path


def load(path: str | os.PathLike) -> tuple[Identities, Fingerprint | None]:
    """Read what `save` has written, in this version or an older one; the fingerprint is None if none was saved.

    Raises RuntimeError for any other file, and for one that has changed since it was written.
    """
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in _READERS:  # before the arrays are read: it may be a large model
                raise RuntimeError(f"{path} is not a tracks file that this version of the pack can read: choose a file "
                                   "that Save SCAIL-2 Tracks has written, or update the pack.")
            arrays = {key: StoredArray(file.get_slice(key)) for key in file.keys()}  # noqa: SIM118
            text = metadata.get("identities", "")
            if metadata.get("checksum") != checksum(text, arrays):
                raise RuntimeError(f"{path} is damaged (its checksum is wrong): save the tracks again.")
            return _identities(json.loads(text), arrays, _READERS[metadata["format"]])
    except SafetensorError as error:
        raise RuntimeError(f"{path} is not a tracks file, or was cut short ({error}): save the tracks "
                           "again.") from error


def _arrays(identities: Identities) -> dict[str, Pieces]:
    sides = {"driving": identities.driving}
    sides |= {f"reference.{picture}": mask_set for picture, mask_set in enumerate(identities.references)}
    if identities.bystanders is not None:
        sides["bystanders"] = identities.bystanders
    arrays: dict[str, Pieces] = {}
    for side, mask_set in sides.items():
        for person, track in enumerate(mask_set.tracks):
            arrays[f"{side}.{person}"], arrays[f"{side}.{person}.frames"] = _stored(track)
    return arrays


def _stored(track: MaskTrack) -> tuple[JoinedBytes, np.ndarray]:
    """A track's two arrays: its bytes, and int64 [T, 7]."""
    masks, repeats = zip(*((mask, len(list(group))) for mask, group in groupby(track.masks)), strict=True)
    sizes = np.array([len(mask.deflated) for mask in masks])
    places = np.repeat(np.column_stack((sizes.cumsum() - sizes, sizes)), repeats, axis=0)  # [T, 2]
    return (JoinedBytes([mask.deflated for mask in masks]),
            np.column_stack((track.extent.area, track.extent.box, places)))


def _track(arrays: Mapping[str, StoredArray], name: str, height: int, width: int) -> MaskTrack:
    stored = arrays[name]
    masks: list[PackedMask] = []
    for area, *box, start, size in arrays[f"{name}.frames"][:].tolist():
        mask = PackedMask(area, tuple(box), stored[start : start + size].tobytes()) if area else EMPTY
        append_packed(masks, mask)
    return MaskTrack(tuple(masks), height, width)


def _track_of_bits(arrays: Mapping[str, StoredArray], name: str, height: int, width: int) -> MaskTrack:
    """Of a file in the first format."""
    return pack_track(chain.from_iterable(arrays[name]), height, width)


_READERS = {_FORMAT: _track, _FIRST_FORMAT: _track_of_bits}


def _text(identities: Identities, video: Fingerprint | None) -> str:
    """Everything but the pixels, as JSON."""
    values = {key: getattr(identities, key) for key in ("mode", "labels", "names", "front", "notes")}
    rate = str(video.rate) if video and video.rate else None
    others = {"bystanders": identities.bystanders.people} if identities.bystanders else {}
    return json.dumps({**values, **others, "driving": [len(identities.driving), *identities.driving.size],
                       "references": [mask_set.size for mask_set in identities.references],
                       "video": video and {"frames": video.frames, "rate": rate}})


def _identities(values: dict, arrays: Mapping[str, StoredArray], read_track: Callable[..., MaskTrack]
                ) -> tuple[Identities, Fingerprint | None]:
    """values: what `_text` has written. read_track: as the file's format needs it."""
    count = len(values["labels"])

    def mask_set(side: str, frames: int, height: int, width: int, *, people: int = count) -> MaskSet:
        tracks = tuple(read_track(arrays, f"{side}.{person}", height, width) for person in range(people))
        return MaskSet(tracks, frames, height, width)

    references = tuple(mask_set(f"reference.{picture}", 1, *size) for picture, size in enumerate(values["references"]))
    lists = {key: tuple(values[key]) for key in ("labels", "names", "front", "notes")}
    others = values.get("bystanders", 0)
    bystanders = mask_set("bystanders", *values["driving"], people=others) if others else None
    identities = Identities(values["mode"], mask_set("driving", *values["driving"]), references, **lists,
                            bystanders=bystanders)
    video = values["video"]
    if video is None:
        return identities, None
    rate = Fraction(video["rate"]) if video["rate"] else None
    return identities, Fingerprint(tuple(video["frames"]), arrays[_THUMBNAILS][:], rate)
