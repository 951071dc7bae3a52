"""Writes frozen_nodes.json anew from a running ComfyUI: `python tests/host/freeze.py` from the pack's root."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

FROZEN = Path(__file__).parent / "frozen_nodes.json"


def snapshot(entry: dict) -> dict:
    """One node of /object_info -> what workflows rely on. Inputs are [name, type] or, for a combo, [name, COMBO,
    choices]; choices that are files are not kept."""
    return {
        "required": [_input(name, *entry["input"]["required"][name]) for name in entry["input_order"]["required"]],
        "optional": [_input(name, *entry["input"]["optional"][name])
                     for name in entry["input_order"].get("optional", [])],
        "outputs": [list(output) for output in zip(entry["output_name"], entry["output"], strict=True)],
    }


def _input(name: str, kind, options: dict) -> list:
    if kind != "COMBO":
        return [name, kind]
    choices = [choice for choice in options["options"] if "." not in choice]
    return [name, kind, choices] if choices else [name, kind]


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from comfyui import ComfyUI

    with tempfile.TemporaryDirectory() as base, ComfyUI(Path(base)) as comfy:
        info = comfy.get("/object_info")
    nodes = {name: snapshot(entry) for name, entry in sorted(info.items())
             if entry["python_module"] == "custom_nodes.scail2"}
    FROZEN.write_text(json.dumps(nodes, indent=1) + "\n")


if __name__ == "__main__":
    main()
