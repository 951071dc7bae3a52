"""Runs scenarios (see run.mjs) in Chromium against a ComfyUI server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# no dialogs for new users, nothing drawn over the graph, and text at every zoom
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False,
            "Comfy.Graph.CanvasMenu": False, "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
            "LiteGraph.Canvas.MinFontSizeForLOD": 0}


def missing() -> str | None:
    """What is not installed here, with the way to get it, or None."""
    if shutil.which("node") is None:
        return "no Node.js: install node"
    if _chromium() is None:
        return "no Chromium: apt-get install chromium, or set CHROMIUM_PATH"
    if not _playwright().is_dir():
        return "no playwright-core: npm install --global playwright-core, or set PLAYWRIGHT_CORE to its folder"
    return None


class Browser:
    """One Chromium process, from __enter__ to __exit__."""

    def __enter__(self) -> Browser:
        self._process = subprocess.Popen(["node", str(FOLDER / "run.mjs"), str(_playwright()), _chromium()], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait(20)

    def run(self, server, scenario: str, *, page: str = "", vue: bool = False, settings: dict | None = None,
            width: int = 1400, height: int = 900, scale: float = 1.0, **given) -> dict[str, Any]:
        """A scenario by its name -> {answer, messages, requests}. `server` is a tests/host ComfyUI. The page of the
        call before is used again, emptied, if it had the same `page`, renderer, settings and scale. vue: the new
        renderer. scale: pixels of the screen for one of the page."""
        settings = {**SETTINGS, "Comfy.VueNodes.Enabled": vue, **(settings or {})}
        server.post("/settings", settings)
        url = f"http://127.0.0.1:{server.port}"
        return self._ask({"url": url, "page": json.dumps([url, page, settings, scale]),
                          "scenario": f"{FOLDER / scenario}.mjs", "width": width, "height": height, "scale": scale,
                          "given": given})

    def rest(self) -> None:
        """Close the page, which draws without end."""
        self._ask({"scenario": None})

    def _ask(self, job: dict) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "The browser is gone."}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("google-chrome")


def _playwright() -> Path:
    if "PLAYWRIGHT_CORE" in os.environ:
        return Path(os.environ["PLAYWRIGHT_CORE"]).resolve()
    listed = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True)
    return Path(listed.stdout.strip()) / "playwright-core"
