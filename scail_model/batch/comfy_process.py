"""A ComfyUI process of our own: started with its own Python on a free port, with folders of its own, and ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .failures import Kind, RowError, classify

_BESIDE = Path(__file__).with_name("beside.py")
_PYTHONS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe",
            "../python_embeded/python.exe")
_NEEDED = "torch", "aiohttp"  # what ComfyUI cannot start without
_TAIL = 400  # pieces of the log that are remembered
_TOLD = 20  # its last lines, which say why a process has ended
_KILLED = 9  # the signal, which Windows does not name
_PATIENCE = 0.5  # seconds that a process has to end by itself
# a line of a log that is an error's last one: "ModuleNotFoundError: No module named 'x'"
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_HOPELESS = re.compile(r"ModuleNotFoundError|ImportError|SyntaxError|main.py: error:")  # every start ends like this
_ERROR = re.compile(r"^\s*(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)\b.*$|^.*\b(?:error|Error|ERROR):.*$", re.M)


def fault(path: Path, python: Path | None) -> str | None:
    """Why a ComfyUI cannot be started, as far as its files tell; one sentence."""
    if not (path / "main.py").is_file():
        return f"{path} (--comfyui) holds no main.py: give the folder of ComfyUI."
    if python is not None and not python.is_file():
        return f"{python} (--comfyui_python) does not exist: give the Python that ComfyUI runs with."
    if python is not None and not _runs(python):
        return (f"{python} (--comfyui_python) cannot run ComfyUI, because it lacks {' or '.join(_NEEDED)}: give the "
                "Python that ComfyUI runs with.")
    if python is None and not any(map(_runs, _pythons(path))):
        tried = ", ".join(map(str, _pythons(path)))
        return (f"No Python that can run the ComfyUI in {path} was found (tried {tried}): give it with "
                "--comfyui_python.")
    return None


def _pythons(path: Path) -> list[Path]:
    """Those of ComfyUI's folder that are there, and our own."""
    return [*(path / name for name in _PYTHONS if (path / name).is_file()), Path(sys.executable)]


def _runs(python: Path) -> bool:
    """Whether a Python has what ComfyUI needs. Looks for the packages without importing them, which takes seconds."""
    looks = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {_NEEDED!r})))"
    try:
        return subprocess.run([python, "-c", looks], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ComfyProcess:
    """Starts in the constructor. input, output: ComfyUI's folders; those for itself are removed with it. RowError if
    there is nothing to start."""

    def __init__(self, path: Path, python: Path | None, arguments: Sequence[str], gpus: Sequence[str],
                 input: Path, output: Path) -> None:
        if found := fault(path, python):
            raise RowError(Kind.INPUTS, found)
        self.path, self.port, self.oom_kills = path, free_port(), _oom_kills()
        self.own = Path(tempfile.mkdtemp(prefix="scail2-comfyui-"))
        self._log: deque[str] = deque(maxlen=_TAIL)
        self._row: Path | None = None
        self._unwritten = b""
        self._lock, self._pieces = threading.Lock(), 0
        chosen = python or next(filter(_runs, _pythons(path)))
        own = [f"--{name}-directory={self.own / name}" for name in ("temp", "user")]
        (self.own / "user").mkdir()
        command = [chosen, _BESIDE, path / "main.py", *arguments, *own, f"--input-directory={input}",
                   f"--output-directory={output}", "--database-url=sqlite:///:memory:",
                   "--disable-auto-launch", "--listen=127.0.0.1", f"--port={self.port}"]
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=path, env=_environment(gpus), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)  # Ctrl-C is for the program that runs it
        self.reader = threading.Thread(target=self._read, daemon=True)
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
            text = _COLOUR.sub("", "".join(self._log))
        return "\n".join(text.replace("\r", "\n").splitlines()[-_TOLD:])

    def death(self, doing: str) -> RowError:
        """The error for a process that has ended by itself. doing: "before it answered"."""
        self.reader.join(_PATIENCE)
        code, tail = self.process.wait(), self.tail()
        how = f"was killed (signal {-code})" if code < 0 else f"ended by itself (exit code {code})"
        if code == -_KILLED and _oom_kills() > self.oom_kills:
            return RowError(Kind.MEMORY, f"ComfyUI was killed {doing}, because the main memory of this machine was "
                                         "full: choose a smaller width and height or shorter segments, or fewer "
                                         "workers.")
        reasons = _ERROR.findall(tail)
        why = f" ({' '.join(reasons[-1].split()).rstrip('.')})" if reasons else ""
        hopeless = _HOPELESS.search(why)
        remedy = "start it by hand with the same arguments" if hopeless else "run again; finished segments are kept"
        return RowError(Kind.INPUTS if hopeless else classify("ProcessDied", "", tail),
                        f"ComfyUI {how} {doing}{why}: read comfyui.log, and {remedy}.")

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
        shutil.rmtree(self.own, ignore_errors=True)

    def _read(self) -> None:
        for piece in iter(lambda: self.process.stdout.read1(1 << 16), b""):  # pyright: ignore
            with self._lock:
                self._pieces += 1
                self._log.append(piece.decode(errors="replace"))
                if self._row is None:
                    self._unwritten += piece
                else:
                    self._write(piece)

    def _write(self, piece: bytes) -> None:
        assert self._row is not None
        with suppress(OSError), open(self._row, "ab") as file:  # a full disk is told by what matters more
            file.write(piece)


def _environment(gpus: Sequence[str]) -> dict[str, str]:
    return {**os.environ, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}), "PYTHONUNBUFFERED": "1"}


def _oom_kills() -> int:
    """How many processes Linux has killed for memory so far, of this machine or container; 0 where nobody counts."""
    return sum(_counts())


def _counts() -> Iterator[int]:
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with suppress(OSError):
            yield from map(int, re.findall(r"^oom_kill (\d+)$", Path(path).read_text(), re.M))
