"""Checkpoint conversion on disk: any file that `scail_model.checkpoint` opens, into one safetensors file.

The official checkpoint is 62 GB of float32, more than most machines have memory. So tensors go through one by one, in
pieces, by plain file reads; mapped pages would count as resident memory and drive everything else out. The result
appears under its name only when it is complete and verified.
Format: huggingface/safetensors, README: header length (8 bytes), JSON header, data.
"""

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from .. import lora_names
from ..checkpoint import SAFETENSORS_DTYPES, CheckpointIndex, open_index
from ..config import refuse_other_models
from ..file_kinds import other_model
from ..files.atomic import remove_leftovers, writing
from ..records import TensorRecord, map_tensors, read_pieces

log = logging.getLogger(__name__)

DTYPES = {"keep": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_DTYPE_NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
_CONVERTIBLE = (torch.float32, torch.bfloat16, torch.float16)
# How many tensors are read back after writing.
_SAMPLES = 16


class _Output(NamedTuple):
    name: str
    source: TensorRecord
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.source.numel * self.dtype.itemsize


def convert(source: str | os.PathLike, target: str | os.PathLike, *, kind: Literal["model", "lora"],
            dtype: torch.dtype | None = None, overwrite: bool = False) -> int:
    """Write the tensors of `source` under official names (a LoRA: in ComfyUI form) into the safetensors file `target`.

    dtype: for float tensors of 16 and 32 bits, None keeps them. Quantised tensors and all scales stay as they are.
    Returns the size of the file in bytes. RuntimeError, and no file under the name `target`, when the source is not of
    this kind or cannot be opened, the target exists and `overwrite` is off, the disk is too small, a value is NaN or
    outside the range of float16, or the written file does not read back.
    """
    index = open_index(source)
    target = Path(target)
    _check_kind(index, kind)
    _check_target(index.path, target, overwrite)
    outputs = _plan(_in_comfy_form(index) if kind == "lora" else index.records, dtype)
    header = _header(outputs, index.metadata)
    size = len(header) + sum(output.nbytes for output in outputs)
    _check_space(target, size)
    remove_leftovers(target.parent, target.name)
    try:
        with writing(target, replace=overwrite) as partial:
            checksums = _write(partial, header, index.path, outputs)
            _verify(partial, outputs, checksums)
    except FileExistsError:
        _check_target(index.path, target, overwrite)
        raise
    return size


def _check_kind(index: CheckpointIndex, kind: str) -> None:
    if index.is_lora and kind == "model":
        raise RuntimeError(f"{index.path} is a LoRA, not a model: use `scail2 convert-lora`.")
    if not index.is_lora and kind == "lora":
        other = other_model(index.records)
        raise RuntimeError(f"{index.path} is {other}, not a LoRA: give a LoRA file." if other else
                           f"{index.path} is a model, not a LoRA: use `scail2 convert`.")
    unsupported = lora_names.unsupported(index.records)
    if unsupported:
        raise RuntimeError(f"{index.path} holds {unsupported[1]} ({unsupported[0]}), which is not supported: take a "
                           "LoRA, LoHa, LoKr or DoRA file.")
    if kind == "model":
        try:
            refuse_other_models(index.records, str(index.path))
        except ValueError as error:
            raise RuntimeError(str(error)) from error


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise RuntimeError(f"{target} has the wrong ending: end the output name with .safetensors.")
    if not target.parent.is_dir():
        raise RuntimeError(f"The folder {target.parent} does not exist: make it first.")
    if not target.exists():
        return
    if target.is_dir():
        raise RuntimeError(f"{target} is a folder: choose another output name.")
    if target.samefile(source):
        raise RuntimeError(f"{target} is the input itself: choose another output name.")
    if not overwrite:
        raise RuntimeError(f"{target} exists: choose another name, or add --overwrite.")


def _check_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise RuntimeError(f"{target} needs {_gigabytes(size)} GB and {target.parent} has {_gigabytes(free)} GB free: "
                           "make room, or write to another disk.")


def _in_comfy_form(index: CheckpointIndex) -> dict[str, TensorRecord]:
    """A LoRA's records under the names that ComfyUI loads; what is not for this network is left out."""
    records = {}
    for name, record in index.records.items():
        known = lora_names.comfy_name(name)
        if known is None:
            continue
        if known.endswith(".dora_scale") and len(record.shape) == 1:  # of PEFT; ComfyUI would take rows for columns
            record = record._replace(shape=(*record.shape, 1), stride=(*record.stride, 1))
        records[known] = record
    if len(records) < len(index.records):
        left_out = next(name for name in index.records if lora_names.comfy_name(name) is None)
        log.warning("%d of %d tensors are not for SCAIL-2's network and are left out, first %s.",
                    len(index.records) - len(records), len(index.records), left_out)
    if not records:
        made_for = lora_names.made_for(map_tensors(index.path, index.records))
        raise RuntimeError(f"{index.path} is a LoRA for {made_for or 'another model'}, because SCAIL-2 has none of its "
                           f"{len(index.records)} modules: give a LoRA made for SCAIL-2 or Wan 2.1 14B.")
    return records


def _plan(records: Mapping[str, TensorRecord], dtype: torch.dtype | None) -> list[_Output]:
    outputs = [_Output(name, record, _output_dtype(name, record.dtype, dtype)) for name, record in records.items()]
    # Wide types first, as safetensors itself writes them: every tensor then starts at a multiple of its element size.
    return sorted(outputs, key=lambda output: -output.dtype.itemsize)


def _output_dtype(name: str, stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    # Scales of quantised layers (`weight_scale`, `scale_weight`, `input_scale`) need their precision.
    if wanted is None or stored not in _CONVERTIBLE or "scale" in name.rpartition(".")[2]:
        return stored
    return wanted


def _header(outputs: list[_Output], metadata: dict[str, str]) -> bytes:
    """The first bytes of the file: length and JSON, padded with spaces so that the data start at a multiple of 8."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    position = 0
    for output in outputs:
        header[output.name] = {"dtype": _DTYPE_NAMES[output.dtype], "shape": output.source.shape,
                               "data_offsets": [position, position + output.nbytes]}
        position += output.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(partial: Path, header: bytes, source: Path, outputs: list[_Output]) -> dict[str, int]:
    """Write and sync the whole file; returns the checksums of the sample that `_verify` reads back."""
    samples = _sample(outputs)
    checksums = {}
    total = sum(output.source.numel * output.source.dtype.itemsize for output in outputs)
    with (open(source, "rb") as reader, open(partial, "wb") as writer,
          tqdm(total=total, desc=partial.stem, unit="B", unit_scale=True, disable=None) as progress):
        writer.write(header)
        for output in outputs:
            checksum = 0
            for piece in _converted(reader, output, progress):
                data = piece.view(torch.uint8).numpy()
                writer.write(data)
                if output.name in samples:
                    checksum = zlib.crc32(data, checksum)
            checksums[output.name] = checksum
        writer.flush()
        os.fsync(writer.fileno())
    return {name: checksums[name] for name in samples}


def _converted(reader: BufferedReader, output: _Output, progress: tqdm) -> Iterator[Tensor]:
    for piece in read_pieces(reader, output.source):
        if piece.is_floating_point() and (piece.float() if piece.itemsize == 1 else piece).isnan().any():
            raise RuntimeError(f"{reader.name} holds NaN in {output.name}, so it is damaged or its training failed: "
                               "download it again, or take another file.")
        converted = piece.to(output.dtype)
        if output.dtype == torch.float16 and (infinite := converted.isinf()).any() and piece[infinite].isfinite().any():
            raise RuntimeError(f"{output.name} has values up to {piece.abs().max():.3g}, beyond the 65504 of fp16: "
                               "use --dtype bf16.")
        yield converted
        progress.update(piece.nbytes)


def _sample(outputs: list[_Output]) -> set[str]:
    """Names of tensors spread evenly over the file, the last one included."""
    step = max(1, len(outputs) // _SAMPLES)
    return {output.name for output in outputs[::-step]}


def _verify(partial: Path, outputs: list[_Output], checksums: dict[str, int]) -> None:
    """Read the file back: all names, types and shapes through the safetensors library, the sample byte by byte."""
    with safe_open(partial, framework="numpy") as written:
        found = {}
        for name in written.keys():  # noqa: SIM118 - not a dict
            entry = written.get_slice(name)
            found[name] = (entry.get_dtype(), tuple(entry.get_shape()))
    expected = {output.name: (_DTYPE_NAMES[output.dtype], output.source.shape) for output in outputs}
    records = open_index(partial).records
    with open(partial, "rb") as reader:
        sound = found == expected and all(_checksum(reader, records[name]) == checksum
                                          for name, checksum in checksums.items())
    if not sound:
        raise RuntimeError(f"{partial.with_suffix('')} did not read back as written: check the disk and try again.")


def _checksum(reader: BufferedReader, record: TensorRecord) -> int:
    checksum = 0
    for piece in read_pieces(reader, record):
        checksum = zlib.crc32(piece.view(torch.uint8).numpy(), checksum)
    return checksum


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g}" if size < 1e9 else f"{size / 1e9:.1f}"
