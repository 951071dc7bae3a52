"""ComfyUI's own nodes as the oldest supported version describes them.

Later versions read workflows in this form, and add what is new by themselves: sockets that nobody needs, widgets with
defaults. The other way round a file would show an old version sockets that it does not know. So the files are written
in this form, whichever ComfyUI writes them, and tests ask the one that is there whether it can read them.

Nodes that the oldest version does not have are described in `later_core_nodes.json`, in the form of the first version
that has them. Where a server lacks them, the test pack has stand-ins of that form (`tests/host/testpack/sam3d.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_suffix(".json")
LATER: dict[str, dict] = json.loads(_FILE.with_name("later_core_nodes.json").read_text(encoding="utf-8"))
LATER_VERSION = "0.34.0"
_OPTIONS = ("default", "control_after_generate", "forceInput", "image_upload", "video_upload", "template")


def described(object_info: dict[str, dict]) -> dict[str, dict]:
    """A server's /object_info with the core nodes that workflows use in their oldest form."""
    # a note is the frontend's own and unknown to the server
    note = {"MarkdownNote": {"input": {}, "output": [], "output_name": []}}
    return object_info | json.loads(_FILE.read_text(encoding="utf-8")) | LATER | note


def is_as_described(node: str, object_info: dict[str, dict]) -> bool:
    """Whether a server has a node in the form that the files are written in."""
    return essence(object_info[node]) == essence(described(object_info)[node])


def write(nodes: set[str], object_info: dict[str, dict]) -> None:
    """Take the form of these nodes from the oldest supported ComfyUI."""
    found = {node: essence(object_info[node]) for node in sorted(nodes - set(LATER))}
    lines = ",\n".join(f"{json.dumps(node)}: {json.dumps(info)}" for node, info in found.items())
    _FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def essence(info: dict[str, Any]) -> dict[str, Any]:
    """What of a node's description decides how a workflow file looks."""
    inputs = {group: {name: _spec(*spec) for name, spec in info["input"].get(group, {}).items()}
              for group in ("required", "optional")}
    return {"input": inputs, **{key: info[key] for key in ("output", "output_name", "name", "display_name")}}


def _spec(kind: str | list, options: dict[str, Any] | None = None) -> list:
    kept = {key: value for key, value in (options or {}).items() if key in _OPTIONS}
    return ["COMBO" if isinstance(kind, list) else kind, kept]
