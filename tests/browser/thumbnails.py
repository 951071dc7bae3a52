"""Pictures of the workflows in the real frontend, as thumbnails for the template browser."""

from __future__ import annotations

import json
from pathlib import Path

from browser import Browser
from test_workflows import graphs_of
from workflow_files import drawings

from scail_model.preflight.model_files import KNOWN


def write(server, workflows: Path) -> None:
    """Write workflows/<name>.jpg for every workflows/<name>.json. `server` is a running tests/host ComfyUI."""
    with Browser() as browser:
        for path in sorted(workflows.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8")) | {"extra": {}}  # the graph, not the form
            _pretend_models(server, content)
            drawings.write(server.base / "input", path.stem, frames=24, width=896, height=512)
            workflow = {"name": path.stem, "content": content, "screenshot": str(path.with_suffix(".jpg"))}
            # a page of its own: it lists the models once
            # not where a node comes from: here some are stand-ins
            browser.run(server, "open_workflows", page=path.stem, vue=True, width=1700, workflows=[workflow],
                        settings={"Comfy.NodeBadge.NodeSourceBadgeMode": "None"})


def _pretend_models(server, content: dict) -> None:
    """Files of nothing but size under the names that the loaders ask for, so that none is said to be missing."""
    for node in (node for graph in graphs_of(content) for node in graph["nodes"]):
        for model in node["properties"].get("models", []):
            path = server.base / "models" / model["directory"] / model["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as written:  # takes no room on the disk
                written.truncate(round(KNOWN[model["name"]].gigabytes * 1e9))
        if node["type"] == "SCAIL2LoadNLF":
            (server.base / "models/nlf").mkdir(exist_ok=True)
            (server.base / "models/nlf" / node["widgets_values"][0]).touch()
