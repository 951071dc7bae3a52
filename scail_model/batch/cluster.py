"""Ray: a cluster of this machine alone, for as long as a batch runs, or one that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import ray

_CALL = 10.0  # seconds
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
        session = _temporary() / ray.get_runtime_context().get_session_name()
        try:
            yield
        finally:
            ray.shutdown()
        if address is None:  # after an error, its logs may say more
            shutil.rmtree(session, ignore_errors=True)


def share_of_gpus(share: float) -> int:
    """How many workers the cluster's GPUs carry now."""
    return sum(int(node["Resources"].get("GPU", 0) / share + 1e-6) for node in ray.nodes() if node["Alive"])


def refuse_small(share: float, *, address: str | None, workers: int | None) -> None:
    """RuntimeError if no machine has the GPUs of one video, so that Ray would wait for ever. workers: as asked for, on
    a cluster that may start machines for them."""
    if share_of_gpus(share):
        return
    if address is None:
        raise RuntimeError(f"A video takes {share:g} GPUs (--gpus_per_video), and this machine has "
                           f"{share_of_gpus(1)}: choose a smaller number.")
    if workers is None:
        raise RuntimeError(f"No machine of the cluster at {address} has the {share:g} GPUs that a video takes: choose "
                           "a smaller --gpus_per_video, or add --workers N if the cluster starts machines when they "
                           "are asked for.")


def _begin_here(gpus: int | None) -> None:
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray asks for a token, and would write one to the user's home
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray kills workers when memory is scarce; a worker is a ComfyUI, which frees its own
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers are for the background, ours are what it is for
    try:
        _init(address="local", num_gpus=gpus, object_store_memory=_STORE, include_dashboard=False)
    except ValueError as error:
        raise RuntimeError(f"Ray cannot give --gpus {gpus} here ({_reason(error)}): choose a smaller number, or "
                           "correct CUDA_VISIBLE_DEVICES.") from error
    except OSError as error:  # the paths of its sockets may have 107 bytes
        raise RuntimeError(f"Ray cannot be started in {_temporary()} ({_reason(error)}): set RAY_TMPDIR to a folder "
                           "with a short path and room, as /tmp.") from error
    if not share_of_gpus(1):
        ray.shutdown()
        raise RuntimeError("Ray finds no GPU in this machine: add --gpus N to make N videos at a time without one.")


def _join(address: str) -> None:
    try:
        _call(address)
        _init(address=address)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"No Ray cluster answers at {address} ({_reason(error)}): start one with "
                           "`ray start --head`, or leave --address out to use this machine.") from error


def _call(address: str) -> None:
    """OSError if nobody listens there. Ray itself tries for minutes, and writes about it to the terminal."""
    if address == "auto":
        latest = _temporary() / "ray_current_cluster"
        address = os.environ.get("RAY_ADDRESS") or (latest.read_text().strip() if latest.is_file() else "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # Ray says what is wrong with others, and finds its own
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CALL).close()


def _temporary() -> Path:
    """Where Ray keeps sockets and logs."""
    usual = "/tmp" if os.name == "posix" else tempfile.gettempdir()
    if sys.platform == "linux":
        usual = os.environ.get("TMPDIR", usual)
    return Path(os.environ.get("RAY_TMPDIR", usual), "ray")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


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
