"""SCAIL2PlatePreview in a real ComfyUI: a picture for each frame, and what the check says of the same plate."""

import pytest
from graphs import add_inputs, add_sample_video, load

pytestmark = pytest.mark.node("SCAIL2PlatePreview")


def add_preview(graph, **inputs):
    graph.add("plate", "SCAIL2PlatePreview", **({"driving": ["driving", 0], "identities": ["identities", 0],
                                                 "width": 96, "height": 64} | inputs))
    graph.add("report", "PreviewAny", source=["plate", 1])
    return graph


def test_frames_over_a_legend_and_the_report_of_the_check(comfy, tensors, graph):
    add_preview(add_inputs(graph, mode="replacement", people=2), frames="0, 8", reference=["reference", 0],
                plate_masks=["identities", 0])
    pictures = tensors(graph, image=["plate", 0])["image"]
    assert len(pictures) == 2
    assert pictures.shape[2] == 768
    text = comfy.run(graph)["report"]["text"][0]
    assert "plate: composite, 96x64; about " in text
    assert "the people are made at 64x64" in text
    assert "has to be invented: 0.0% of the picture, by plate_masks" in text
    add_sample_video(graph, load(graph))
    inputs = {name: value for name, value in graph["sampled"]["inputs"].items() if name != "seed"}
    graph.add("check", "SCAIL2Preflight", **inputs, plate="composite", plate_masks=["identities", 0])
    del graph["sampled"]
    checked = comfy.run(graph)["check"]["text"][0]
    assert set(text.splitlines()) - {line for line in text.splitlines() if "(" in line} <= set(checked.splitlines())


@pytest.mark.parametrize(("mode", "change", "message"), [
    ("animation", {}, "plate is composite, but the mode is animation"),
    ("replacement", {"frames": "9"}, 'frames is "9", but it must be at most 64 frame numbers from 0 to 8'),
    ("replacement", {"width": 100}, "The width is 100 pixels"),
    ("replacement", {"plate_masks": ["reference_mask", 0]}, "plate_masks have"),
])
def test_what_cannot_be_shown(comfy, graph, mode, change, message):
    add_preview(add_inputs(graph, mode=mode), **change)
    with pytest.raises(RuntimeError, match=message):
        comfy.run(graph)
