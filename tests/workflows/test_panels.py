"""The panels that the pack's extension puts on its nodes, in the real frontend and both of its renderers."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest

SCENARIOS = Path(browser.__file__).parent


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, server):
    """page(scenario, **given) -> its answer; the page must not complain, and ask nobody but the server."""
    missing = browser.missing()
    if missing:
        pytest.skip(missing)

    def run(scenario: str, **given):
        found = browser.run(server, SCENARIOS / f"{scenario}.mjs", vue=request.param, **given)
        assert found["requests"] == []
        return found["answer"]

    return run


FINDINGS = [
    {"level": "error", "code": "driving_mask_frames", "text": "The mask has 3 frames.", "input": "identities"},
    {"level": "warning", "code": "fps", "text": "The driving video has 60 fps.", "input": "driving"},
    {"level": "fact", "code": "size", "text": "512x896 pixels.", "input": None},
]


def test_check_report(page):
    found = page("check_report", findings=FINDINGS)
    assert found["headings"] == ["Errors (1)", "Warnings (1)", "Facts (1)"]
    assert found["texts"] == [finding["text"] for finding in FINDINGS]
    saved = next(node for node in found["saved"]["nodes"] if node["id"] == found["check"])
    assert not any("scail2" in str(value) for value in saved["widgets_values"])
    assert not any(name.startswith("scail2") for name in found["output"][str(found["check"])]["inputs"])


GIB = 2**30
PLAN = {"frames": 305, "fps": "16", "found_cuts": None, "width": 896, "height": 512, "additional": 0,
        "gpu_bytes": 140 * GIB, "weight_bytes": 30 * GIB, "pace": 1.0,
        "model": {"dim": 5120, "ffn_dim": 13824, "layers": 40}}


def test_plan_bar(page):
    found = page("plan_bar", facts=PLAN)
    assert found["before"]["lines"] == [
        "896×512, segments of 81, overlap 5. Frames: known after the first run or check.",
        "about 3.3 GiB of GPU memory beside the weights; time: known after a run or check."]
    assert found["after"]["lines"] == [
        "896×512, 305 frames at 16 fps (19.1 s): 4 segments of 81, overlap 5, last 77.",
        "about 33 GiB of GPU memory (this GPU has 140 GiB), 7 min a segment, 27 min in all."]
    assert found["after"]["labels"][1] == "Segment 2: frames 76 to 156 (4.8 to 9.8 s), the first 5 taken over"
    widths = found["after"]["widths"]
    assert widths[0] / widths[3] == pytest.approx(76 / 77, rel=0.02)
    assert found["motion"]["lines"][0] == "896×512, 305 frames at 16 fps (19.1 s): this segment makes 76 to 156, 81 long."
    assert len(found["motion"]["labels"]) == 3
    assert found["segment_length"]["lines"][0].endswith(": 9 segments of 41, overlap 5, last 17.")
    assert found["overlap"]["lines"][0].endswith(": 10 segments of 41, overlap 9, last 17.")
    assert found["lengths"]["lines"][0].endswith(": 10 segments of 41, overlap 9.")
    assert "in 3 scenes" in found["scene_cuts"]["lines"][0]
    assert found["focused"].startswith(f"Segment {len(found['scene_cuts']['labels'])}: ")
    assert "neither a frame nor a time" in found["wrong_cuts"]["problems"][0]


def test_plan_bar_offers_what_is_right(page):
    found = page("plan_bar", facts=PLAN)
    assert found["wrong_overlap"]["problems"] == [
        "overlap is 77, but it must be 4n+1 and at most 37 in segments of 41 frames: take 37"]
    assert found["wrong_overlap"]["choices"] == ["37"]
    assert "overlap 37" in found["mended"]["lines"][0]
    assert found["wrong_size"]["problems"] == [
        "The width is 500 pixels, but SCAIL-2 needs a multiple of 32: use 480 or 512."]
    assert found["wrong_size"]["choices"] == found["offers"] == ["480", "512"]
    assert found["right_size"]["lines"][0].startswith("512×512, ")


def test_plan_bar_leaves_no_trace(page):
    found = page("plan_bar", facts=PLAN)
    for form in (found["saved"], found["saved_again"]):
        for node in form["nodes"]:
            assert "scail2_" not in str(node.get("widgets_values")) and "frames at" not in str(node)
    assert [node["widgets_values"] for node in found["saved"]["nodes"] if "widgets_values" in node] == [
        node["widgets_values"] for node in found["saved_again"]["nodes"] if "widgets_values" in node]
    for node in found["output"].values():
        assert not any(name.startswith("scail2") for name in node["inputs"])
    assert found["reloaded"]["lines"][0].startswith("512×512, 305 frames")
    assert found["listeners"]["during"] == "heard" and found["listeners"]["after"] != "heard"
    assert found["left"] == 1
