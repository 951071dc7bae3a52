"""SCAIL-2 model and LoRA files in, state dicts with the official tensor names out.

Accepted: the official SAT folder or its .pt file; safetensors with official names, with or without ComfyUI's prefixes
and quantised tensors; Wan2GP's files; LoRA files in SAT form and in any form that is stored as safetensors.
Tensors are memory mapped, so loading costs no memory until a weight is used. Nothing here judges sizes:
`config.TransformerConfig.from_state_dict` does.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import lora, sat_names
from .file_kinds import format_of
from .pickles import index_pickle
from .records import TensorRecord, contiguous_stride, map_tensors

# Wan2GP's names for two modules of the official code.
_WAN2GP_MODULES = {
    "pose_patch_embedding": "patch_embedding_pose",
    "mask_patch_embedding": "patch_embedding_mask",
}
# safetensors' type names; torch before 2.7 has no float8_e8m0fnu.
SAFETENSORS_DTYPES = {
    name: getattr(torch, dtype)
    for name, dtype in {
        "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
        "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
        "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
    }.items()
    if hasattr(torch, dtype)
}
_ONE_OF_SEVERAL = re.compile(r"-(\d+)-of-(\d+)\.")

Entry = TypeVar("Entry", Tensor, TensorRecord)


class CheckpointIndex(NamedTuple):
    """Which tensors a file holds, and where; nothing is loaded. Model tensors have their official names."""

    path: Path
    records: dict[str, TensorRecord]
    metadata: dict[str, str]

    @property
    def is_lora(self) -> bool:
        """Whether this is a LoRA, not a model."""
        return lora.is_lora(self.records)


def load_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Open a model or LoRA file, or the official SAT folder.

    Returns (state dict, metadata). The tensors are mapped from the file, in the dtype they are stored in; quantised
    ones, their scales and their metadata stay as they are. Model tensors have official names without prefix. A SAT LoRA
    comes back as `diffusion_model.<module>.lora_down.weight`, `.lora_up.weight` and `.diff_b`; another LoRA keeps its
    names. RuntimeError, in one sentence, for any other file.
    """
    index = open_index(path)
    return map_tensors(index.path, index.records), index.metadata


def open_index(path: str | os.PathLike) -> CheckpointIndex:
    """Find the tensors of a model or LoRA file, or of the official SAT folder, without loading them.

    Accepts and refuses what `load_checkpoint` does.
    """
    file = _checkpoint_file(Path(path))
    part = _ONE_OF_SEVERAL.search(file.name)
    if part and int(part[2]) > 1:
        raise RuntimeError(f"{file} is part {int(part[1])} of {int(part[2])} of a model: give the model as one file.")
    if _is_torch_zip(file):
        records, metadata = _state_dict_of(index_pickle(file)), {}
    else:
        records, metadata = _index_safetensors(file)
    if not records:
        raise RuntimeError(f"{file} holds no tensors: download it again, or give a model or LoRA file.")
    try:
        return CheckpointIndex(file, with_official_names(records), metadata)
    except ValueError as error:
        raise RuntimeError(f"{file} is not a SCAIL-2 file, because {error}: give a SCAIL-2 model or LoRA.") from error


def convert_sat(state_dict: Mapping[str, Entry]) -> dict[str, Entry]:
    """SAT names to official ones. A fused tensor [n * rows, ...] becomes n tensors [rows, ...], as views.

    A SAT LoRA becomes a LoRA in ComfyUI form. Also takes `TensorRecord`s in place of tensors. ValueError for a tensor
    that the SAT form of SCAIL-2 does not have, and for a fused tensor that cannot be cut into equal parts.
    Source: zai-org/SCAIL-2, convert.py and convert_lora.py.
    """
    if any(map(sat_names.is_sat_lora_key, state_dict)):
        return {f"diffusion_model.{sat_names.official_lora_key(name)}": entry
                for name, entry in state_dict.items() if sat_names.is_sat_lora_key(name)}
    converted = {}
    for name, entry in state_dict.items():
        names = sat_names.official_keys(name)
        if len(names) > 1 and entry.shape[0] % len(names):
            raise ValueError(f"{name} has {entry.shape[0]} rows, which {len(names)} fused tensors cannot share")
        parts = [entry] if len(names) == 1 else entry.chunk(len(names))
        converted.update(zip(names, parts, strict=True))
    return converted


