"""The tensors of a torch checkpoint file (.pt), found without running anything the file asks for.

`torch.save` writes a zip archive: `data.pkl`, a pickle that describes the nested object, and one uncompressed entry
per storage. A pickle is a program that may call any Python function. This reader has its own list of allowed names and
calls nothing but functions of its own, which note where a tensor lies; numpy's random states, which the official
SCAIL-2 checkpoint has, become empty placeholders.

`torch.load(mmap=True, weights_only=True)` cannot take its place:
- It maps the file in one piece, which Linux refuses where the file is larger than memory; see `records`.
- It checks neither compression nor the size of a storage: a file that was packed again, or has lost bytes inside, loads
  as wrong numbers.
- Until torch 2.10 a file could make its safe mode corrupt memory (CVE-2026-24747); this package runs from 2.6 on.

Format: torch/serialization.py and torch/_utils.py.
"""

import os
import pickle
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO, NamedTuple

import torch

from .records import TensorRecord

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2",
           "int64", "int32", "int16", "int8", "uint8", "bool")
# Random states and the like: accepted, but left out of the result. numpy 1 and 2 have different module names.
_IGNORED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
    ("torch", "Size"),
    ("torch", "device"),
}
_LOCAL_HEADER_BYTES = 30


class Ignored:
    """Placeholder for an object in the file that is not needed."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage(NamedTuple):
    dtype: torch.dtype
    offset: int
    nbytes: int


def index_pickle(path: str | os.PathLike) -> Any:
    """The object saved in a torch zip file, with every tensor replaced by its `TensorRecord`.

    RuntimeError if the file is not a torch file, is cut short, big-endian or compressed, or asks for a function or
    class outside the allow-list; nothing in the file is run.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            root = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")), None)
            if root is None:
                raise RuntimeError(f"{path} is a zip archive but not a torch file: give the .pt or .safetensors file.")
            if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
                raise RuntimeError(f"{path} was written on a big-endian machine: save it again on a little-endian one.")
            with archive.open(f"{root}data.pkl") as program:
                return _Reader(program, path, file, f"{root}data/", entries).load()
    except (RuntimeError, OSError):
        raise
    except zipfile.BadZipFile as error:
        raise RuntimeError(f"{path} is damaged or was cut short: download or copy it again.") from error
    # A damaged pickle makes the unpickler fail with nearly any type of error.
    except Exception as error:
        raise RuntimeError(f"{path} holds a damaged pickle ({error}): download or copy it again.") from error


class _Reader(pickle.Unpickler):
    """Unpickler for one file. A pickle may call nothing but bound methods of it, which have no attributes to set."""

    def __init__(self, program: Any, path: str | os.PathLike, file: BinaryIO, data: str,
                 entries: dict[str, zipfile.ZipInfo]) -> None:
        super().__init__(program)
        self._path = path
        self._file = file
        self._file_bytes = os.fstat(file.fileno()).st_size
        self._data = data
        self._entries = entries
        self._storages: dict[str, _Storage] = {}
        self._allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._rebuild_tensor_v2,
            ("torch._utils", "_rebuild_tensor_v3"): self._rebuild_tensor_v3,
            ("torch._utils", "_rebuild_parameter"): self._rebuild_parameter,
            ("torch.storage", "UntypedStorage"): torch.uint8,
            **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
            **{("torch", name): getattr(torch, name) for name in _DTYPES},
            **dict.fromkeys(_IGNORED, self._ignore),
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise RuntimeError(f"{self._path} asks for {module}.{name}, which no checkpoint needs and which could run "
                               "code, so it was not opened: get the file from its authors, or as .safetensors.")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            self._storages[key] = self._place(dtype, key)
        return self._storages[key]

    def _place(self, dtype: torch.dtype, key: str) -> _Storage:
        entry = self._entries[f"{self._data}{key}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RuntimeError(f"{self._path} was packed again with compression: use the file that torch.save wrote.")
        # The local header can be longer than the central directory says: torch pads it to align the data.
        self._file.seek(entry.header_offset)
        header = self._file.read(_LOCAL_HEADER_BYTES)
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        offset = entry.header_offset + _LOCAL_HEADER_BYTES + names
        if offset + entry.file_size > self._file_bytes:
            raise RuntimeError(f"{self._path} was cut short inside {entry.filename}: download or copy it again.")
        return _Storage(dtype, offset, entry.file_size)

    def _rebuild_tensor_v2(self, storage: _Storage, start: int, shape: Any, stride: Any, *_: Any) -> TensorRecord:
        return self._record(storage, storage.dtype, start, shape, stride)

    def _rebuild_tensor_v3(self, storage: _Storage, start: int, shape: Any, stride: Any, _grad: Any, _hooks: Any,
                           dtype: torch.dtype, *_: Any) -> TensorRecord:
        return self._record(storage, dtype, start, shape, stride)

    def _rebuild_parameter(self, data: TensorRecord, *_: Any) -> TensorRecord:
        return data

    def _ignore(self, *_: Any) -> Ignored:
        return Ignored()

    def _record(self, storage: _Storage, dtype: torch.dtype, start: int, shape: Any, stride: Any) -> TensorRecord:
        record = TensorRecord(dtype, tuple(shape), tuple(stride), storage.offset + start * dtype.itemsize)
        inside = start * dtype.itemsize + record.nbytes <= storage.nbytes
        if min((start, *record.shape, *record.stride)) < 0 or not inside:
            raise RuntimeError(f"{self._path} has a tensor of shape {record.shape} that reaches outside its storage of "
                               f"{storage.nbytes} bytes: download or copy it again.")
        return record
