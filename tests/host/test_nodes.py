"""What ComfyUI says about the pack's nodes: all are there, all is explained, and nothing that has landed changes.

`frozen_nodes.json` is what saved workflows rely on. To add a node, or an optional input at the end of one:
`python tests/host/freeze.py`, and read the difference before committing it.
"""

import ast
import json
import re
from pathlib import Path

import pytest
from comfyui import PACK
from freeze import FROZEN, snapshot


@pytest.fixture(scope="module")
def info(comfy):
    return comfy.get("/object_info")


def declared_ids():
    """The node ids written in nodes/*.py."""
    return {keyword.value.value for path in sorted((PACK / "nodes").glob("*.py"))
            for call in ast.walk(ast.parse(path.read_text())) if isinstance(call, ast.Call)
            for keyword in call.keywords if keyword.arg == "node_id" and isinstance(keyword.value, ast.Constant)}


def test_every_declared_node_is_offered(info):
    assert len(declared_ids()) >= 8
    assert declared_ids() <= info.keys()


def test_every_node_has_tests_of_its_own():
    """Those of `make node`."""
    marks = [marks for path in sorted(Path(__file__).parent.glob("test_*.py"))
             for marks in re.findall(r"pytest\.mark\.node\((.+)\)", path.read_text())]
    assert set(re.findall(r'"(\w+)"', " ".join(marks))) == declared_ids()


def test_every_frozen_node_is_offered(info):
    assert set(json.loads(FROZEN.read_text())) <= declared_ids()


@pytest.mark.parametrize("node", sorted(declared_ids()))
def test_every_input_and_output_is_explained(info, node):
    entry = info[node]
    assert entry["category"].startswith("SCAIL-2")
    assert entry["description"].strip()
    assert entry["display_name"] != node
    assert entry["search_aliases"]
    for section in ("required", "optional"):
        for name, (_, *options) in entry["input"].get(section, {}).items():
            assert options[0].get("tooltip", "").strip(), f"{node}.{name}"
    assert all(name.strip() for name in entry["output_name"])


@pytest.mark.parametrize("node", sorted(json.loads(FROZEN.read_text())))
def test_saved_workflows_still_fit(info, node):
    frozen, found = json.loads(FROZEN.read_text())[node], snapshot(info[node])
    assert found["outputs"][: len(frozen["outputs"])] == frozen["outputs"]
    assert len(found["required"]) == len(frozen["required"])
    assert len(found["optional"]) >= len(frozen["optional"])
    for section in ("required", "optional"):
        for new, old in zip(found[section], frozen[section], strict=False):
            assert fits(new, old), f"{node}: {old} became {new}"


def fits(new, old):
    """Same name, and every type and every choice that there was; more of them do no harm."""
    return new[0] == old[0] and all(set(_listed(old[i])) <= set(_listed(new[i])) for i in range(1, len(old)))


def _listed(value):
    return value.split(",") if isinstance(value, str) else value


def test_every_node_is_frozen():
    assert set(json.loads(FROZEN.read_text())) == declared_ids(), "run python tests/host/freeze.py"
