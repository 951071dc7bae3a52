"""The file that a run will write: found out to be writable, and held, before anything expensive begins."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..files.atomic import remove_leftovers
from ..files.locks import locked

_NAME_WORDS = 6
_TRIAL = b"\0" * (1 << 16)


def default_name(width: int, height: int, prompt: str) -> str:
    """By size, prompt and time."""
    words = "_".join(re.findall(r"\w+", prompt)[:_NAME_WORDS]).encode()[:100].decode(errors="ignore") or "video"
    return f"scail2_{width}x{height}_{words}_{time.strftime('%Y%m%d_%H%M%S')}.mp4"


def draft_name(target: Path) -> Path:
    """Of the draft of a video, beside it: walk.mp4 -> walk.draft.mp4."""
    return target.with_name(f"{target.stem}.draft{target.suffix}")


def compare_name(target: Path) -> Path:
    """Of a video and its draft side by side: walk.mp4 -> walk.compare.mp4."""
    return target.with_name(f"{target.stem}.compare{target.suffix}")


def check_name(target: Path, *, replace: bool) -> None:
    """Raise RuntimeError for a name that is not one of an .mp4 file, or that is taken by a file that may not be
    replaced."""
    if target.suffix != ".mp4":
        raise RuntimeError(f"{target} (--save_file) does not end with .mp4: end it with .mp4.")
    if ":" in target.name:
        raise RuntimeError(f"{target} (--save_file) has a colon in its name, which Windows and many players do not "
                           "open: choose another name.")
    if not target.parent.is_dir():
        raise RuntimeError(f"The folder {target.parent} (--save_file) does not exist: make it first.")
    if os.path.lexists(target) and not (replace and target.is_file()):
        raise RuntimeError(f"{target} (--save_file) exists: choose another name, or add --overwrite.")


@contextmanager
def reserved(target: Path, *, replace: bool) -> Iterator[None]:
    """Hold the output: no other run can write it meanwhile. Raises RuntimeError if it is held, or cannot be written.
    replace: as for `check_name`."""
    with ExitStack() as stack:
        with _explained(target):
            stack.enter_context(locked(_lock(target), f"writing {target} (--save_file)",
                                       "wait for it, or choose another name"))
            _try(target)
        check_name(target, replace=replace)  # the run that held it may have finished
        remove_leftovers(target.parent, target.name)
        yield


def check_space(folder: Path, needed: int, there: int) -> None:
    """Raise RuntimeError if a job folder that will hold at least `needed` bytes, of which `there` are written, does not
    fit on its disk."""
    disk = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(disk).free
    if needed - there > free:
        raise RuntimeError(f"The job folder {folder} needs at least {(needed - there) / 1e9:.3g} GB more and its disk "
                           f"has {free / 1e9:.3g} GB free: make room, or choose another disk with --job_dir.")


def _lock(target: Path) -> Path:
    name = target.name.encode()
    return target.with_name(f".{hashlib.sha256(name).hexdigest()[:8]}-{name[-60:].decode(errors='ignore')}.lease")


def _try(target: Path) -> None:
    """Write a few bytes beside it, and remove them; and see whether the disk takes its name."""
    with suppress(FileNotFoundError):
        target.lstat()
    trial = target.with_name(f".{secrets.token_hex(8)}.trial")
    try:
        with open(trial, "xb") as file:
            file.write(_TRIAL)
            file.flush()
            os.fsync(file.fileno())
    finally:
        trial.unlink(missing_ok=True)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeError(f"{target} (--save_file) cannot be written ({error.strerror}): choose another name or "
                           "folder, or make room.") from error
