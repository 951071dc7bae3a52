"""Every workflow run for real on the CPU, with tiny models, to a video that a player can play.

SAM3 cannot be made tiny (its sizes are fixed, and untrained it finds nobody), so in these runs nodes of the test pack
that are shown the drawn masks stand in for core's SAM3 nodes and answer in core's own form. That the workflows fit
core's nodes as they are is what `test_server_accepts_the_file_as_it_is` holds.
"""

from __future__ import annotations

import json

import assets
import generate
import pytest
import torch
from safetensors.torch import load_file
from test_workflows import nodes_of
from workflow_files import core_nodes, definitions, drawings, tiny
from workflow_files.graph import api

NAMES = [make.__name__ for make in definitions.ALL]
FIRST = "animate_a_picture", "replace_a_person"
AS_FILMED = "replacement", "replace_a_person", "small_person", "face_pass"  # at the driving video's own size
FRAMES = 12  # two segments of 9 with 5 in common, the second filled up with a frame that is cut off again
INPUT = {"frames": FRAMES, "width": 336, "height": 192, "sound": True}
# points count in pixels of the pictures, so these have the size that the workflow was made with
# who is meant, in words that need no look at the masks
BOUND = {"replacement_by_overlap": "1:2"}
INPUTS = {"sam3_points": INPUT | {"width": 896, "height": 512}}


def prompt_of(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def video_of(server, outputs: dict) -> dict:
    (saved,) = [entry for output in outputs.values() for entry in output.get("images", []) if
                entry["filename"].endswith(".mp4")]
    assert saved["type"] == "output"
    return assets.probe(server.base / "output" / saved["subfolder"] / saved["filename"])


def check(video: dict, frames: int, rate: float = float(assets.FPS), size: tuple = (tiny.WIDTH, tiny.HEIGHT)) -> None:
    assert video["frames"] == frames
    assert video["size"] == size
    assert video["fps"] == rate
    assert video["sound"] == pytest.approx(frames / rate, abs=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_workflow_gives_a_video(server, name):
    drawings.write(server.base / "input", name, **INPUTS.get(name, INPUT))
    outputs = server.run(tiny.shrink(prompt_of(name)))
    size = (INPUT["width"], INPUT["height"]) if name in AS_FILMED else (tiny.WIDTH, tiny.HEIGHT)
    if name in FIRST:
        # 0.96 s at the rate that the model was trained with
        check(video_of(server, outputs), 15, 16, size)
    else:
        check(video_of(server, outputs), tiny.LENGTH if name == "ksampler" else FRAMES, size=size)


def test_second_segment_goes_on_where_the_first_ends(server, object_info):
    drawings.write(server.base / "input", "ksampler", **INPUT)
    prompt = api(definitions.ksampler(), core_nodes.described(object_info), muted=True)
    (first,) = [key for key, node in prompt.items() if node["inputs"].get("filename_prefix", "").endswith("segment_1")]
    del prompt[first]
    check(video_of(server, server.run(tiny.shrink(prompt))), FRAMES)


def test_saved_prompt_gives_the_same_video_without_the_text_encoder(server):
    drawings.write(server.base / "input", "distilled_draft", **INPUT)
    prompt = tiny.shrink(prompt_of("distilled_draft"))
    saved = {key: node["inputs"]["name"] for key, node in prompt.items() if node["class_type"] == "SCAIL2SavePrompt"}
    prompt["frames"] = {"class_type": "TestSaveTensors", "inputs": {"path": "", "image": ["decoded", 0]}}
    (sample,) = [key for key, node in prompt.items() if node["class_type"] == "SCAIL2SampleVideo"]
    prompt["decoded"] = {"class_type": "GetVideoComponents", "inputs": {"video": [sample, 0]}}

    def frames(name: str) -> bytes:
        path = server.base / f"{name}.safetensors"
        prompt["frames"]["inputs"]["path"] = str(path)
        server.run(prompt)
        return path.read_bytes()

    encoded = frames("encoded")
    for key, name in saved.items():
        prompt[key] = {"class_type": "SCAIL2LoadPrompt", "inputs": {"file": f"{name}.safetensors"}}
    for key in [key for key, node in prompt.items() if node["class_type"] == "TestText"]:
        del prompt[key]
    assert frames("loaded") == encoded


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith((
    "sam3", "from_core", "replacement_by_overlap", "animal", *FIRST))])
