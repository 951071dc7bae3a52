"""Every workflow run for real on the CPU, with tiny models, to a video that a player can play."""

from __future__ import annotations

import json

import assets
import generate
import pytest
from workflow_files import definitions, drawings, tiny
from workflow_files.graph import api

FRAMES = 12  # two segments of 9 with 5 in common, the second filled up with a frame that is cut off again
INPUT = {"frames": FRAMES, "width": 336, "height": 192, "sound": True}


def prompt_of(name: str) -> dict:
    return json.loads((generate.WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def video_of(server, outputs: dict) -> dict:
    (saved,) = [entry for output in outputs.values() for entry in output.get("images", []) if
                entry["filename"].endswith(".mp4")]
    assert saved["type"] == "output"
    return assets.probe(server.base / "output" / saved["subfolder"] / saved["filename"])


def check(video: dict, frames: int) -> None:
    assert video["frames"] == frames
    assert video["size"] == (tiny.WIDTH, tiny.HEIGHT)
    assert video["fps"] == assets.FPS
    assert video["sound"] == pytest.approx(frames / float(assets.FPS), abs=0.15)


@pytest.mark.parametrize("name", [make.__name__ for make in definitions.ALL])
def test_workflow_gives_a_video(server, name):
    drawings.write(server.base / "input", name, **INPUT)
    outputs = server.run(tiny.shrink(prompt_of(name)))
    check(video_of(server, outputs), tiny.LENGTH if name == "ksampler" else FRAMES)


def test_second_segment_goes_on_where_the_first_ends(server, object_info):
    drawings.write(server.base / "input", "ksampler", **INPUT)
    prompt = api(definitions.ksampler(), object_info, muted=True)
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
