"""Ray: a cluster of this machine alone, for as long as a batch runs, or one that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import ray

_STORE = 80 * 2**20  # bytes; rows are files, and nothing large goes through Ray


@contextlib.contextmanager
def cluster(log: Path, *, gpus: int | None = None, address: str | None = None) -> Iterator[None]:
    """Ray, connected; what it prints goes to the file `log`.

    gpus: of this machine, None for all that Ray finds. address: of a cluster, as ray.init takes it. RuntimeError, one
    sentence, if there is no GPU or no cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with open(log, "a", encoding="utf-8", buffering=1) as file, _said_to(file):
        if address is None:
            _begin_here(gpus)
        else:
            _join(address)
        try:
            yield
        finally:
            ray.shutdown()


def share_of_gpus(share: float) -> int:
    """How many workers the cluster's GPUs carry now."""
    return sum(int(node["Resources"].get("GPU", 0) / share + 1e-6) for node in ray.nodes() if node["Alive"])


def _begin_here(gpus: int | None) -> None:
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray asks for a token, and would write one to the user's home
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray kills workers when memory is scarce; a worker is a ComfyUI, which frees its own
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers are for the background, ours are what it is for
    _init(address="local", num_gpus=gpus, object_store_memory=_STORE, include_dashboard=False)
    if not share_of_gpus(1):
        ray.shutdown()
        raise RuntimeError("Ray finds no GPU in this machine: add --gpus N to make N videos at a time without one.")


def _join(address: str) -> None:
    try:
        _init(address=address)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RuntimeError(f"No Ray cluster answers at {address} ({reason}): start one with `ray start --head`, or "
                           "leave --address out to use this machine.") from error


def _init(**options: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would end the process without a word


@contextlib.contextmanager
def _said_to(file: TextIO) -> Iterator[None]:
    """Ray's messages of workers that died, and of its autoscaler, have no switch: they go where stdout goes."""
    with contextlib.redirect_stdout(file):
        yield
