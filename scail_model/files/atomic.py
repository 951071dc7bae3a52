"""Files that exist only when they are complete.

A file is written under another name that carries host and process, flushed to the disk and renamed, so a run that is
killed at any moment leaves a whole file or none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from av.error import FFmpegError
from safetensors import SafetensorError

from .holder import in_name, me, of_name
from .locks import silence

_LONGEST = 160  # bytes of a name; file systems allow 255, and the partial file has more
_LONGEST_BEFORE = 200
_ABANDONED = 3600.0  # seconds in which nobody has written to a file of another host; an encoder may be slow
_WRITING = OSError, SafetensorError, FFmpegError


@contextmanager
def writing(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A path to write to; the file gets its name when the block ends well. Without `replace`, FileExistsError if
    another process has given it to a file meanwhile. Raises what the block or the disk raises."""
    part = _part(path)
    try:
        yield part
        flush(part)
        if replace:
            os.replace(part, path)
        else:
            _publish(part, path)
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
    """Remove partial files that dead processes have left in a folder: of the file `name`, or all of them.

    Those of other hosts go when nobody has written to them for an hour.
    """
    with suppress(FileNotFoundError):  # another process has just removed the folder
        for part in folder.glob(".*.part"):
            with suppress(OSError):
                if _is_left(part, name):
                    part.unlink()


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
    return path.with_name(f".{in_name(me())}.{_short(path.name, _LONGEST)}.part")


def _publish(part: Path, path: Path) -> None:
    """Give a file a name that is free."""
    try:
        os.link(part, path)  # two processes cannot both do that, unlike seeing that the name is free
    except FileExistsError:
        raise
    except OSError:  # a file system without second names
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(part, path)


def _short(name: str, longest: int) -> str:
    return name.encode()[:longest].decode(errors="ignore")


def _is_left(part: Path, name: str) -> bool:
    """Whether a partial file, of the file `name` if there is one, is written by nobody any more."""
    words = part.name.removeprefix(".").removesuffix(".part").split(".")
    writer, own = of_name(".".join(words[:4])), ".".join(words[4:])
    if writer is None:
        return _is_left_before(words, name)
    if name and own != _short(name, _LONGEST):
        return False
    lives = writer.lives
    return silence(part, part.stat().st_mtime) >= _ABANDONED if lives is None else not lives


def _is_left_before(words: list[str], name: str) -> bool:
    """The same for one that carries the number of its process alone: one of our own number, as every container has,
    was before us."""
    process, own = words[0], ".".join(words[1:])
    if not process[:1].isdecimal() or (name and own != _short(name, _LONGEST_BEFORE)):
        return False
    return not process.isdecimal() or int(process) == os.getpid() or not psutil.pid_exists(int(process))
