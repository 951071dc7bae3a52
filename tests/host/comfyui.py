"""A real ComfyUI process on the CPU, and a client for it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import websocket

from scail_model.batch.comfy_process import free_port
from tests.demo.faster import FASTER

COMFYUI = Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()
# another page than that of the installed frontend package: the folder `static` of an unpacked one
FRONTEND = os.environ.get("COMFYUI_FRONTEND")
PACK = Path(__file__).parents[2]
TESTPACK = Path(__file__).parent / "testpack"
# what a user's install of the pack holds
PACK_PARTS = ("__init__.py", "nodes", "scail_model", "workflows", "js", "pyproject.toml", "LICENSE", "README.md")
ENDS = ("execution_success", "execution_error", "execution_interrupted")


class ComfyUI:
    """Starts in __enter__, ends in __exit__. `base` holds models/, input/, output/. pack: a folder with the pack's
    files; None for those that are worked on."""

    def __init__(self, base: Path, pack: Path | None = None) -> None:
        self.base, self.pack = base, pack
        self.port = free_port()

    def __enter__(self) -> ComfyUI:
        packs = self.base / "custom_nodes"
        (packs / "scail2").mkdir(parents=True)
        for part in PACK_PARTS if self.pack is None else [path.name for path in self.pack.iterdir()]:
            if (source := (self.pack or PACK) / part).exists():
                (packs / "scail2" / part).symlink_to(source)
        (packs / "testpack").symlink_to(TESTPACK)
        for folder in ("diffusion_models", "vae", "loras"):
            (self.base / "models" / folder).mkdir(parents=True, exist_ok=True)
        (self.base / "input").mkdir(exist_ok=True)
        self.log = self.base / "comfyui.log"
        python = COMFYUI / ".venv/bin/python"
        self.process = subprocess.Popen(
            [python if python.exists() else sys.executable, "main.py", "--cpu",
             "--base-directory", str(self.base), "--port", str(self.port), "--database-url", "sqlite:///:memory:",
             "--disable-api-nodes", *(("--front-end-root", FRONTEND) if FRONTEND else ())],
            # at tiny sizes a second thread mostly waits, and takes the other core from those that need it
            env={"OMP_NUM_THREADS": "1", **FASTER, **self._requirements(), **os.environ},
            cwd=COMFYUI, stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        self._wait_until_up()
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            return json.load(response)

    def post(self, path: str, body: dict):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error
        return json.loads(text) if text else None

    def queue(self, prompt: dict, **extra) -> str:
        """Post an API-format graph; RuntimeError with the server's answer if it is refused."""
        return self.post("/prompt", {"prompt": prompt, "prompt_id": str(uuid.uuid4()), **extra})["prompt_id"]

    def run(self, prompt: dict, timeout: float = 120) -> dict:
        """Post a graph and wait; returns its outputs, or raises RuntimeError with the node's error message."""
        entry = self.wait(self.queue(prompt), timeout)
        for kind, message in entry["status"]["messages"]:
            if kind == "execution_error":
                raise RuntimeError(f"{message['node_type']}: {message['exception_message']}")
        return entry["outputs"]

    def wait(self, prompt_id: str, timeout: float = 120) -> dict:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry is not None and entry["status"]["messages"][-1][0] in ENDS:
                return entry
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.05)
        raise TimeoutError(self.log.read_text()[-3000:])

    def _requirements(self) -> dict[str, str]:
        """What requirements.txt asks for, as a user's installation has it, without writing into that ComfyUI: the
        package of the tests' own environment."""
        folder, package = self.base / "requirements", Path(cv2.__file__).parent
        folder.mkdir(exist_ok=True)
        (folder / package.name).symlink_to(package)
        return {"PYTHONPATH": str(folder)}

    def _wait_until_up(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                self.get("/system_stats")
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                time.sleep(0.2)
        raise TimeoutError(self.log.read_text()[-3000:])

    def copy_input(self, path: Path) -> str:
        shutil.copy(path, self.base / "input" / path.name)
        return path.name

    def files(self) -> set[Path]:
        """Everything that runs have left in output/, but for the mark of a server that remembers finished jobs."""
        return {path for path in (self.base / "output").rglob("*")
                if path.is_file() and not path.name.startswith(".reader-")}

    def log_size(self) -> int:
        return self.log.stat().st_size

    def log_since(self, size: int) -> str:
        return self.log.read_bytes()[size:].decode(errors="replace")

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        """A websocket as the web page has one; its client_id goes into `queue`."""
        listener = Listener(self.port)
        try:
            yield listener
        finally:
            listener.socket.close()


class Listener:
    def __init__(self, port: int) -> None:
        self.client_id = str(uuid.uuid4())
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}/ws?clientId={self.client_id}", timeout=60)
        self.socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))

    def until_done(self, prompt_id: str, then: Callable[[], None] | None = None) -> tuple[list[dict], list[bytes]]:
        """Messages and binary ones up to the end of a run; `then` is called at the first sampling step."""
        messages, binary = [], []
        while True:
            received = self.socket.recv()
            if isinstance(received, bytes):
                binary.append(received)
                continue
            messages.append(json.loads(received))
            if then is not None and messages[-1]["type"] == "progress":
                then()
                then = None
            if messages[-1]["type"] in ENDS and messages[-1]["data"]["prompt_id"] == prompt_id:
                return messages, binary
