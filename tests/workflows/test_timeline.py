"""The timeline of Sample SCAIL-2 Video in the real frontend, watched while the server makes a video."""

from __future__ import annotations

import base64
import io
import itertools
import shutil

import assets
import numpy as np
import pytest
import torch
from graphs import Graph, add_sample_video, load
from miniature_graphs import MODEL, add_models, add_scene
from miniature_scenes import Scene, write_tensors
from PIL import Image
from renderers import vue_alone

# Made-up events

RUN = {"prompt_id": "made-up", "workflow": None, "count": 3}
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
PLAN = '[{"guidance": 4.0}, {"segments": 2, "seed": 18446744073709551614}]'
WHOLE = RUN | {"version": 1, "state": "running", "left": None, "segments": [
    {"index": index, "start": start, "stop": stop, "overlap": overlap, "state": "waiting", "step": 0, "steps": 4,
     "seconds": None, "thumbnail": None, "part": None, "seam": None,
     "place": None}
    for index, (start, stop, overlap) in enumerate([(0, 81, 0), (76, 157, 5), (152, 193, 5)])]}


def changes():
    """Messages behind WHOLE; the second segment gets its verdict late."""
    done = {"state": "done", "thumbnail": PICTURE, "part": {"filename": "1.mp4", "subfolder": "x", "type": "output"}}
    told = [(None, [{"index": 0, "state": "sampling", "place": "GPU 1"}]),
            (125.4, [{"index": 0, "step": 2, "seconds": 31.2}]),
            (90, [{"index": 0, **done, "step": 4}, {"index": 1, "state": "sampling", "step": 1}]),
            (40, [{"index": 1, **done, "step": 4, "seconds": 61}, {"index": 2, "state": "encoding"}]),
            (40, [{"index": 1, "seam": "visible"}])]
    messages = [RUN | {"version": version, "state": "running", "left": left, "segments": segments}
                for version, (left, segments) in enumerate(told, 2)]
    return [*messages, RUN | {"version": len(messages) + 2, "state": "cancelled", "left": None, "segments": []}]


def test_made_up_events(page):
    other = WHOLE | {"workflow": "12345678-0000-4000-8000-000000000000", "prompt_id": "of another workflow"}
    found = page("timeline", whole=WHOLE, changes=changes(), other=other, plan=PLAN, height=1300)
    assert found["other"]["blocks"] == []
    assert found["begun"]["blocks"] == ["Segment 1, frames 0 to 80, waiting", "Segment 2, frames 81 to 156, waiting",
                                        "Segment 3, frames 157 to 192, waiting"]
    assert [step["line"] for step in found["steps"]] == [
        "0 of 3 segments finished", "0 of 3 segments finished, about 2 min 5 s left",
        "1 of 3 segments finished, about 1 min 30 s left", "2 of 3 segments finished, about 40 s left",
        "2 of 3 segments finished, about 40 s left", "2 of 3 segments finished, cancelled"]
    assert [round(step["bar"], 3) for step in found["steps"]] == [
        0, round(40.5 / 203, 3), round(101.25 / 203, 3), *[round(162 / 203, 3)] * 3]
    assert found["steps"][-1]["blocks"] == [
        "Segment 1, frames 0 to 80, done, on GPU 1, 31 s",
        "Segment 2, frames 81 to 156, done, 1 min 1 s, ! seam visible",
        "Segment 3, frames 157 to 192, stopped"]
    assert found["steps"][-1]["open"] == [True, True, False]
    assert found["widths"][0] == pytest.approx(found["widths"][1], abs=2)
    assert found["widths"][2] < found["widths"][0]
    assert found["expanded"] == "true"
    assert found["prefilled"] == "18446744073709551614"
    entry = '{"segments": 2, "prompt": "She says \\"no\\", and turns.", "seed": 18446744073709551615, "only": true}'
    lasting = '{"segments": 2, "seed": 18446744073709551614}'
    assert found["written"] == {"plan": f'[\n {{"guidance": 4.0}},\n {lasting},\n {entry}\n]', "remake": "3",
                                "remake_scope": "only these", "remake_seed": 5}
    other = '{"segments": 3, "seed": 5, "only": true}'
    assert found["remade"] == {"plan": f'[\n {{"guidance": 4.0}},\n {lasting},\n {entry},\n {other}\n]', "remake": "2",
                               "remake_scope": "and everything after", "remake_seed": 77}
    assert found["refused"].startswith("A seed is a whole number")
    assert found["unchanged"] == found["remade"]
    begun = {"plan": PLAN, "remake": "3", "remake_scope": "only these", "remake_seed": 5}
    assert found["keys"] == [[texts, 3] for texts in (found["written"], begun, found["written"], found["remade"])]
    assert not any("scail2" in str(value) or "Segment" in str(value) for value in found["saved"])
    number, *shown = found["subgraph"]
    assert ":" in number
    assert shown == [False, True]
    assert found["listeners"] == 0


