"""Locks between processes, of one host or of several that share a disk.

A lock is a file that names its holder, who writes it anew every few seconds. It needs files that one process alone can
create and renames that replace, which every file system has. A holder is dead when its process is, on this machine, or
when the file is silent for a minute by the file system's own clock. A dead holder's file is replaced by the one process
that could create a second file for it.

Nothing stops a holder that slept through that minute. What is locked here survives two writers: files get their names
when they are complete, and names that hold the same name the same content.

This is not `filelock`: locks of an operating system do not reach other hosts on every shared disk, and its leases need
file systems that swap two names to break a dead one, which NFS and SMB do not (4.3), or compare the clocks of two hosts
(3.30).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from .holder import Holder, me

BEAT, SILENCE = 10.0, 60.0  # seconds
_POLL = 0.25
_TRIES = 20  # Windows: to remove what another process is just reading

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """What a lock file says. content: as it was read; holder: None while it is being written."""

    content: bytes
    written: float
    holder: Holder | None
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.holder}, since {since}" if self.holder else f"since {since}"


class Mark:
    """A file that says that this process lives, for as long as it beats. wanted: asked at each beat; the file goes when
    it is not. values: what else is in it."""

    def __init__(self, path: Path, wanted: Callable[[], bool] | None = None, **values: Any) -> None:
        about = {"token": secrets.token_hex(8), "since": time.time(), **asdict(me()), **values}
        self.path, self.content, self._wanted = path, json.dumps(about).encode(), wanted
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def beating(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Beat, once the file is there."""
        self._thread = threading.Thread(target=self._beats, name=f"beat {self.path.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Remove the file, if it is still this one."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        found = read(self.path)
        if found is not None and found.content == self.content:
            _remove(self.path)

    def _beats(self) -> None:
        while not self._stop.wait(BEAT):
            if self._wanted is not None and not self._wanted():
                _remove(self.path)
                return
            try:
                with open(self.path, "r+b") as file:
                    if file.read() != self.content:
                        log.warning("SCAIL-2: another run has taken over %s, because this one gave no sign for %d "
                                    "seconds", self.path, SILENCE)
                        return
                    file.seek(0)
                    file.write(self.content)
                if not self.content:
                    os.utime(self.path)
            except FileNotFoundError:
                return
            except OSError as error:  # of a network, which may come back
                log.debug("SCAIL-2: %s: %s", self.path, error)


@contextmanager
def locked(path: Path, doing: str, remedy: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made, alone among all processes of all hosts; it is removed after.

    Without `waiting`: RuntimeError "Another run is DOING: REMEDY (who, since when)." if a living process holds it.
    That is known at once on one machine, and at the next sign of life, which takes seconds, of another one. `waiting`
    is called four times a second with that sentence while it is held, and may raise. OSError if it cannot be written.
    """
    mark, first = Mark(path), None
    while (found := _taken(mark)) is not None:
        text = f"Another run is {doing}: {remedy} ({found})."
        if waiting is not None:
            waiting(text)
        elif (found.holder is not None and found.holder.lives) or (
                first is not None and first.content == found.content and first.written != found.written):
            raise RuntimeError(text)
        first = found if first is None or first.content != found.content else first
        time.sleep(_POLL)
    try:
        mark.begin()
        yield
    finally:
        mark.end()


def held(path: Path) -> str | None:
    """Who holds a lock: "process 12 on anna, since 2026-11-30 17:12:03". None if nobody living does."""
    found = read(path)
    return str(found) if found is not None and is_alive(path, found) else None


def read(path: Path) -> Claim | None:
    """None if the file is not there."""
    try:
        with open(path, "rb") as file:  # opened, because NFS keeps what is known of files that are not
            content, written = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        values = json.loads(content)
        holder = Holder(values["host"], values["machine"], values["process"], values["started"])
        return Claim(content, written, holder, float(values["since"]))
    except (ValueError, LookupError, TypeError):
        return Claim(content, written, None, written)


def is_alive(path: Path, found: Claim) -> bool:
    """Whether who has written a file may still be at work."""
    lives = found.holder.lives if found.holder is not None else None
    return silence(path, found.written) < SILENCE if lives is None else lives


def silence(path: Path, written: float) -> float:
    """For how many seconds a file has not been written, by the clock of its disk."""
    probe = path.with_name(f".{secrets.token_hex(8)}.clock")
    try:
        with open(probe, "wb") as file:
            file.write(b".")
            file.flush()
            now = os.fstat(file.fileno()).st_mtime
    except OSError:  # read-only: nobody can hold anything there
        return time.time() - written
    finally:
        with suppress(OSError):
            probe.unlink()
    return now - written


def _taken(mark: Mark) -> Claim | None:
    """Take a lock: None, or who holds it."""
    path = mark.path
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # of the folder, which another process has just removed
            if _created(path, mark):
                return None
        found = read(path)
        if found is not None:
            return found if is_alive(path, found) or not _replaced(mark, found) else None


def _replaced(mark: Mark, dead: Claim) -> bool:
    """Put an own lock file in the place of a dead one, which is done by one process alone: the one that could create
    another file, whose name says which lock file is to go. That process may die too, so there are further ones."""
    path, name = mark.path, f"{mark.path.name}.{hashlib.sha256(dead.content).hexdigest()[:12]}"
    rights = []
    for number in count():
        rights.append(path.with_name(f"{name}.{number}"))
        if _created(rights[-1], mark):
            break
        other = read(rights[-1])
        if other is None or is_alive(rights[-1], other):
            return False
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        found = read(path)
        if found is None or (found.content, found.written) != (dead.content, dead.written):
            return False
        _created(part, mark)
        with suppress(PermissionError):  # Windows: another process is just reading it
            os.replace(part, path)
            return True
        return False
    finally:
        for file in (part, *reversed(rights)):
            file.unlink(missing_ok=True)


def _created(path: Path, mark: Mark) -> bool:
    """Whether a file was created, which was not there. It is empty on a full disk, where room can be made only under a
    lock."""
    try:
        file = open(path, "xb")  # noqa: SIM115
    except FileExistsError:
        return False
    try:
        with file:
            file.write(mark.content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            path.unlink()
            raise
        path.write_bytes(b"")
        mark.content = b""
    return True


def _remove(path: Path) -> None:
    for _ in range(_TRIES):
        try:
            path.unlink(missing_ok=True)
            return
        except PermissionError:
            time.sleep(_POLL / 5)
