"""A process of an engine: it dies with us, its log goes to the row that it makes, and its death is explained."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from .failures import Kind, RowError, classify

_TAIL = 400  # pieces of the log that are remembered
_TOLD = 20  # its last lines, which say why a process has ended
_KILLED = 9  # the signal, which Windows does not name
_PATIENCE = 0.5  # seconds that a process has to end by itself
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_HOPELESS = re.compile(r"ModuleNotFoundError|ImportError|SyntaxError|main.py: error:")  # every start ends like this
# a line of a log that is an error's last one: "ModuleNotFoundError: No module named 'x'"
_ERROR = re.compile(r"^\s*(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)\b.*$|^.*\b(?:error|Error|ERROR):.*$", re.M)


class Child:
    """Starts in the constructor. name, log: what it and its log file are called. apart: whether what it writes to its
    standard output is for `lines`, and only the rest is its log.

    It is given a pipe as its standard input, and has to end when that ends, as it does when we are killed.
    """

    def __init__(self, name: str, log: str, command: Sequence[str], *, folder: Path | None = None,
                 environment: Mapping[str, str] | None = None, apart: bool = False) -> None:
        self.name, self.log, self.oom_kills = name, log, _oom_kills()
        self._said: deque[str] = deque(maxlen=_TAIL)
        self._row: Path | None = None
        self._unwritten = b""
        self._lock, self._pieces = threading.Lock(), 0
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            start_new_session=True)  # Ctrl-C is for the program that runs it
        stream = self.process.stderr if apart else self.process.stdout
        assert stream is not None
        self.reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.reader.start()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def log_to(self, file: Path | None) -> None:
        """Where the log goes from here on, with what was said while it went nowhere."""
        with self._lock:
            self._row = file
            if file is not None:
                unwritten, self._unwritten = self._unwritten, b""
                self._write(unwritten)

    def said(self) -> int:
        """A number that grows with the log."""
        return self._pieces

    def tail(self) -> str:
        """The last lines of the log."""
        with self._lock:
            text = _COLOUR.sub("", "".join(self._said))
        return "\n".join(text.replace("\r", "\n").splitlines()[-_TOLD:])

    def death(self, doing: str) -> RowError:
        """The error for a process that has ended by itself. doing: "before it answered"."""
        self.reader.join(_PATIENCE)
        code, tail = self.process.wait(), self.tail()
        how = f"was killed (signal {-code})" if code < 0 else f"ended by itself (exit code {code})"
        if code == -_KILLED and _oom_kills() > self.oom_kills:
            return RowError(Kind.MEMORY, f"{self.name} was killed {doing}, because the main memory of this machine was "
                                         "full: choose a smaller width and height or shorter segments, or fewer "
                                         "workers.")
        reasons = _ERROR.findall(tail)
        why = f" ({' '.join(reasons[-1].split()).rstrip('.')})" if reasons else ""
        hopeless = _HOPELESS.search(why)
        remedy = "start it by hand with the same arguments" if hopeless else "run again; finished segments are kept"
        return RowError(Kind.INPUTS if hopeless else classify("ProcessDied", "", tail),
                        f"{self.name} {how} {doing}{why}: read {self.log}, and {remedy}.")

    def stop(self) -> None:
        """End it and whatever it has started, within a second."""
        with suppress(OSError):
            self.process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_PATIENCE)
        with suppress(OSError):
            if os.name == "nt":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)  # FFmpeg and others that it has started
        self.process.wait()
        self.reader.join(_PATIENCE)

    def _read(self, stream: IO[bytes]) -> None:
        for piece in iter(lambda: stream.read1(1 << 16), b""):  # pyright: ignore[reportAttributeAccessIssue]
            with self._lock:
                self._pieces += 1
                self._said.append(piece.decode(errors="replace"))
                if self._row is None:
                    self._unwritten += piece
                else:
                    self._write(piece)

    def _write(self, piece: bytes) -> None:
        assert self._row is not None
        with suppress(OSError), open(self._row, "ab") as file:  # a full disk is told by what matters more
            file.write(piece)


def of_gpus(gpus: Sequence[str]) -> dict[str, str]:
    """The environment of a process that has these GPUs alone."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}


def _oom_kills() -> int:
    """How many processes Linux has killed for memory so far, of this machine or container; 0 where nobody counts."""
    return sum(_counts())


def _counts() -> Iterator[int]:
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with suppress(OSError):
            yield from map(int, re.findall(r"^oom_kill (\d+)$", Path(path).read_text(), re.M))
