"""Files that exist only when they are complete, and locks that one process at a time can hold.

A file is written under another name that carries the process's number, flushed to the disk and renamed, so a run that
is killed at any moment leaves a whole file or none. Locks are the operating system's (through `filelock`): they end
with the process, however it ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from av.error import FFmpegError
from filelock import FileLock, Timeout
from safetensors import SafetensorError

_LONGEST = 200  # bytes of a name; file systems allow 255, and the partial file has more
_WRITING = OSError, SafetensorError, FFmpegError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path to write to; the file gets its name when the block ends well. Raises what the block or the disk raises."""
    part = _part(path)
    try:
        yield part
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def explained(what: str, then: str) -> Iterator[None]:
    """Turn errors of writing into a RuntimeError that says `what` cannot be written, why, and what to do; `then` is the
    end of the sentence."""
    try:
        yield
    except _WRITING as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "o space left" in str(error)
        reason = "the disk is full" if full else str(error)
        remedy = "free space there" if full else "make it writable, with room"
        raise RuntimeError(f"{what} cannot be written ({reason}): {remedy}, {then}.") from error


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove partial files that dead processes have left in a folder: of the file `name`, or all of them."""
    for part in folder.glob(f".[0-9]*.{_short(name) if name else '*'}.part"):
        if not _another_writes(part):
            with suppress(OSError):
                part.unlink()


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file `path`, which is removed after. RuntimeError with the sentence `busy` if another process holds
    it."""
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(busy) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows: another process is about to ask for it
            path.unlink(missing_ok=True)
        lock.release()


def flush(path: Path) -> None:
    """To the disk, so that a power cut cannot leave a name without its content."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such thing for folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        # some network file systems have no such thing for folders either
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(handle)
    finally:
        os.close(handle)


def _part(path: Path) -> Path:
    return path.with_name(f".{os.getpid()}.{_short(path.name)}.part")


def _short(name: str) -> str:
    return name.encode()[:_LONGEST].decode(errors="ignore")


def _another_writes(part: Path) -> bool:
    """Whether the process is alive that began a file; one of our own number, as every container has, was before us."""
    process = part.name.split(".")[1]
    return process.isdecimal() and int(process) != os.getpid() and psutil.pid_exists(int(process))
