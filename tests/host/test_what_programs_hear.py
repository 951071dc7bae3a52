"""Signs of life within a step, and what /history, and a file beside the video, tell of a finished run."""

import json

import pytest
from graphs import Graph, add_inputs, add_sample_video, load

TEXT = 3  # first bytes of a binary message
SLEEP, SILENCE = 1.5, 0.2  # seconds


@pytest.fixture(scope="module")
def heard(comfy):
    """Texts, messages and the history of a run whose sampling is silent for a while before each segment."""
    graph = add_inputs(Graph(comfy.images), frames=13)
    slow = graph.add("slow", "TestSlowSampler", sleep=SLEEP, silence=SILENCE)
    add_sample_video(graph, load(graph), segment_length=9, sampler=slow)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    graph.add("segments", "PreviewAny", source=["sampled", 2])
    try:
        with comfy.listen() as listener:
            prompt = comfy.queue(graph, client_id=listener.client_id)
            messages, binary = listener.until_done(prompt)
    finally:
        usual = Graph(comfy.images)
        usual.add("usual", "TestSlowSampler", sleep=0.0, silence=15.0)
        comfy.run(usual)
    texts = [message[8 + int.from_bytes(message[4:8], "big"):].decode() for message in binary
             if int.from_bytes(message[:4], "big") == TEXT]
    return texts, messages, comfy.get(f"/history/{prompt}")[prompt]["outputs"]


def test_a_long_step_is_not_silent(heard):
    texts, _, _ = heard
    for segment in (1, 2):
        during = [text for text in texts if text.startswith(f"segment {segment} of 2, sampling")]
        assert len([text for text in during if "since then" in text]) >= 3
    assert texts[-1].startswith("finished in ")


def test_programs_that_wait_for_their_own_run_hear_of_a_long_step_too(heard):
    """Events go to all, texts only to the program whose run it is."""
    _, messages, _ = heard
    nothing_new = [message for message in messages if message["type"] == "scail2.progress"
                   and message["data"]["state"] == "running" and not message["data"]["segments"]]
    assert len(nothing_new) >= 3


def test_history_has_report_and_files(heard, comfy):
    _, messages, outputs = heard
    assert outputs["sampled"]["text"] == outputs["report"]["text"]
    video, record = outputs["sampled"]["scail2_files"]
    paths = [comfy.base / file["type"] / file["subfolder"] / file["filename"] for file in (video, record)]
    assert paths[1].name == f"{paths[0].name}.json"
    assert paths[0].stat().st_size > 1000
    (executed,) = (message["data"] for message in messages
                   if message["type"] == "executed" and message["data"]["node"] == "sampled")
    assert executed["output"]["scail2_files"] == [video, record]


def test_the_record_beside_the_video(heard, comfy):
    *_, outputs = heard
    file = outputs["sampled"]["scail2_files"][1]
    record = json.loads((comfy.base / file["type"] / file["subfolder"] / file["filename"]).read_text())
    assert record["video"] == str(comfy.base / "output" / file["subfolder"] / outputs["sampled"]["scail2_files"][0][
        "filename"])
    assert "\n".join(record["report"]) == outputs["report"]["text"][0]
    assert record["job_folder"] in record["report"][-3]
    assert record["segments"] == json.loads(outputs["segments"]["text"][0])
    assert record["check"]["ok"] is True
    assert {"segments", "sampling"} <= {fact["code"] for fact in record["check"]["facts"]}
