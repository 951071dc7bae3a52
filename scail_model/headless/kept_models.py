"""Models that one run hands to the next: one of each kind, kept for as long as the runs want the same."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import nn

VAE, TRANSFORMER, TEXT, CLIP = "VAE", "transformer", "text encoder", "CLIP"
REPLICAS = "replicas"  # of the transformer, on further GPUs
_CPU = torch.device("cpu")


class KeptModels:
    """encoders: keep text encoder and CLIP too, in main memory if half of what is free there holds them. A single run
    gives them up when it has used them."""

    def __init__(self, *, encoders: bool = False) -> None:
        self.encoders = encoders
        self._lock = threading.RLock()  # several GPUs ask at the same time
        self._models: dict[str, tuple[str, Any]] = {}

    def of(self, kind: str, key: str, load: Callable[[], Any]) -> Any:
        """The model of a kind: the one that is there, if it has this key, or a new one, in whose favour that is given
        up first."""
        with self._lock:
            if kind not in self._models or self._models[kind][0] != key:
                self.give_up(kind)
                self._models[kind] = key, load()
            return self._models[kind][1]

    @contextmanager
    def used(self, kind: str, key: str, load: Callable[[], Any], device: torch.device) -> Iterator[Any]:
        """An encoder on its device, for a moment. The transformer makes room for it."""
        if device != _CPU and TRANSFORMER in self._models:
            self._models[TRANSFORMER][1].to(_CPU)
        try:
            yield self.of(kind, key, load).to(device)
        finally:
            if not self._stays(kind):
                self.give_up(kind)

    def give_up(self, *kinds: str) -> None:
        """Free the memory of some kinds, of all without any."""
        for kind in kinds or tuple(self._models):
            self._models.pop(kind, None)
        free()

    def held(self, device: torch.device | str) -> int:
        """Bytes that the models hold on a device, a GPU with its number: free for a run, which uses or replaces
        them."""
        place = torch.device(device)
        return sum(_bytes(model, place.__eq__) for _, model in self._models.values())

    def _stays(self, kind: str) -> bool:
        """Move an encoder to main memory, if it may be kept there."""
        found = self._models.get(kind)
        if found is None or not self.encoders:
            return False
        moved = _bytes(found[1], lambda device: device.type not in ("cpu", "meta"))
        if moved > psutil.virtual_memory().available // 2:
            return False
        found[1].to(_CPU)
        free()
        return True


def free() -> None:
    """Give back what models held that nothing uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _bytes(model: Any, there: Callable[[torch.device], bool]) -> int:
    network = model if isinstance(model, nn.Module) else model.model  # our VAE holds one
    return sum(value.nbytes for value in (*network.parameters(), *network.buffers()) if there(value.device))
