"""A step of a sampling that several GPUs share: who computes what, and how an error or a cancel ends all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import torch

from ..kernels.ranks import rank_of

SHARING = "scail2_sharing"  # where `transformer_options` hold a `Sharing`
TICK = "scail2_tick"  # where they hold what ends a sampling that nobody waits for any more
_DEVICE = "multigpu_thread_device"  # core's name of the GPU that a thread computes on


class Stopped(Exception):
    """Another group has failed, which is the error to tell."""


@dataclass
class Sharing:
    """groups: copies of a MODEL that compute a prompt together, by the GPU of their first, which core calls. error: the
    first one of any group; it ends all of them."""

    groups: dict[torch.device, tuple[Any, ...]]
    error: BaseException | None = None
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """What is raised inside ends all groups."""
        try:
            yield
        except BaseException as error:
            with self._lock:
                if not self.ended:
                    self.error, self.ended = error, True
            raise

    def taken_error(self) -> BaseException | None:
        with self._lock:
            error, self.error = self.error, None
        return error

    def check(self) -> None:
        """Raise if the user has cancelled, or a group has failed."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.ended:
            raise Stopped


def ticking(model, tick: Callable[[], None]):
    """A MODEL whose next sampling calls `tick` after each block, whatever GPU computes it, and ends with what that
    raises."""
    patcher = model.clone()
    patcher.model_options.setdefault("transformer_options", {})[TICK] = tick
    return patcher


def sharing_of(transformer_options: dict[str, Any]) -> Sharing | None:
    """None where one GPU computes all."""
    return transformer_options.get(SHARING)


def group_of(transformer_options: dict[str, Any]) -> tuple[Any, ...]:
    """The copies of a MODEL that are to share a forward; none where one computes it, or its part of it."""
    sharing = sharing_of(transformer_options)
    if sharing is None or rank_of(transformer_options) is not None:
        return ()
    # core may also call copies that do not share
    return sharing.groups.get(transformer_options.get(_DEVICE, next(iter(sharing.groups))), ())