# A real run; the made-up events have shown the timeline in both renderers

SCENE = Scene(seed=5, frames=17, size=96)  # the smallest at which the miniature draws the figure
NEW = [slice(0, 9), slice(9, 13), slice(13, 17)]  # frames that the segments add
MARGIN = 3.0  # dB inside the figure over answers that need no model


@pytest.fixture(scope="module")
def watched(server):
    """The graph of a run with the miniature, as the page reads it, and the sampler's number."""
    add_models(server.base / "models")
    write_tensors(SCENE, server.base / "input/scene.safetensors")
    graph = Graph(server.base / "input/scene.safetensors")
    add_scene(graph, SCENE)
    add_sample_video(graph, load(graph, MODEL), segment_length=9, codec="h264")
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="timeline/video", format="auto", codec="auto")
    prompt, numbers = graph.numbered()
    return {"graph": prompt, "sampler": int(numbers["sampled"])}


@pytest.fixture(scope="module")
def run(page, watched, server):
    """What a page showed of a run, a remake of segment 2, and a run that was cancelled; with the two videos' frames."""
    for folder in ("scail2_jobs", "timeline"):
        shutil.rmtree(server.base / "output" / folder, ignore_errors=True)
    # a segment that is remade alone would be sampled twice, and go back to its first state
    found = page("timeline_run", **watched, slow={"seed": 4, "steps": 20, "remake": ""})
    videos = sorted(server.base.glob("output/timeline/*.mp4"))
    return found | {"videos": [assets.pictures_of(path) for path in videos]}


STATES = ["waiting", "encoding", "sampling", "decoding", "writing", "done"]


@vue_alone
def test_states_and_thumbnails_arrive_in_order(run):
    for segment in range(3):
        states = [now[segment][0] for now in run["seen"]]
        assert [state for state, _ in itertools.groupby(states)] == STATES
    assert all(thumbnail == (state == "done") for now in run["seen"] for state, thumbnail in now)
    assert all(now[segment][0] == "waiting" or now[segment - 1][0] in ("writing", "done")
               for now in run["seen"] for segment in (1, 2))
    assert run["done"]["line"] == "3 of 3 segments finished"
    assert ["seam" in text for text in run["seams"]] == [False, True, True]
    assert run["played"] == [SCENE.size, False]


@vue_alone
def test_thumbnails_show_the_segments(run):
    for blocks, video in ((run["done"], run["videos"][0]), (run["remade"], run["videos"][1])):
        for segment, block in enumerate(blocks["blocks"]):
            errors = [np.abs(frame - picture(block["thumbnail"])).mean() for frame in video.astype(float)]
            assert errors[NEW[segment].start] < 4, "levels of 255, from JPEG"
            assert np.argmin(errors) in range(17)[NEW[segment]]


def picture(address: str) -> np.ndarray:
    """An image from an address that holds it."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))), dtype=float)


@vue_alone
def test_videos_are_what_the_miniature_knows(run):
    trivial = max(answer["psnr_inside"] for answer in SCENE.trivial().values())
    for video in run["videos"]:
        assert SCENE.score(torch.from_numpy(video) / 255)["psnr_inside"] > trivial + MARGIN


@vue_alone
def test_remake_changes_only_its_segment(run, server):
    expected = {"plan": "", "remake": "2", "remake_scope": "only these", "remake_seed": 9}
    assert {name: run["remade"]["widgets"][name] for name in expected} == expected
    assert [block["state"] for block in run["remade"]["blocks"]] == ["kept", "done", "kept"]
    same = [block == old for block, old in zip(thumbnails(run["remade"]), thumbnails(run["done"]), strict=True)]
    assert same == [True, False, True]
    before, after = (video.astype(float) for video in run["videos"])
    change = np.abs(after - before).mean((1, 2, 3))
    assert np.all(change[NEW[0]] == 0)
    assert np.all(change[NEW[1]] > 0.5), "levels of 255"
    assert np.all(change[NEW[2]] == 0)


def thumbnails(shown: dict) -> list[str | None]:
    return [block["thumbnail"] for block in shown["blocks"]]


@vue_alone
def test_reload_restores_the_picture(run):
    before, after = run["before"]["blocks"], run["after"]["blocks"]
    assert run["running"] == 1
    for old, new in zip(before, after, strict=True):  # it went on meanwhile
        assert STATES.index(new["state"]) >= STATES.index(old["state"])
        assert bool(new["thumbnail"]) == (new["state"] == "done")
    assert before[0] == after[0]
    assert after[0]["state"] == "done"


@vue_alone
def test_cancel_shows(run):
    shown = run["cancelled"]
    assert shown["line"].endswith("of 3 segments finished, cancelled")
    assert "stopped" in [block["state"] for block in shown["blocks"]]
    assert not any(block["thumbnail"] for block in shown["blocks"] if block["state"] in ("stopped", "waiting"))
