"""Which process of which host something on a shared disk belongs to, and whether that process still runs."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_SAME_START = 2.0  # seconds; a start is computed from the machine's clock, which may be set meanwhile
# hosts of one name, as containers and cloned machines are, differ in at least one of these
_OF_A_MACHINE = "/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"


@dataclass(frozen=True)
class Holder:
    """A process. machine: tells hosts of one name apart, and a host from itself before it was started anew. started:
    in seconds since 1970, because numbers of processes are used again."""

    host: str
    machine: str
    process: int
    started: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def lives(self) -> bool | None:
        """None if it cannot be told: on another machine, or when another process may have its number by now."""
        if (self.host, self.machine) != (host(), machine()):
            return None
        if self.process == os.getpid():
            return self == me()
        try:
            process = psutil.Process(self.process)
            if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1:
                return False  # killed in a container in which nobody reaps; while it has threads, it still writes
            return True if abs(process.create_time() - self.started) < _SAME_START else None
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return None


def host() -> str:
    """This host's name."""
    return platform.node()


def me() -> Holder:
    return Holder(host(), machine(), os.getpid(), _started(os.getpid()))


@cache
def machine() -> str:
    """Letters that differ between machines of one name, and change when a machine starts anew."""
    values = []
    for place in _OF_A_MACHINE:
        with suppress(OSError):
            values.append(os.readlink(place) if os.path.islink(place) else Path(place).read_text(encoding="ascii"))
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:8]


@cache
def _started(process: int) -> int:
    return int(psutil.Process(process).create_time())


def in_name(holder: Holder) -> str:
    """As a part of a file's name: four words with dots between them, at most 80 letters."""
    return f"{_word(holder.host)}.{holder.machine}.{holder.process}.{holder.started}"


def of_name(words: str) -> Holder | None:
    """What `in_name` has written; None if it is something else."""
    found = re.fullmatch(r"([A-Za-z0-9-]*)\.([0-9a-f]{8})\.(\d{1,10})\.(\d{1,15})", words)
    if found is None:
        return None
    return Holder(host() if found[1] == _word(host()) else found[1], found[2], int(found[3]), int(found[4]))


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", name)[:30]