def test_sam3_workflow_binds_the_people_of_the_drawing(server, object_info, tmp_path, name):
    """The model gets the mask channels that it gets from the drawn colour masks, up to the edges that go through
    SAM3's own size; SAM3's people come in another order than the colours."""
    drawings.write(server.base / "input", name, **INPUTS.get(name, INPUT))
    prompt = tiny.shrink(prompt_of(name))
    found = channels(server, object_info, prompt, tmp_path / "found.safetensors")
    (bind,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "SCAIL2Identities"]
    prompt |= tiny.drawn_masks("driving_colours", bind["driving"], prompt)
    prompt |= tiny.drawn_masks("reference_colours", bind["reference_image"], prompt)
    bind |= {"driving_masks": ["driving_colours", 0], "reference_masks": ["reference_colours", 0],
             "binding": BOUND.get(name) or bind["binding"] or "1:1"}
    expected = channels(server, object_info, prompt, tmp_path / "expected.safetensors")
    for side, right in expected.items():
        assert right.sum() > 0
        assert (found[side] - right).abs().sum() < 0.1 * right.sum(), side


def test_saved_tracks_are_bound_to_a_reference_again(server, object_info, tmp_path):
    name = "sam3_several_people"
    drawings.write(server.base / "input", name, **INPUT)
    prompt = tiny.shrink(prompt_of(name))
    tracked = channels(server, object_info, prompt, tmp_path / "tracked.safetensors")
    bind, save = ([node["inputs"] for node in prompt.values() if node["class_type"] == kind][0]
                  for kind in ("SCAIL2Identities", "SCAIL2SaveTracks"))
    del prompt[bind["driving_masks"][0]]
    prompt["loaded"] = {"class_type": "SCAIL2LoadTracks", "inputs": {"file": f"{save['name']}.safetensors",
                                                                     "driving": bind["driving"]}}
    bind["driving_masks"] = ["loaded", 0]
    again = channels(server, object_info, prompt, tmp_path / "again.safetensors")
    for side, right in tracked.items():
        assert torch.equal(again[side], right), side


def channels(server, object_info: dict, prompt: dict, path) -> dict:
    """The people's mask channels of both sides that the first segment of a workflow is sampled with."""
    read = {value[0] for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list)}
    prompt = {key: node for key, node in prompt.items()
              if key in read or not object_info[node["class_type"]]["output_node"]}
    (sample,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "SCAIL2SampleVideo"]
    inputs = {key: sample[key] for key in object_info["SCAIL2MotionTransfer"]["input"]["required"] if key in sample}
    prompt["motion"] = {"class_type": "SCAIL2MotionTransfer", "inputs": inputs | {"start_frame": 0,
                                                                                  "length": tiny.LENGTH}}
    prompt["saved"] = {"class_type": "TestSaveTensors", "inputs": {"path": str(path), "conditioning": ["motion", 0]}}
    server.run(prompt)
    people = [channel for channel in range(28) if channel % 7]  # without white
    return {side: load_file(path)[side][:, :, people] for side in ("driving_mask_28ch", "ref_mask_28ch")}


@pytest.mark.parametrize("name", NAMES)
def test_server_accepts_the_file_as_it_is(server, name):
    """With nothing replaced: the server checks every node, link, value and file name before it begins, and then stops
    at the first model file, because these are empty."""
    drawings.write(server.base / "input", name, **INPUT)
    loaders = set()
    workflow = json.loads((generate.WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    for node in nodes_of(workflow):
        for model in node["properties"].get("models", []):
            loaders.add(node["type"])
            path = server.base / "models" / model["directory"] / model["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if node["type"] == "SCAIL2LoadNLF":  # its authors' file, which is nowhere linked to
            loaders.add(node["type"])
            path = server.base / "models/nlf" / node["widgets_values"][0]
            path.parent.mkdir(exist_ok=True)
            path.touch()
    entry = server.wait(server.queue(prompt_of(name)))
    (stopped,) = [message for kind, message in entry["status"]["messages"] if kind == "execution_error"]
    assert stopped["node_type"] in loaders
