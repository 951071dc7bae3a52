"""Arrays in a .safetensors file, written and read piece by piece, so that their length costs no memory.

The library's own writer wants whole arrays. Format: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

_TYPE_NAMES = {np.dtype(np.uint8): "U8", np.dtype(np.int64): "I64"}
_DTYPES = {name: dtype for dtype, name in _TYPE_NAMES.items()}
_PIECE = 1 << 20  # bytes


class Pieces(Protocol):
    """An array as its bytes, piece after piece: a contiguous numpy array is one, row by row."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __iter__(self) -> Iterator[bytes | np.ndarray]: ...


class JoinedBytes:
    """Bytes in several places as one array, uint8 [their number]."""

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self.shape = (sum(map(len, parts)),)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


class StoredArray:
    """An array in an open file: what `safetensors.safe_open(..., "np").get_slice` gives. stored[start:stop] reads these
    rows as a numpy array; iteration reads all of it, some rows at a time."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.dtype, self.shape = _DTYPES[part.get_dtype()], tuple(part.get_shape())

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._part[rows]

    def __iter__(self) -> Iterator[np.ndarray]:
        rows = max(1, _PIECE // max(1, self.dtype.itemsize * prod(self.shape[1:])))
        for start in range(0, self.shape[0], rows):
            yield self[start : min(start + rows, self.shape[0])]


def write(path: str | os.PathLike, arrays: Mapping[str, Pieces], metadata: Mapping[str, str]) -> None:
    """Raises OSError if the file cannot be written. The widest types come first, so that every array is aligned."""
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.dtype.itemsize * prod(array.shape)
        header[name] = {"dtype": _TYPE_NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            for piece in array:
                file.write(piece)


def checksum(text: str, arrays: Mapping[str, Pieces]) -> str:
    """Of a text, and of the names, types, shapes and contents of arrays; their order does not matter."""
    value = zlib.crc32(text.encode())
    for name, array in sorted(arrays.items()):
        value = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), value)
        for piece in array:
            value = zlib.crc32(piece, value)
    return f"{value:08x}"
