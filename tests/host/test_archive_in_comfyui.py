"""What the registry gets of the pack, unpacked in a real ComfyUI: all that users of the page have."""

from __future__ import annotations

import json
import urllib.request
import zipfile

import pytest
from comfyui import PACK, ComfyUI

from tests.registry.archive import build


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    build(folder / "node.zip")
    with zipfile.ZipFile(folder / "node.zip") as archive:
        archive.extractall(folder / "unpacked")
    with ComfyUI(folder / "base", folder / "unpacked") as server:
        yield server


def test_every_node_is_there(installed):
    info = installed.get("/object_info")
    frozen = json.loads((PACK / "tests/host/frozen_nodes.json").read_text())
    found = sorted(name for name, node in info.items() if node["python_module"] == "custom_nodes.scail2")
    assert found == sorted(frozen)
    assert "IMPORT FAILED" not in installed.log.read_text()


def test_page_has_its_scripts_its_help_and_its_workflows(installed):
    for path in ("extensions/scail2/scail2.js", "extensions/scail2/docs/SCAIL2WritePrompt.md",
                 "api/workflow_templates/scail2/animation.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{installed.port}/{path}", timeout=60) as answer:
            assert answer.status == 200
    listed = installed.get("/api/workflow_templates")["scail2"]
    assert len(listed) == len(list((PACK / "workflows").glob("*.json")))


def test_the_doctor_knows_its_version_without_the_command_line(installed):
    outputs = installed.run({"1": {"class_type": "SCAIL2Doctor", "inputs": {"model_name": "none"}},
                             "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}})
    assert "scail2 1." in outputs["2"]["text"][0]
