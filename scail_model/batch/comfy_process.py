"""A ComfyUI process of our own: with its own Python, on a free port, in folders of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .child import Child, of_gpus
from .failures import Kind, RowError

LOG = "comfyui.log"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_PYTHONS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe",
            "../python_embeded/python.exe")
_NEEDED = "torch", "aiohttp"  # what ComfyUI cannot start without


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


class ComfyProcess(Child):
    """input, output: ComfyUI's folders; those for itself are removed with it. RowError if there is nothing to start."""

    def __init__(self, path: Path, python: Path | None, arguments: Sequence[str], gpus: Sequence[str],
                 input: Path, output: Path) -> None:
        if found := fault(path, python):
            raise RowError(Kind.INPUTS, found)
        self.path, self.port = path, free_port()
        self.own = Path(tempfile.mkdtemp(prefix="scail2-comfyui-"))
        chosen = python or next(filter(_runs, _pythons(path)))
        own = [f"--{name}-directory={self.own / name}" for name in ("temp", "user")]
        (self.own / "user").mkdir()
        command = [chosen, _LAUNCHER, self.own, path / "main.py", *arguments, *own, f"--input-directory={input}",
                   f"--output-directory={output}", "--database-url=sqlite:///:memory:", "--disable-auto-launch",
                   "--listen=127.0.0.1", f"--port={self.port}"]
        super().__init__("ComfyUI", LOG, list(map(str, command)), folder=path, environment=of_gpus(gpus))

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.own, ignore_errors=True)
