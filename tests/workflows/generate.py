"""Writes workflows/*.json and workflows/api/*.json from `workflow_files/definitions.py`.

    python tests/workflows/generate.py            the files (needs ComfyUI at COMFYUI_PATH: its /object_info)
    python tests/workflows/generate.py --jpg      and the thumbnails, from the real frontend (needs Chromium too)
    python tests/workflows/generate.py --core     the form of ComfyUI's own nodes, from the oldest version supported
    python tests/workflows/generate.py --nodes    pictures of the nodes for js/docs, likewise, after a run
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = REPOSITORY / "workflows"
TESTS = REPOSITORY / "tests"
sys.path[:0] = map(str, (*(TESTS / part for part in ("workflows", "browser", "host", "unit", "miniature")), REPOSITORY))

from workflow_files import core_nodes, definitions, graph, ui_format  # noqa: E402


def build(object_info: dict) -> dict[Path, str]:
    """Every file and its content."""
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)[1]
    info, files = core_nodes.described(object_info), {}
    for make in definitions.ALL:
        workflow = make()
        files[WORKFLOWS / f"{workflow.name}.json"] = _dumps(ui_format.ui(workflow, info, version))
        files[WORKFLOWS / "api" / f"{workflow.name}.json"] = _dumps(graph.api(workflow, info))
    return files


def _dumps(content: dict) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    from comfyui import ComfyUI

    if "--nodes" in sys.argv[1:]:
        import pictures

        with tempfile.TemporaryDirectory() as folder:
            pictures.write(REPOSITORY / "js/docs", Path(folder) / "base")
        return
    with tempfile.TemporaryDirectory() as folder, ComfyUI(Path(folder) / "base") as server:
        if "--core" in sys.argv[1:]:
            used = set().union(*(make().types for make in definitions.ALL))
            core_nodes.write({node for node in used if not node.startswith("SCAIL2")}, server.get("/object_info"))
        for path, text in build(server.get("/object_info")).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if "--jpg" in sys.argv[1:]:
            import thumbnails

            thumbnails.write(server, WORKFLOWS)


if __name__ == "__main__":
    main()