def with_official_names(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Tensors or records under the names of any accepted file -> under official names; LoRAs as `load_checkpoint` says.

    ValueError as `convert_sat` does.
    """
    if sat_names.is_sat(entries) or any(map(sat_names.is_sat_lora_key, entries)):
        return convert_sat(entries)
    if lora.is_lora(entries):
        return dict(entries)
    return {_official_name(name): entry for name, entry in entries.items()}


def _official_name(name: str) -> str:
    name = sat_names.without_prefix(name)
    module, _, leaf = name.partition(".")
    return f"{_WAN2GP_MODULES[module]}.{leaf}" if module in _WAN2GP_MODULES else name


def _checkpoint_file(path: Path) -> Path:
    """The file itself: `path`, or the one that the `latest` of an official folder points to."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise RuntimeError(f"{path} does not exist: check the path.")
    folder = next((folder for folder in (path, path / "model") if (folder / "latest").is_file()), None)
    if folder is None:
        raise RuntimeError(f"{path} is a folder without model/latest{_what_it_holds(path)}: give the official SCAIL-2 "
                           "folder or one file.")
    step = folder / (folder / "latest").read_text().strip()
    files = sorted(step.glob("*.pt"))
    if len(files) != 1:
        raise RuntimeError(f"{step}, which {folder / 'latest'} names, has {len(files)} .pt files where there should be "
                           "one: download the folder again.")
    return files[0]


def _what_it_holds(folder: Path) -> str:
    """Said of a folder that is not the official one."""
    if (folder / "model_index.json").is_file():
        return ", a model in diffusers form"
    files = sorted(path.name for ending in ("safetensors", "pt") for path in folder.glob(f"*.{ending}"))
    return f", which holds {', '.join(files[:3])}" if files else ""


def _is_torch_zip(file: Path) -> bool:
    """True for a torch zip file, False for safetensors; RuntimeError for anything else, by the first bytes."""
    with open(file, "rb") as stream:
        start = stream.read(512)
    if start.startswith(b"PK\x03\x04"):
        return True
    # A safetensors file starts with eight bytes of header length, which may look like anything.
    if start[8:9] == b"{":
        return False
    raise RuntimeError(f"{file} {format_of(start)}.")


def _state_dict_of(tree: object) -> dict[str, TensorRecord]:
    """The tensors of a saved object: those under `module`, `state_dict` or `model`, else those at the top level."""
    if not isinstance(tree, dict):
        return {}
    tables = [tree[name] for name in ("module", "state_dict", "model") if isinstance(tree.get(name), dict)] + [tree]
    return {name: entry for name, entry in tables[0].items() if isinstance(entry, TensorRecord)}


def _index_safetensors(file: Path) -> tuple[dict[str, TensorRecord], dict[str, str]]:
    # The library checks that the header is sound and the file complete, but does not tell where a tensor lies.
    # Not framework="pt": that maps the whole file in one piece, see records.WINDOW_BYTES.
    try:
        with safe_open(file, framework="numpy"), open(file, "rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(header_bytes))
    except SafetensorError as error:
        raise RuntimeError(f"{file} is damaged or was cut short ({error}): download or copy it again.") from error
    metadata = header.pop("__metadata__", {})
    records = {}
    for name, entry in header.items():
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise RuntimeError(f"{file} stores {name} as {entry['dtype']}, which torch {torch.__version__} cannot hold:"
                               " take the bf16, fp16 or fp8 file of the model.")
        shape = tuple(entry["shape"])
        offset = 8 + header_bytes + entry["data_offsets"][0]
        dtype = SAFETENSORS_DTYPES[entry["dtype"]]
        records[name] = TensorRecord(dtype, shape, contiguous_stride(shape), offset)
    return records, metadata
