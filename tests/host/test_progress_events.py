"""What programs and the page hear of a run: events, and a route that has all of them."""

import json
import shutil

import pytest
from graphs import add_inputs, add_sample_video, load

FRAMES, LENGTH = 17, 9  # three segments
ORDER = ("waiting", "encoding", "sampling", "decoding", "writing", "done")


@pytest.fixture
def followed(comfy, graph):
    """followed(then=None, **options) -> the events of a run, and what the route says of it afterwards."""
    shutil.rmtree(comfy.base / "output/scail2_jobs", ignore_errors=True)
    add_inputs(graph, frames=FRAMES)

    def run(then=None, **options):
        add_sample_video(graph, load(graph), **({"segment_length": LENGTH, "codec": "h264"} | options))
        graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="events", format="auto", codec="auto")
        with comfy.listen() as listener:
            prompt = comfy.queue(graph, client_id=listener.client_id, extra_data={
                "extra_pnginfo": {"workflow": {"id": "the-workflow"}}})
            messages, _ = listener.until_done(prompt, then)
        events = [message["data"] for message in messages if message["type"] == "scail2.progress"]
        (known,) = (run for run in comfy.get("/scail2/progress")["runs"] if run["prompt_id"] == prompt)
        return events, known

    return run


def test_events_add_up_to_what_the_route_says(followed):
    events, known = followed()
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    told, states = [{} for _ in range(3)], [[] for _ in range(3)]
    for event in events:
        assert len(json.dumps(event)) < 8000
        assert {key: event[key] for key in ("prompt_id", "node", "workflow", "count")} == {
            "prompt_id": known["prompt_id"], "node": "sampled", "workflow": "the-workflow", "count": 3}
        for segment in event["segments"]:
            told[segment["index"]] |= segment
            states[segment["index"]] += [segment["state"]] if "state" in segment else []
    assert states == [list(ORDER)] * 3
    for segment, whole in zip(told, known["segments"], strict=True):
        assert segment | {"seam": whole["seam"]} == whole  # the last verdict comes when it is there
    assert (events[-1]["state"], known["state"], known["left"]) == ("done", "done", 0)
    assert [(segment["start"], segment["stop"]) for segment in told] == [(0, 9), (4, 13), (8, 17)]
    assert all(segment["thumbnail"].startswith("data:image/jpeg;base64,") for segment in told)
    assert all(0 < segment["seconds"] < 60 for segment in told)
    assert [segment["step"] for segment in known["segments"]] == [2, 2, 2]


def test_parts_can_be_had(followed, comfy):
    _, known = followed()
    for segment in known["segments"]:
        part = segment["part"]
        assert (comfy.base / part["type"] / part["subfolder"] / part["filename"]).stat().st_size > 100


def test_kept_segments_are_told(followed):
    followed()
    _, known = followed(quality=14, jobs_limit=50.0)
    assert [segment["state"] for segment in known["segments"]] == ["kept"] * 3
    assert [segment["seconds"] for segment in known["segments"]] == [None] * 3


def test_cancelled(followed, comfy):
    events, known = followed(lambda: comfy.post("/interrupt", {}), steps=200)
    assert (events[-1]["state"], known["state"], known["left"]) == ("cancelled", "cancelled", None)
    assert known["segments"][0]["state"] == "sampling"


def test_failed(followed, comfy):
    followed()
    (folder,) = comfy.base.glob("output/scail2_jobs/*/job.json")
    (damaged,) = folder.parent.glob("0002-*.latent.safetensors")
    damaged.write_bytes(b"damaged")
    next(folder.parent.glob("0002-*.mp4")).unlink()
    events, known = followed(quality=15)
    assert (events[-1]["state"], known["state"]) == ("failed", "failed")


def test_a_copy_in_a_loop_is_heard_of_at_the_visible_node(comfy, graph):
    """As loops of newer versions run their body: under a number that the page does not know, shown by another node."""
    add_inputs(graph, frames=9)
    add_sample_video(graph, load(graph))
    links = {name: value for name, value in graph.pop("sampled")["inputs"].items() if isinstance(value, list)}
    graph.add("sampled", "TestExpandedSample", shown="file", **links)
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="events", format="auto", codec="auto")
    with comfy.listen() as listener:
        prompt = comfy.queue(graph, client_id=listener.client_id)
        messages, binary = listener.until_done(prompt)
    events = [message["data"]["node"] for message in messages if message["type"] == "scail2.progress"]
    assert set(events) == {"file"}
    executed = [message["data"] for message in messages if message["type"] == "executed"
                and "scail2_plan" in (message["data"]["output"] or {})]
    assert [data["display_node"] for data in executed] == ["file"]
    texts = [message for message in binary if b"segment 1 of 1" in message]
    assert texts
    assert all(b"file" in message[:20] for message in texts)
