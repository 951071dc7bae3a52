"""Runs page.mjs and scenarios in Chromium against a ComfyUI server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PAGE, RUN = (Path(__file__).with_name(name) for name in ("page.mjs", "run.mjs"))
# no dialogs for new users, nothing drawn over the graph, and text at every zoom
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False,
            "Comfy.Graph.CanvasMenu": False, "LiteGraph.Canvas.MinFontSizeForLOD": 0}


def missing() -> str | None:
    """What is not installed here, with the way to get it, or None."""
    if shutil.which("node") is None:
        return "no Node.js: install node"
    if _chromium() is None:
        return "no Chromium: apt-get install chromium, or set CHROMIUM_PATH"
    if not _playwright().is_dir():
        return "no playwright-core: npm install --global playwright-core, or set PLAYWRIGHT_CORE to its folder"
    return None


def open_workflows(server, workflows: list[dict], *, vue: bool = False, width: int = 1700,
                   height: int = 900) -> list[dict]:
    """[{name, content, screenshot?}] -> page.mjs's answers. `server` is a tests/host ComfyUI; vue: the new renderer."""
    return _node(PAGE, server, vue, {"width": width, "height": height, "workflows": workflows})


def run(server, scenario: Path, *, vue: bool = False, settings: dict | None = None, width: int = 1400,
        height: int = 900, scale: float = 1.0, **given) -> dict:
    """A scenario (see run.mjs) in the real frontend -> {answer, messages, requests}. scale: pixels of the screen for
    one of the page."""
    return _node(RUN, server, vue, {"scenario": str(scenario), "width": width, "height": height, "scale": scale,
                                    "given": given}, settings)


def _node(script: Path, server, vue: bool, job: dict, settings: dict | None = None) -> Any:
    server.post("/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": vue, **(settings or {})})
    job |= {"url": f"http://127.0.0.1:{server.port}", "chromium": _chromium(), "playwright": str(_playwright())}
    done = subprocess.run(["node", str(script)], input=json.dumps(job), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout)


def _chromium() -> str | None:
    return os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("google-chrome")


def _playwright() -> Path:
    if "PLAYWRIGHT_CORE" in os.environ:
        return Path(os.environ["PLAYWRIGHT_CORE"]).resolve()
    listed = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True)
    return Path(listed.stdout.strip()) / "playwright-core"
