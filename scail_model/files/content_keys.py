"""Short names for values: equal for equal values in any run of the program, another one for others.

For the keys under which finished work is kept, so that it is found again, and never taken for the work of other inputs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence, Set
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
_PLAIN = (type(None), Number, str, bytes, np.generic, PurePath)  # told apart by their repr
_CONTAINERS = (list, tuple, dict, set, frozenset)
# Torch's own attributes of a module: weights and children, which the state dict has, and hooks; and a compiled module's
# number, which is another one in each run.
_TORCHS = (vars(torch.nn.Module()).keys() - {"training"}) | {"_torchdynamo_wrapper_id"}
_MOST = 100_000  # values that are looked at


def digest(*values: Any) -> str:
    """Hexadecimal digest of numbers, texts, tensors, containers, functions (by name and what they hold), modules (by
    weights, and attributes that are numbers, texts, tensors and containers of these) and other objects (by type and
    attributes)."""
    return _digested(values, whole=True)


def sampled_digest(*values: Any) -> str:
    """`digest` that looks at no more than 2048 elements of a tensor: to read all weights of a model takes too long."""
    return _digested(values, whole=False)


def _digested(values: tuple, *, whole: bool) -> str:
    feed = _Feed(whole)
    feed.value(values, frozenset())
    return feed.found.hexdigest()


class _Feed:
    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.count = 0  # of the values so far
        self.found = hashlib.blake2b(digest_size=_LENGTH)

    def text(self, text: str) -> None:
        self.found.update(f"{text};".encode())

    def value(self, value: Any, outer: Set[int]) -> None:
        """outer: ids of what is around the value."""
        self.count += 1
        if isinstance(value, _PLAIN):
            self.text(f"{type(value).__name__}:{value!r}")
        elif isinstance(value, Tensor | np.ndarray):
            self.array(value)
        elif id(value) in outer:
            self.text("again")
        else:
            self.parts(*_taken_apart(value), outer | {id(value)})

    def parts(self, name: str, values: Sequence[Any], outer: Set[int]) -> None:
        self.text(f"{name}({len(values)}")
        if self.count > _MOST:  # better not found again than taken for something else
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
            self.found.update(part.cpu().contiguous().view(torch.uint8).numpy())


def _taken_apart(value: Any) -> tuple[str, Sequence[Any]]:
    """What a container, function or object is called, and what it consists of."""
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
    if isinstance(value, UUID):  # another one in each run
        return "UUID", ()
    if isinstance(value, os.PathLike):  # which keeps in its slots what it was asked before
        return os.fspath(value), ()
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}", _held(value)
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, torch.nn.Module):
        own = {key: held for key, held in vars(value).items() if key not in _TORCHS}
        return name, (_settings(own, frozenset()), dict(value.state_dict()))
    return name, (_attributes(value),)


def _settings(container: Any, outer: Set[int]) -> Any:
    """A container with only the plain values and tensors in it, at any depth. What else a module holds (functions,
    objects, other modules) comes and goes with the memory that ComfyUI gives it.

    outer: ids of the containers around it.
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


def _held(function: Any) -> Sequence[Any]:
    """What a function takes along: variables from around it, defaults, and the object that it is a method of."""
    cells = getattr(function, "__closure__", None) or ()
    return (*(cell.cell_contents for cell in cells if cell != CellType()), getattr(function, "__defaults__", None),
            getattr(function, "__kwdefaults__", None), getattr(function, "__self__", None))


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object, whether in its dictionary or in slots."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())
             if hasattr(value, name) and name != "__weakref__"]
    return {name: getattr(value, name) for name in slots} | getattr(value, "__dict__", {})
