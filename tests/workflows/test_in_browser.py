"""The workflow files in the real frontend: it must post exactly their API twins."""

from __future__ import annotations

import json

import generate
import pytest
from test_workflows import graphs_of, links_of
from workflow_files import core_nodes, definitions
from workflow_files.graph import variants


@pytest.fixture(scope="module")
def opened(page, server):
    workflows = [{"name": make.__name__, "content": json.loads((generate.WORKFLOWS / f"{make.__name__}.json").read_text(
        encoding="utf-8"))} for make in definitions.ALL]
    # without videos: the frontend posts the state of a video's preview as one more input
    for file in (server.base / "input").glob("*.mp4"):
        file.unlink()
    return page("open_workflows", width=1700, workflows=workflows)


def test_frontend_posts_the_api_twin(opened, object_info):
    for answer in opened:
        twin = json.loads((generate.WORKFLOWS / "api" / f"{answer['name']}.json").read_text(encoding="utf-8"))
        for node in twin.values():
            inputs, asked = node["inputs"], object_info[node["class_type"]]["input"]["required"]
            if node["class_type"] == "SaveVideo" and variants(asked["format"]) is None:
                del inputs["format.codec"]  # for servers that ask for it
        # newer frontends say there where a node comes from, too
        posted = {key: node | {"_meta": {"title": node["_meta"]["title"]}} for key, node in answer["prompt"].items()}
        assert posted == twin, answer["name"]


def test_frontend_changes_nothing_when_it_saves(opened, object_info):
    """But for nodes of ComfyUI's that have been given more since, where everything of the file must still be there."""
    for answer in opened:
        ours = json.loads((generate.WORKFLOWS / f"{answer['name']}.json").read_text(encoding="utf-8"))
        assert answer["saved"]["extra"].get("linearData") == ours["extra"].get("linearData")
        for mine, theirs in zip(graphs_of(ours), graphs_of(answer["saved"]), strict=True):
            unchanged(answer["name"], mine, theirs, object_info)


def unchanged(name: str, ours: dict, theirs: dict, object_info: dict) -> None:
    saved_nodes = {str(node["id"]): node for node in theirs["nodes"]}
    for node in ours["nodes"]:
        saved = saved_nodes[str(node["id"])]
        keys = ["type", "pos", "mode"]
        holds_others = node["type"] not in object_info and node["type"] != "MarkdownNote"
        same = node["type"] not in object_info or core_nodes.is_as_described(node["type"], object_info)
        # the widgets of a subgraph's node are kept by other names in other versions: what they hold is in the prompt
        keys += [] if holds_others else ["properties"]
        if node["widgets_values"] and same and not holds_others:  # PreviewAny has widgets of the frontend's own
            keys.append("widgets_values")
        for key in keys:
            assert saved[key] == node[key], (name, node["type"], key)
        for side in ("inputs", "outputs"):
            theirs_named, ours_named = ([(slot["name"], slot["type"], slot.get("widget"), slot.get("shape"))
                                         for slot in form[side]] for form in (saved, node))
            if same:
                assert theirs_named == ours_named, (name, node["type"], side)
            else:
                names, ours_names = ({name for name, *_ in slots} for slots in (theirs_named, ours_named))
                assert ours_names <= names, (name, node["type"], side)
    assert sorted(link[1:] for link in links_of(theirs)) == sorted(link[1:] for link in links_of(ours))
    assert [group["title"] for group in theirs["groups"]] == [group["title"] for group in ours["groups"]]


def test_nodes_are_large_enough(opened):
    for answer in opened:
        small = [box for box in answer["boxes"] if box["size"][0] + 0.5 < box["least"][0]
                 or box["size"][1] + 0.5 < box["least"][1]]
        assert small == [], answer["name"]


@pytest.mark.parametrize("name", ["animate_a_picture", "replace_a_person"])
def test_first_workflows_are_forms(page, name):
    content = json.loads((generate.WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    labels = ["picture", "clip", "who moves in the clip", "who is in the picture", "prompt: the finished video",
              "width", "height", "seconds of the clip (0: all)"]
    found = page("form", content=content, labels=labels, height=1400)
    assert found["seen"] == labels
    words = [node["inputs"]["value"] for node in found["output"].values() if node["class_type"] == "PrimitiveString"]
    assert sorted(words) == ["person", "robot"], "what is written into the form is posted"
