"""Which model files are there, whether they are whole, and what they are. Only their headers are read."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoint import open_index
from ..config import QUANTISED_COMPANIONS, TransformerConfig
from ..file_kinds import other_model
from ..preflight.model_files import (
    CLIP_VISION,
    DISTILLED_LORA,
    INCOMPLETE,
    MISSING,
    SAM3,
    TEXT_ENCODER,
    TRANSFORMER,
    TRANSFORMER_FP16,
    VAE,
    ModelFile,
    Needed,
)
from ..records import TensorRecord

WHOLE, DAMAGED, ANOTHER = "whole", "damaged", "another model"
WRONG = (DAMAGED, INCOMPLETE, ANOTHER)
SCAIL2 = "SCAIL-2"
_GGUF = ".gguf"
_ENDS = (".safetensors", ".sft", ".pt", ".pth", ".ckpt", ".bin", _GGUF)
_QUANTISED = "quantised"
_HEADER_BYTES = 1 << 20
_VOCABULARY = ("shared.weight", "token_embedding.weight")

At = Callable[[str], None]  # told what goes on, many times a second; may raise to stop


@dataclass(frozen=True)
class Role:
    """What a file is for. kind: as `file_kinds.other_model` calls it, SCAIL2 for the transformer, "" where names of
    tensors do not tell. known: the files that README lists. class_name: how that of a folder in diffusers form begins.
    needed: every run needs one."""

    name: str
    kind: str
    known: tuple[ModelFile, ...]
    class_name: str = ""
    needed: bool = True

    @property
    def folder(self) -> str:
        """In ComfyUI's models."""
        return self.known[0].folder


TRANSFORMERS = Role("transformer", SCAIL2, (TRANSFORMER, TRANSFORMER_FP16))
TEXT_ENCODERS = Role("text encoder", "a T5 text encoder", (TEXT_ENCODER,), "UMT5")
CLIPS = Role("CLIP vision", "a CLIP vision model", (CLIP_VISION,), "CLIPVision")
VAES = Role("VAE", "a Wan VAE", (VAE,), "AutoencoderKLWan")
ROLES = (TRANSFORMERS, TEXT_ENCODERS, CLIPS, VAES, Role("SAM3", "", (SAM3,), needed=False),
         Role("distilled LoRA", "a LoRA", (DISTILLED_LORA,), needed=False))


@dataclass(frozen=True)
class FileFact:
    """One file or folder. state: WHOLE, DAMAGED, INCOMPLETE, ANOTHER or MISSING. text: what it is, or what is wrong
    and what to do. bytes: None if it is missing. path: where it is, which is not told."""

    role: str
    name: str
    state: str
    text: str
    bytes: int | None = None
    path: Path | None = None

    def values(self) -> dict[str, Any]:
        return {"role": self.role, "name": self.name, "state": self.state, "text": self.text, "bytes": self.bytes}


def in_folders(role: Role, files: Sequence[Path], at: At) -> list[FileFact]:
    """The files of a role among all files of its folders: those that README lists by name; of others those that are of
    its kind, every transformer, and for another role the first ones only if none of README's is there. A missing one
    is said."""
    names = {known.name for known in role.known}
    listed = [path for path in files if path.name in names]
    found = [look(role, path, at) for path in listed]
    if not found or role is TRANSFORMERS:
        others = (path for path in files if path not in listed and path.suffix.lower() in _ENDS)
        found += [fact for path in others if (fact := _of_kind(role, path, at)) is not None]
    return found or [missing(role)]


def look(role: Role, path: Path, at: At) -> FileFact:
    """A file, or a folder in diffusers form, that should be of this role; of a transformer also the official folder."""
    at(f"looking at {path.name}")
    return replace(_looked(role, path), path=path)


def best_transformer(facts: Iterable[FileFact]) -> FileFact | None:
    """The one to run: a whole one, rather in full precision, of which all modes can be made; None if there is none.
    ComfyUI-GGUF's files can only be connected."""
    whole = [fact for fact in facts if fact.role == TRANSFORMERS.name and fact.state == WHOLE
             and fact.path is not None and fact.path.suffix != _GGUF]
    return min(whole, key=lambda fact: _QUANTISED in fact.text, default=None)


