"""Two ComfyUIs with one output folder: one makes the video, the other waits for it. The quick twin, without ComfyUI, is
`tests/unit/test_two_hosts.py`."""

from __future__ import annotations

import time

import assets
import pytest
from comfyui import ComfyUI
from test_doors import QUICK, node, shrunk
from test_runs import FRAMES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def second(server, tmp_path_factory):
    base = tmp_path_factory.mktemp("second")
    for folder in ("models", "input", "output"):
        (base / folder).symlink_to(server.base / folder)
    with ComfyUI(base) as process:
        yield process


def slow(server, **inputs) -> dict:
    """A workflow that samples for some time. Without a sampler of the test pack, whose path is in the job's key."""
    prompt = shrunk(server, QUICK)
    prompt[node(prompt, "SCAIL2SampleVideo")]["inputs"] |= {"steps": 150, **inputs}
    return prompt


def record_of(server, entry: dict, prompt: dict) -> dict:
    return entry["outputs"][node(prompt, "SCAIL2SampleVideo")]


def test_the_second_one_waits_and_finds_everything_finished(server, second):
    prompt = slow(server, seed=time.time_ns())
    first = server.queue(prompt)
    job = until_locked(server)
    with second.listen() as listener:
        other = second.queue(prompt, client_id=listener.client_id)
        _, binary = listener.until_done(other)
    heard = [message[8 + int.from_bytes(message[4:8], "big"):].decode(errors="replace") for message in binary]
    assert any(text.startswith("Another run is making this video in ") and f"(process {server.process.pid} on " in text
               for text in heard)
    entries = [server.wait(first), second.wait(other)]
    assert [entry["status"]["status_str"] for entry in entries] == ["success"] * 2
    assert ", 2 of them already finished, " in record_of(second, entries[1], prompt)["text"][0]
    videos = {record_of(server, entry, prompt)["scail2_files"][0]["filename"] for entry in entries}
    assert len(videos) == 1
    assert assets.probe(job / videos.pop())["frames"] == FRAMES
    assert [path for path in job.iterdir() if path.name.startswith(".")] == []


def test_what_one_of_them_hands_on_is_not_removed_by_the_other(server, second):
    """jobs_limit of the second one is reached while the first one's Save Video has not read its video yet."""
    prompt = shrunk(server, QUICK)
    prompt[node(prompt, "SCAIL2SampleVideo")]["inputs"] |= {"seed": time.time_ns()}
    # handed on after another node's sleep
    prompt["slow"] = {"class_type": "TestSleep", "inputs": {"video": [node(prompt, "SCAIL2SampleVideo"), 0],
                                                            "seconds": 15.0}}
    prompt[node(prompt, "SaveVideo")]["inputs"]["video"] = ["slow", 0]
    first = server.queue(prompt)
    job = until_finished(server, prompt)
    clear = {"clear": {"class_type": "SCAIL2Jobs", "inputs": {"action": "clear finished", "job": job.name}},
             "shown": {"class_type": "PreviewAny", "inputs": {"source": ["clear", 0]}}}
    assert "another run still reads its video" in second.run(clear)["shown"]["text"][0]
    assert server.wait(first)["status"]["status_str"] == "success"
    until(lambda: not list((server.base / "output/scail2_jobs").glob(".reader-*")))
    assert f"removed {job.name}" in second.run(clear | {"again": clear["clear"]})["shown"]["text"][0]


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def until_locked(server):
    found = []
    until(lambda: found.extend((server.base / "output/scail2_jobs").glob("*/.lease")) or found)
    return found[0].parent


def until_finished(server, prompt):
    jobs = server.base / "output/scail2_jobs"
    before = {path.parent for path in jobs.glob("*/video-*.mp4")}
    found = []
    until(lambda: found.extend({path.parent for path in jobs.glob("*/video-*.mp4.json")} - before) or found)
    return found[0]
