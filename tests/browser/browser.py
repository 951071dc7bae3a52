"""Runs page.mjs in Chromium against a ComfyUI server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

PAGE = Path(__file__).with_name("page.mjs")
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
    server.post("/settings", {**SETTINGS, "Comfy.VueNodes.Enabled": vue})
    job = {"url": f"http://127.0.0.1:{server.port}", "chromium": _chromium(), "playwright": str(_playwright()),
           "width": width, "height": height, "workflows": workflows}
    done = subprocess.run(["node", str(PAGE)], input=json.dumps(job), capture_output=True, text=True, timeout=300)
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
