"""Arrays of bytes in a .safetensors file, written and read a frame at a time, so that their length costs no memory.

The library's own writer wants whole arrays. Format: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, Protocol

import numpy as np


class Frames(Protocol):
    """uint8 [T, ...], one after another: an array is one."""

    dtype: Any
    shape: tuple[int, ...]

    def __iter__(self) -> Iterator[np.ndarray]: ...


class StoredFrames:
    """Frames in a file that is open: what `safetensors.safe_open(...).get_slice` gives."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.shape = tuple(part.get_shape())
        self.dtype = part[:0].dtype

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self.shape[0]):
            yield self._part[index : index + 1][0]


def write(path: str | os.PathLike, arrays: Mapping[str, Frames], metadata: Mapping[str, str]) -> None:
    """Raises OSError if the file cannot be written."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, frames in arrays.items():
        start, end = end, end + prod(frames.shape)
        header[name] = {"dtype": "U8", "shape": list(frames.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for frames in arrays.values():
            for frame in frames:
                file.write(np.ascontiguousarray(frame))


def checksum(text: str, arrays: Mapping[str, Frames]) -> str:
    """Of a text, and of names, types, shapes and contents; the order of the arrays does not matter."""
    value = zlib.crc32(text.encode())
    for name, frames in sorted(arrays.items()):
        value = zlib.crc32(f"{name} {frames.dtype} {frames.shape}".encode(), value)
        for frame in frames:
            value = zlib.crc32(np.ascontiguousarray(frame), value)
    return f"{value:08x}"
