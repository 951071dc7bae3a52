"""Encoded prompts as safetensors files: one tensor per entry of a CONDITIONING, and its numbers as metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .user_files import new_path, writing_user_file

FOLDER = "scail2_prompts"
_FORMAT = "scail2-prompt-1"
_EMBEDDING = "embedding"


def save(conditioning: list, folder: str | os.PathLike, name: str, *, overwrite: bool) -> Path:
    """Write a CONDITIONING to folder/name.safetensors and return the path.

    Tensors and plain values (numbers, strings, None) of every entry are kept; anything else has no form in a file.
    Raises ValueError for a name outside the folder, an existing file without `overwrite`, and such other values.
    """
    path = new_path(Path(folder), name, "prompt", overwrite=overwrite)
    tensors, plain = {}, []
    for index, (embedding, options) in enumerate(conditioning):
        values = {_EMBEDDING: embedding, **options}
        tensors |= {f"{index}.{key}": value.contiguous().cpu() for key, value in values.items()
                    if isinstance(value, Tensor)}
        plain.append({key: value for key, value in values.items() if not isinstance(value, Tensor)})
    try:
        entries = json.dumps(plain)
    except TypeError as error:
        raise ValueError(f"The prompt {name} carries more than text ({error}): save it before other nodes add to "
                         "it.") from error
    with writing_user_file(Path(folder), name, "prompt", overwrite=overwrite) as part:
        save_file(tensors, part, {"format": _FORMAT, "entries": entries})
    return path


def file_name(name: str) -> str:
    """Of a saved prompt, whose ending may be left out."""
    return f"{name.removesuffix('.safetensors')}.safetensors"


def load(path: str | os.PathLike) -> list:
    """Read a CONDITIONING that `save` has written. Raises RuntimeError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise RuntimeError(f"{path} is not a prompt file, or is truncated ({error}): save the prompt again.") from error
    if metadata.get("format") != _FORMAT:
        raise RuntimeError(f"{path} is not a prompt embedding: choose a file that Save Prompt Embedding has written.")
    entries = json.loads(metadata["entries"])
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        entries[int(index)][name] = tensor
    return [[entry.pop(_EMBEDDING), entry] for entry in entries]