def _looked(role: Role, path: Path) -> FileFact:
    if path.is_dir() and role.class_name:
        return _look_at_folder(role, path)
    if not path.exists():
        return FileFact(role.name, path.name, MISSING, "does not exist: check the path")
    size = _size(path)
    if path.suffix == _GGUF:
        with open(path, "rb") as stream:
            whole = stream.read(4) == b"GGUF"
        return FileFact(role.name, path.name, WHOLE if whole else DAMAGED, "GGUF, which ComfyUI-GGUF loads; it was not "
                        "looked into" if whole else "is not a GGUF file: download it again", size)
    try:
        index = open_index(path)
    except (RuntimeError, OSError, EOFError) as error:
        return FileFact(role.name, path.name, DAMAGED, _without(path, error), size)
    needed = Needed(path.name, path.parent, size)
    if needed.state == INCOMPLETE:
        return FileFact(role.name, path.name, INCOMPLETE, f"has only {size / 1e9:.2f} GB of {needed.size}: download it "
                                                          "again", size)
    return FileFact(role.name, path.name, *_kind(role, index.records), size)


def _look_at_folder(role: Role, path: Path) -> FileFact:
    """In diffusers form: its class by config.json, and whether its files are whole."""
    fact = partial(FileFact, role.name, path.name, bytes=_size(path))
    files = sorted(path.glob("*.safetensors"))
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        name = str(config.get("_class_name") or (config.get("architectures") or ["unknown"])[0])
        stores = [stored(open_index(file).records) for file in files]
    except (RuntimeError, OSError, ValueError, AttributeError) as error:
        return fact(DAMAGED, _without(path, error))
    if not files:
        return fact(DAMAGED, "holds no .safetensors files: download the folder again")
    if not name.startswith(role.class_name):
        return fact(ANOTHER, f"is {name}, not {role.class_name}: give a Wan 2.1 folder")
    return fact(WHOLE, f"{name}, {stores[0]}")


def _without(path: Path, error: Exception) -> str:
    """An error's sentence without the path, which the name stands for."""
    reason = getattr(error, "strerror", None) or str(error)
    return reason.replace(f"{path}{os.sep}", "").removeprefix(str(path)).strip()


def missing(role: Role, text: str = "") -> FileFact:
    """text: what to do; if not given, where to get README's file for ComfyUI."""
    known = role.known[0]
    return FileFact(role.name, "", MISSING, text or f"there is none: put {known.name} ({known.gigabytes:g} GB) into "
                                                    f"{known.folder}, from {known.url}")


def _of_kind(role: Role, path: Path, at: At) -> FileFact | None:
    """None for a file of another kind, and for a broken one unless its name or beginning tells what it should be."""
    fact = look(role, path, at)
    named = role is TRANSFORMERS and "scail" in path.name.lower()
    if fact.state == WHOLE and path.suffix != _GGUF:
        return fact if role.kind else None
    return fact if named or (role is TRANSFORMERS and _begins_as_scail2(path)) else None


def _begins_as_scail2(path: Path) -> bool:
    """By the names of tensors, which a .safetensors file begins with."""
    with open(path, "rb") as stream:
        return b"patch_embedding_mask" in stream.read(_HEADER_BYTES)


def _kind(role: Role, records: Mapping[str, TensorRecord]) -> tuple[str, str]:
    """State and text."""
    kind = other_model(records)
    if role is TRANSFORMERS:
        try:
            config = TransformerConfig.from_state_dict(records, called="It")
        except ValueError as error:
            return ANOTHER if kind else DAMAGED, str(error)
        blocks = {name: record for name, record in records.items() if name.startswith("blocks.")}
        return WHOLE, f"{SCAIL2}, {config.num_layers} layers of width {config.dim}, {stored(blocks)}"
    if role.kind and kind != role.kind:
        is_what = kind or (SCAIL2 if "patch_embedding_mask.weight" in records else "unknown")
        return ANOTHER, f"is not {role.kind} but {is_what}: put {role.known[0].name} in its place"
    words = next((records[name].shape[0] for name in _VOCABULARY if name in records), None)
    return WHOLE, ", ".join(filter(None, [
        (kind or f"{len(records)} tensors").removeprefix("a "), f"{words} words" if words else "", stored(records)]))


def stored(tensors: Mapping[str, Any]) -> str:
    """In which dtype most of a file is, and whether it is quantised."""
    count: Counter[str] = Counter()
    for tensor in tensors.values():
        count[str(tensor.dtype).removeprefix("torch.")] += math.prod(tensor.shape)
    most = count.most_common(1)[0][0] if count else "empty"
    return f"{most}, {_QUANTISED}" if _quantised(tensors) else most


def _quantised(names: Iterable[str]) -> bool:
    return any(name.rpartition(".")[2] in QUANTISED_COMPANIONS for name in names)


def _size(path: Path) -> int:
    """Bytes; of a folder, of all files in it."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
