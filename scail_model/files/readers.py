"""Finished jobs that a process still reads, told to all processes of all hosts, which do not remove them meanwhile.

Each process has one file in the folder of all jobs, with the names of those that it reads, and is alive while it beats
(`locks.py`). Who changes such a file, or removes a job, holds one lock: so nothing is removed that has just been found.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from .holder import in_name, me
from .locks import Mark, is_alive, locked, read

_READER, _LOCK = ".reader-", ".lease"

log = logging.getLogger(__name__)


class Readers:
    """What this process reads of the jobs in the folder `root`. wanted: as for `Mark`."""

    def __init__(self, root: Path, wanted: Callable[[], bool] | None = None) -> None:
        self.root, self.names, self._wanted, self._mark = root, set[str](), wanted, None

    def tell(self, names: Iterable[str], tick: Callable[[], None] = lambda: None) -> None:
        """All names of job folders that are read from now on; tick: called while another process holds the lock. A
        disk that is full costs no finished video: the log says so."""
        names = set(names)
        if names == self.names and (self._mark is None or self._mark.beating):
            return
        try:
            with registry(self.root, tick):
                if self._mark is not None:
                    self._mark.end()
                self._mark, self.names = None, names
                if names:
                    self._mark = Mark(_own(self.root), self._wanted, reads=sorted(names))
                    self._mark.path.write_bytes(self._mark.content)
                    self._mark.begin()
        except OSError as error:
            log.warning("SCAIL-2: other runs are not told that %s is read (%s)", ", ".join(sorted(names)), error)


_here: dict[Path, tuple[Readers, Counter[str]]] = {}


@contextmanager
def reading(folder: Path, tick: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Read files of a finished job, which nobody removes meanwhile. tick: as for `Readers.tell`."""
    readers, count = _here.setdefault(folder.parent, (Readers(folder.parent), Counter()))
    count[folder.name] += 1
    try:
        readers.tell(+count, tick)
        yield
    finally:
        count[folder.name] -= 1
        readers.tell(+count)


def registry(root: Path, tick: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
    """Hold the lock under which it is told what is read, and what is not is removed."""
    return locked(root / _LOCK, f"clearing {root}", "wait for it", waiting=lambda _: tick())


def read_by_others(root: Path) -> dict[str, str]:
    """Name of a job folder -> who reads it, as in "process 12 on anna, since 2026-11-30 17:12:03"."""
    found = {}
    for path in root.glob(f"{_READER}*.json"):
        claim = read(path) if path != _own(root) else None
        if claim is None:
            continue
        if is_alive(path, claim):
            found |= dict.fromkeys(_names(claim.content), str(claim))
        else:
            path.unlink(missing_ok=True)
    return found


def _own(root: Path) -> Path:
    return root / f"{_READER}{in_name(me())}.json"


def _names(content: bytes) -> list[str]:
    try:
        return json.loads(content)["reads"]
    except (ValueError, LookupError, TypeError):  # being written
        return []
