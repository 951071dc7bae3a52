"""Measure Video Drift in a real ComfyUI: frames and videos, people apart, files beside the plot, and refusals."""

import json

import pytest
import torch
from graphs import add_inputs
from PIL import Image
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.node("SCAIL2DriftReport")


def segments(*edges, frames=21):
    """Segments with an overlap of one frame, of a video of 12.5 fps."""
    parts = [{"start": max(start - 1, 0), "stop": stop, "overlap": min(start, 1), "cut": False}
             for start, stop in zip((0, *edges), (*edges, frames), strict=True)]
    return json.dumps({"frames": frames, "fps": "25/2", "segments": parts})


@pytest.fixture
def measured(comfy):
    """Run a graph with the node; returns what it shows and its JSON."""

    def run(graph, **inputs):
        graph.add("drift", "SCAIL2DriftReport", **inputs)
        for place, name in enumerate(("report", "csv", "json", "ok"), start=1):
            graph.add(name, "PreviewAny", source=["drift", place])
        outputs = comfy.run(graph)
        texts = {name: outputs[name]["text"][0] for name in ("report", "csv", "json", "ok")}
        assert outputs["drift"]["text"] == [texts["report"]]
        found = json.loads(texts["json"])
        assert texts["ok"] == str(found["ok"])
        return outputs["drift"], texts, found

    return run


def lighter(comfy, tmp_path, levels):
    """The drawn clip, lighter from frame 10 on: a file for TestImages."""
    frames = load_file(comfy.images)["driving1"].int()
    frames[10:] += levels
    save_file({"video": frames.clamp(0, 255).to(torch.uint8)}, tmp_path / "video.safetensors")
    return {"path": str(tmp_path / "video.safetensors"), "name": "video"}


def test_a_seam_is_found_and_everything_is_written(comfy, graph, measured, tmp_path):
    video = graph.add("video", "TestImages", **lighter(comfy, tmp_path, 8))
    before = comfy.files()
    shown, texts, found = measured(graph, video=video, segments=segments(10), filename_prefix="measured/clip")
    assert [(seam["frame"], seam["verdict"]) for seam in found["seams"]] == [(10, "strong")]
    assert found["seams"][0]["shift"]["L"] == pytest.approx(3.0, abs=0.4)
    assert found["fps"] == "25/2"
    files = {file.suffix: file for file in comfy.files() - before}
    assert set(files) == {".png", ".csv", ".json"}
    assert len({file.with_suffix("") for file in files.values()}) == 1
    assert str(files[".png"]) in texts["report"].splitlines()[-1]
    assert files[".csv"].read_text() == texts["csv"]
    assert files[".json"].read_text() == texts["json"]
    assert shown["images"] == [{"filename": files[".png"].name, "subfolder": "measured", "type": "output"}]
    with Image.open(files[".png"]) as plot:
        assert plot.width == 1600
        assert "SCAIL2DriftReport" in plot.text["prompt"]


def test_a_video_without_segments_has_no_seams(graph, measured, tensors):
    video = graph.add("video", "LoadVideo", file="driving.mp4")
    _, texts, found = measured(graph, video=video)
    assert (found["ok"], found["seams"], found["fps"]) == (True, [], "25/2")
    assert texts["csv"].splitlines()[2].startswith("1,0.08,1,")
    assert tensors(graph, image=["drift", 0])["image"].shape[2] == 1600


@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_people_are_measured_apart_and_judged_as_the_mode_says(graph, measured, mode):
    """The reference distance is that of the judged area, at the size of the video, not that of the masks."""
    add_inputs(graph, mode=mode, frames=21)
    scaled = graph.add("scaled", "ImageScale", image=["driving", 0], upscale_method="area", width=64, height=64,
                       crop="center")
    _, texts, found = measured(graph, video=scaled, identities=["identities", 0], reference=["reference_image", 0],
                               segments=segments(10))
    assert found["judged"] == {"animation": "picture", "replacement": "people"}[mode]
    columns = found["per_frame"]
    assert {"picture_L", "people_L", "background_L", "distance_to_reference"} <= set(columns)
    assert columns["people_a"][0] - columns["background_a"][0] > 30  # a red disc on a lawn
    assert "to the reference" in texts["report"]


@pytest.mark.parametrize(("inputs", "message"), [
    ({"segments": "{"}, "The segments are not valid JSON"),
    ({"segments": segments(10, frames=22)}, "belong to a video of 22 frames, but the video has 21"),
    ({"identities": ["identities", 0]}, "The identities have masks for 9 driving frames, but the video has 21"),
])
def test_what_does_not_belong_together_is_refused(comfy, graph, inputs, message):
    add_inputs(graph, frames=9)
    graph.pictures("video", "driving1")
    graph.add("drift", "SCAIL2DriftReport", video=["video", 0], **inputs)
    with pytest.raises(RuntimeError, match=message):
        comfy.run(graph)
