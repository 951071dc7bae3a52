"""Finished work on disk: a folder for each job, in which a file exists only when it is complete.

Every file is written under another name, flushed to the disk and renamed, so a run that is killed at any moment leaves
whole files or none. The names of files hold the digest of what decides their content (`digests.py`): what is there is
right, and what was decided otherwise is not found.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .atomic import explained, remove_leftovers, writing
from .locks import locked
from .readers import read_by_others, registry

_T = TypeVar("_T")
FOLDER = "scail2_jobs"  # of all jobs, in ComfyUI's output folder or beside the command line's output
_ABOUT = "job.json"
_FORMAT = "scail2-job-1"
_AWAY = ".removing-"
_LOCK = ".lease"
GIB = 2**30

log = logging.getLogger(__name__)


class Job:
    """One folder. about: what is told of the job to people, kept as JSON."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        self._given, self._telling = about, Lock()
        self.about = self._known()

    def path(self, name: str) -> Path:
        return self.folder / name

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to; the file gets its name when the block ends well.

        Raises RuntimeError that names folder and remedy if the disk is full or cannot be written.
        """
        with self._explained(), writing(self.path(name)) as part:
            yield part

    def save(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Write a .safetensors file."""
        with self.writing(name) as path:
            save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, path)

    def load(self, name: str) -> dict[str, Tensor]:
        """Read what `save` has written. RuntimeError if the file was damaged since."""
        try:
            return load_file(self.path(name))
        except SafetensorError as error:
            raise RuntimeError(f"{self.path(name)} is damaged ({error}): delete it, and run again.") from error

    def save_values(self, name: str, values: Any) -> None:
        """Write a .json file."""
        with self.writing(name) as path:
            path.write_text(json.dumps(values), encoding="utf-8")

    def load_values(self, name: str, of: Callable[[Any], _T]) -> _T:
        """What `of` makes of what `save_values` has written. RuntimeError if the file was damaged or changed since."""
        try:
            return of(json.loads(self.path(name).read_text(encoding="utf-8")))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RuntimeError(f"{self.path(name)} is damaged ({error}): delete it, and run again.") from error

    def remove_without(self, pattern: str) -> None:
        """Leave no folder behind that has no file of a pattern."""
        if not any(self.folder.glob(pattern)):
            _away(self.folder)

    def tell(self, **about: Any) -> None:
        """Add to `about`. Several threads may."""
        with self._telling, self.writing(_ABOUT) as path:
            self.about |= about
            path.write_text(json.dumps(self.about, indent=1, ensure_ascii=False), encoding="utf-8")

    @contextmanager
    def locked(self, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the job alone, and tell of it.

        Another process, of this host or another, that makes the same video is waited for with `waiting`, else a
        RuntimeError: see `locks.locked`.
        """
        with ExitStack() as stack:
            with self._explained():
                stack.enter_context(_lock(self.folder, waiting))
            self.about = self._known()
            self.tell()
            yield

    def _known(self) -> dict[str, Any]:
        known = _read(self.path(_ABOUT))
        return {**known, **self._given, "format": _FORMAT, "created": known.get("created", time.time())}

    def _explained(self) -> AbstractContextManager[None]:
        return explained(f"The job folder {self.folder}", "and run again; finished segments are kept")


@dataclass(frozen=True)
class Found:
    """A job folder as a listing shows it. finished: when, in seconds since 1970; None while it is not."""

    folder: Path
    about: dict[str, Any]
    bytes: int
    finished: float | None

    def line(self) -> str:
        """For people."""
        about = self.about
        state = "finished" if self.finished else f"{about.get('done', 0)} of {about.get('segments', '?')} segments"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.finished or about.get("created", 0)))
        return (f"{self.folder.name}: {about.get('frames', '?')} frames of {about.get('size', '?')}, {state}, "
                f"{self.bytes / GIB:.2f} GiB, {when}")


def found_jobs(root: Path) -> list[Found]:
    """All jobs under a folder, the oldest first."""
    jobs = [Found(path.parent, about, _bytes(path.parent), about.get("finished"))
            for path in root.glob(f"*/{_ABOUT}")
            if not path.parent.name.startswith(_AWAY) and (about := _read(path)).get("format") == _FORMAT]
    return sorted(jobs, key=lambda job: job.finished or job.about.get("created", 0))


def remove(job: Found, tick: Callable[[], None] = lambda: None) -> None:
    """Delete a job's folder. RuntimeError that says why if it is being made or read, by whom ever, or cannot be
    removed; it is whole then. tick: called while other processes remove jobs."""
    folder = job.folder
    try:
        with registry(folder.parent, tick):
            if reader := read_by_others(folder.parent).get(folder.name):
                raise RuntimeError(f"The job folder {folder} is not removed, because another run still reads its "
                                   f"video: wait for it ({reader}).")
            with _lock(folder):
                if _read(folder / _ABOUT).get("finished") != job.finished:
                    raise RuntimeError(f"The job folder {folder} is not removed, because another run has just made its "
                                       "video: list the jobs again.")
                _away(folder)
    except OSError as error:
        raise RuntimeError(f"The job folder {folder} cannot be removed ({error}): close what has its files open, "
                           "or remove it by hand.") from error


def make_room(root: Path, limit: int, keep: Collection[Path], tick: Callable[[], None] = lambda: None) -> list[Found]:
    """Remove finished jobs, the oldest first, until all jobs together have at most `limit` bytes; returns these.

    Jobs that are not finished, those that other processes make or read, and the folders in `keep`, are never removed.
    tick: as for `remove`.
    """
    for left in root.glob(f"{_AWAY}*"):
        shutil.rmtree(left, ignore_errors=True)
    jobs, removed = found_jobs(root), []
    total = sum(job.bytes for job in jobs)
    for job in jobs:
        if total > limit and job.finished and job.folder not in keep:
            try:
                remove(job, tick)
            except RuntimeError as error:  # no reason to lose the video that has just been finished
                log.warning("SCAIL-2: %s", error)
                continue
            removed.append(job)
            total -= job.bytes
    return removed


def _lock(folder: Path, waiting: Callable[[str], None] | None = None) -> AbstractContextManager[None]:
    return locked(folder / _LOCK, f"making this video in {folder}", "wait for it, or stop it", waiting)


def _away(folder: Path) -> None:
    """Remove a folder, which is whole until it is gone."""
    away = folder.with_name(f"{_AWAY}{secrets.token_hex(4)}-{folder.name[:200]}")
    os.replace(folder, away)
    shutil.rmtree(away, ignore_errors=True)


def _bytes(folder: Path) -> int:
    """Of what is there: other processes write and remove."""
    found = 0
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                found += path.stat().st_size if path.is_file() else 0
    return found


def _read(path: Path) -> dict[str, Any]:
    """JSON object of a file; empty if there is none, or it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
