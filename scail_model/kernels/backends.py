"""Which backend computes an operation: Triton on a GPU where its kernels work, plain PyTorch everywhere else.

Every operation has one public function, in the module that is named as its group, which calls its namesake in the
module that `Backends.of` returns. `eager` holds the definitions in plain PyTorch; `triton`, `cudnn` and `flash4`
compute the same faster and are imported only when a GPU is prepared.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
_TRYING, _CALLING = threading.RLock(), threading.RLock()


def uncompiled(function: Function) -> Function:
    """A decorator for what a compiled network calls but does not trace. PyTorch's own hides the function's type."""
    return cast(Function, torch.compiler.disable(function))


def once_a_device(function: Callable[[torch.device], str | None]) -> Callable[[torch.device], str | None]:
    """A decorator for what tries kernels on a device: once, and for one at a time, because compilers are not made for
    several threads."""
    found: dict[torch.device, str | None] = {}

    @functools.wraps(function)
    def answer(device: torch.device) -> str | None:
        if device not in found:
            with _TRYING:
                if device not in found:
                    found[device] = function(device)
        return found[device]

    return answer


def one_at_a_time(function: Function) -> Function:
    """A decorator for attention of others, which is not made for several threads: PyTorch chooses among its kernels by
    flags of the whole process, which such a function may set while it starts one. On a GPU the lock is held for the
    start alone."""

    @functools.wraps(function)
    def attention(*arguments: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():  # a lock cannot be traced
            return function(*arguments, **options)
        with _CALLING:
            return function(*arguments, **options)

    return cast(Function, attention)


def why_wrong(distance: Callable[[], float], most: float, packages: str) -> str | None:
    """None if kernels run and are right, else the reason, as the end of a sentence. distance: runs them, and returns
    how far off they are; packages: what they need."""
    try:
        found = distance()
    except ImportError as error:
        return f"{packages} is not installed ({error})"
    except Exception as error:  # whatever it is, there is another attention
        return does_not_run(error)
    return None if found < most else f"its results are wrong here (off by {found:.2f})"


def does_not_run(error: Exception) -> str:
    """Why something cannot be used on a device, whatever it has raised, as the end of a sentence."""
    text = str(error).splitlines()
    return f"it does not run here ({type(error).__name__}: {text[0] if text else ''})"


class Backends:
    """The modules that compute one group of operations, for example "int8": eager, and a faster one on some devices."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.eager = self._module("eager")
        self.faster: dict[torch.device, ModuleType] = {}
        self.prepared: dict[torch.device, bool] = {}

    def of(self, x: Tensor) -> ModuleType:
        """The module that computes with x. Only eager operations record gradients."""
        return self.eager if torch.is_grad_enabled() else self.faster.get(x.device, self.eager)

    def prepare(self, device: torch.device, otherwise: str) -> bool:
        """Use Triton on a device, if it works there, and return whether it does; tried once.

        otherwise: what happens without it, the end of the line in the log.
        """
        if device not in self.prepared:
            with _TRYING:
                if device not in self.prepared:
                    self.prepared[device] = device.type == "cuda" and self._try_triton(device, otherwise)
        return self.prepared[device]

    def _try_triton(self, device: torch.device, otherwise: str) -> bool:
        try:
            # a missing C compiler, or a tile that does not fit into the GPU, shows only when a kernel runs
            self._module("triton").probe(device)
            self.use("triton", device)
        except Exception as error:  # whatever breaks Triton on this machine, there is another way to compute
            logger.warning("SCAIL-2: the Triton kernels for %s operations do not work here (%s: %s); %s.", self.group,
                           type(error).__name__, str(error).split("\n")[0], otherwise)
            return False
        return True

    def use(self, backend: str, device: torch.device) -> None:
        """Compute on a device with this backend from now on. Raises ImportError if a package of it is missing."""
        self.faster[_with_index(device)] = self._module(backend)

    def drop(self, device: torch.device) -> None:
        """Compute on a device with PyTorch from now on."""
        self.faster.pop(_with_index(device), None)

    def _module(self, backend: str) -> ModuleType:
        return import_module(f".{backend}.{self.group}", __package__)


def _with_index(device: torch.device) -> torch.device:
    """ "cuda" as tensors name it: "cuda:0"."""
    return torch.empty(0, device=device).device
