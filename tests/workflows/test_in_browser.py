"""The workflow files in the real frontend: it must post exactly their API twins."""

from __future__ import annotations

import json

import generate
import pytest
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
        assert answer["prompt"] == twin, answer["name"]


def test_frontend_changes_nothing_when_it_saves(opened, object_info):
    """But for nodes of ComfyUI's that have been given more since, where everything of the file must still be there."""
    for answer in opened:
        ours = json.loads((generate.WORKFLOWS / f"{answer['name']}.json").read_text(encoding="utf-8"))
        theirs = {node["id"]: node for node in answer["saved"]["nodes"]}
        for node in ours["nodes"]:
            saved = theirs[node["id"]]
            keys = ["type", "pos", "mode", "properties"]
            same = node["type"] == "MarkdownNote" or core_nodes.is_as_described(node["type"], object_info)
            if node["widgets_values"] and same:  # PreviewAny has widgets of the frontend's own
                keys.append("widgets_values")
            for key in keys:
                assert saved[key] == node[key], (answer["name"], node["type"], key)
            for side in ("inputs", "outputs"):
                theirs_named, ours_named = ([(slot["name"], slot["type"], slot.get("widget"), slot.get("shape"))
                                             for slot in form[side]] for form in (saved, node))
                if same:
                    assert theirs_named == ours_named, (answer["name"], node["type"], side)
                else:
                    names, ours_names = ({name for name, *_ in slots} for slots in (theirs_named, ours_named))
                    assert ours_names <= names, (answer["name"], node["type"], side)
        assert sorted(link[1:] for link in answer["saved"]["links"]) == sorted(link[1:] for link in ours["links"])
        assert [group["title"] for group in answer["saved"]["groups"]] == [group["title"] for group in ours["groups"]]


def test_nodes_are_large_enough(opened):
    for answer in opened:
        small = [box for box in answer["boxes"] if box["size"][0] + 0.5 < box["least"][0]
                 or box["size"][1] + 0.5 < box["least"][1]]
        assert small == [], answer["name"]
