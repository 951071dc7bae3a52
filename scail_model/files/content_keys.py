"""Digests of values: the same for equal values in every run of the program, different for different ones.

Finished work is kept under keys made of them, so that it is found again, and never taken for the work of other inputs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from logging import Logger
from numbers import Number
from pathlib import PurePath
from types import CellType, ModuleType
from typing import Any
from uuid import UUID

import numpy as np
import torch
from torch import Tensor

_LENGTH = 16  # bytes
_SAMPLE = 1024  # elements at the beginning and in the middle of a weight
_PLAIN = (type(None), Number, str, bytes, np.generic, PurePath)  # their repr tells them apart
_CONTAINERS = (list, tuple, dict, set, frozenset)
# Attributes that torch gives every module: weights and children, which are in the state dict, and hooks. And the number
# of a compiled module, which changes with every run.
_TORCHS_OWN = (vars(torch.nn.Module()).keys() - {"training"}) | {"_torchdynamo_wrapper_id"}
_VALUE_LIMIT = 100_000

# A name for an object, and the values that count of it; None for one that is to be looked through.
Known = Callable[[Any], tuple[str, Sequence[Any]] | None]


def digest(*values: Any, known: Known | None = None) -> str:
    """Hexadecimal digest of numbers, texts, tensors, containers, functions (by name and what they hold), modules (by
    weights, and attributes that are numbers, texts, tensors and containers of these) and other objects (by type and
    attributes)."""
    return _digested(values, whole=True, known=known)


def sampled_digest(*values: Any, known: Known | None = None) -> str:
    """`digest` that reads at most 2048 elements of each tensor, because reading a whole model takes too long."""
    return _digested(values, whole=False, known=known)


def _digested(values: tuple, *, whole: bool, known: Known | None = None) -> str:
    digester = _Digester(whole, known)
    digester.value(values, frozenset())
    return digester.hash.hexdigest()


class _Digester:
    """Walks through values and hashes them. whole: all elements of tensors, not a sample."""

    def __init__(self, whole: bool, known: Known | None) -> None:
        self.whole, self.known = whole, known
        self.count = 0  # of the values so far
        self.hash = hashlib.blake2b(digest_size=_LENGTH)

    def text(self, text: str) -> None:
        self.hash.update(f"{text};".encode())

    def value(self, value: Any, outer: Set[int]) -> None:
        """outer: ids of the values that contain this one."""
        self.count += 1
        if isinstance(value, _PLAIN):
            self.text(f"{type(value).__name__}:{value!r}")
        elif isinstance(value, Tensor | np.ndarray):
            self.array(value)
        elif id(value) in outer:
            self.text("again")
        else:
            known = self.known(value) if self.known else None
            self.parts(*known or _parts(value), outer | {id(value)})

    def parts(self, name: str, values: Sequence[Any], outer: Set[int]) -> None:
        self.text(f"{name}({len(values)}")
        if self.count > _VALUE_LIMIT:  # better not found again than taken for something else
            self.text(os.urandom(_LENGTH).hex())
            return
        for value in values:
            self.value(value, outer)

    def array(self, value: Tensor | np.ndarray) -> None:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":  # torch has neither texts nor objects
            self.parts("texts", value.tolist(), frozenset())
            return
        tensor = torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value.detach()
        self.text(f"{tensor.dtype} {tuple(tensor.shape)}")
        flat = tensor.reshape(-1)
        middle = len(flat) // 2
        for part in (flat,) if self.whole else (flat[:_SAMPLE], flat[middle : middle + _SAMPLE]):
            # bytes, because numpy has no bfloat16 and no 8-bit floats
            self.hash.update(part.cpu().contiguous().view(torch.uint8).numpy())


def _parts(value: Any) -> tuple[str, Sequence[Any]]:
    """A name for the kind of a container, function or object, and the values in it."""
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: repr(item[0]))
        return "map", [part for item in items for part in item]
    if isinstance(value, Set):
        return "set", sorted(value, key=repr)
    if isinstance(value, Sequence):
        return "list", value
    if isinstance(value, partial):
        return "partial", (value.func, value.args, value.keywords)
    if isinstance(value, torch.dtype | torch.device | type | ModuleType | Logger):
        return str(value), ()
    if isinstance(value, UUID):  # changes with every run
        return "UUID", ()
    if isinstance(value, os.PathLike):  # its slots are caches
        return os.fspath(value), ()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}", _captured(value)
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, torch.nn.Module):
        own = {key: held for key, held in vars(value).items() if key not in _TORCHS_OWN}
        return name, (_settings(own, frozenset()), dict(value.state_dict()))
    return name, (_attributes(value),)


def _settings(container: Any, outer: Set[int]) -> Any:
    """A container reduced to the plain values and tensors in it, at any depth. Whatever else a module holds (functions,
    objects, other modules) changes with how ComfyUI has loaded it.

    outer: ids of the containers that contain this one.
    """
    outer = outer | {id(container)}

    def counts(value: Any) -> bool:
        return isinstance(value, (*_PLAIN, Tensor, np.ndarray, *_CONTAINERS)) and id(value) not in outer

    def reduced(value: Any) -> Any:
        return _settings(value, outer) if isinstance(value, _CONTAINERS) else value

    if isinstance(container, dict):
        return {key: reduced(value) for key, value in container.items() if _is_key(key) and counts(value)}
    return (frozenset if isinstance(container, Set) else tuple)(map(reduced, filter(counts, container)))


def _is_key(value: Any) -> bool:
    """Whether a key's repr is the same in every run."""
    return all(isinstance(part, _PLAIN) for part in (value if isinstance(value, tuple) else (value,)))


def _captured(function: Any) -> Sequence[Any]:
    """What a function carries with it: closure variables, defaults, and the object of a bound method."""
    cells = getattr(function, "__closure__", None) or ()
    return (*(cell.cell_contents for cell in cells if cell != CellType()), getattr(function, "__defaults__", None),
            getattr(function, "__kwdefaults__", None), getattr(function, "__self__", None))


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object, in its dictionary and in slots."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())
             if hasattr(value, name) and name != "__weakref__"]
    return {name: getattr(value, name) for name in slots} | getattr(value, "__dict__", {})
