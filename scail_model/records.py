"""Where tensors lie in a checkpoint file, and two ways to read them: mapped, or piece by piece.

A record names bytes of a file without touching them. The records of a safetensors file come from its header
(`checkpoint.py`), those of a torch file from its pickle (`pickles.py`); from here on both are the same.
"""

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import NamedTuple

import torch
from torch import Tensor

# Linux refuses a private mapping larger than memory plus swap, but judges each mapping on its own: on a 16 GB machine a
# 62 GB file can be mapped in windows of this size, but not in one piece, as torch and safetensors do.
WINDOW_BYTES = 4 << 30
# Largest piece of a file that is read at once.
READ_BYTES = 8 << 20


# A tuple, not a dataclass: a hostile pickle can alter the fields of any object that has attributes to set.
class TensorRecord(NamedTuple):
    """One tensor in a file. `stride` counts elements, `offset` counts bytes from the start of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def extent(self) -> int:
        """Elements from the first to the last one in the file; less than `numel` where a stride is 0."""
        if self.numel == 0:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of the file from the first element to the end of the last one."""
        return self.extent * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in the file in order and without gaps."""
        packed = contiguous_stride(self.shape)
        return all(size == 1 or step == row for size, step, row in zip(self.shape, self.stride, packed, strict=True))

    def chunk(self, parts: int) -> "list[TensorRecord]":
        """Equal parts along dim 0, like `torch.Tensor.chunk`. dim 0 must be a multiple of `parts`."""
        rows = self.shape[0] // parts
        step = rows * self.stride[0] * self.dtype.itemsize
        shape = (rows, *self.shape[1:])
        return [self._replace(shape=shape, offset=self.offset + part * step) for part in range(parts)]


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor of this shape whose elements lie in order and without gaps."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def map_tensors(path: str | os.PathLike, records: Mapping[str, TensorRecord]) -> dict[str, Tensor]:
    """The tensors of a file, memory mapped: pages come in when they are first used and can be dropped again.

    Private mappings: writing into such a tensor copies the page and never changes the file.
    Returns the names in the order of `records`. OSError when the file cannot be opened or mapped.
    """
    tensors = {name: torch.empty(record.shape, dtype=record.dtype) for name, record in records.items()
               if record.numel == 0}
    with open(path, "rb") as file:
        for names in _windows({name: record for name, record in records.items() if record.numel}):
            first = records[names[0]].offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
            end = max(records[name].offset + records[name].nbytes for name in names)
            window = mmap.mmap(file.fileno(), end - first, access=mmap.ACCESS_COPY, offset=first)
            for name in names:
                record = records[name]
                flat = torch.frombuffer(window, dtype=record.dtype, count=record.extent, offset=record.offset - first)
                tensors[name] = flat.as_strided(record.shape, record.stride)
    return {name: tensors[name] for name in records}


def read_pieces(file: BufferedReader, record: TensorRecord) -> Iterator[Tensor]:
    """The elements of one tensor in order, in 1-D pieces of at most `READ_BYTES`, read instead of mapped.

    A tensor with gaps or in another order is read as a whole first. EOFError when the file ends too early.
    """
    file.seek(record.offset)
    step = READ_BYTES // record.dtype.itemsize
    if not record.is_contiguous:
        whole = _read(file, record.dtype, record.extent).as_strided(record.shape, record.stride)
        yield from whole.contiguous().flatten().split(step)
        return
    for start in range(0, record.numel, step):
        yield _read(file, record.dtype, min(step, record.numel - start))


def _read(file: BufferedReader, dtype: torch.dtype, count: int) -> Tensor:
    piece = torch.empty(count, dtype=dtype)
    if file.readinto(piece.view(torch.uint8).numpy()) != piece.nbytes:
        raise EOFError(f"{file.name} became shorter while it was read: wait until it is complete, and try again.")
    return piece


def _windows(records: Mapping[str, TensorRecord]) -> list[list[str]]:
    """Names in file order, grouped so that a group spans at most `WINDOW_BYTES` (or is one larger tensor)."""
    groups: list[list[str]] = []
    start = 0
    for name in sorted(records, key=lambda name: records[name].offset):
        record = records[name]
        if not groups or record.offset + record.nbytes - start > WINDOW_BYTES:
            groups.append([])
            start = record.offset
        groups[-1].append(name)
    return groups
