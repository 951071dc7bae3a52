"""Rows made by a ComfyUI of the batch's own: equal to a graph that is posted by hand, models loaded once, and what
becomes of each accident."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace

import assets
import numpy as np
import pytest
import torch
from batch_rows import FRAMES, SEGMENTS, copy_files, requirements, spec, with_values, write_models, write_row

from scail_model.batch.failures import Kind
from scail_model.batch.folders import DONE, FAILED, BatchFolder
from scail_model.batch.row import run_row
from scail_model.files import prompts
from tests.demo import drawing


@pytest.fixture(scope="module")
def row(comfy, tmp_path_factory):
    written = write_models(comfy)
    spoilt = [[torch.full((1, 3, 4096), torch.nan), {}]]
    written.append(prompts.save(spoilt, comfy.base / "models/scail2_prompts", "spoilt", overwrite=True))
    yield write_row(tmp_path_factory.mktemp("rows"))
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    return BatchFolder(tmp_path_factory.mktemp("batch"))


@pytest.fixture(scope="module")
def engine(comfy, row, batch, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in requirements(tmp_path_factory.mktemp("requirements")).items():
            patch.setenv(name, value)
        engine = spec(comfy).build(("0",), batch)
        yield engine
        engine.stop()


@pytest.fixture(scope="module")
def make(engine, batch):
    """Make a row -> its report. hear: told of each position."""

    def make(row, hear=lambda position: None):
        return run_row(row, engine, batch.row(row.id), hear, smaller=False, price=3.6)

    return make


@pytest.fixture(scope="module")
def made(make, row):
    positions = []
    return make(row, positions.append), positions


@pytest.fixture(scope="module")
def by_hand(row, comfy):
    (saved,) = comfy.run(copy_files(row, comfy))["saved"]["images"]
    return comfy.base / "output" / saved["subfolder"] / saved["filename"]


def events(batch, row):
    return [json.loads(line) for line in batch.row(row.id).path("events.ndjson").read_text().splitlines()]


def same(video, other):
    return (np.array_equal(assets.pictures_of(video), assets.pictures_of(other))
            and assets.packets_of(video, "audio") == assets.packets_of(other, "audio"))


def test_a_row_is_what_the_same_graph_gives_by_hand(made, batch, row, by_hand):
    report, _ = made
    assert (report.state, report.error) == (DONE, None)
    assert same(batch.row(row.id).path("video.mp4"), by_hand)


def test_the_report_says_what_there_is_to_say(made, batch, row, engine):
    report, positions = made
    values = json.loads(batch.row(row.id).path("report.json").read_text())
    assert values == json.loads(json.dumps(report.values()))
    rate = str(drawing.FPS)
    assert {name: values[name] for name in ("state", "seed", "frames", "rate", "sound", "segments")} == {
        "state": "done", "seed": 3, "frames": {"in": FRAMES, "out": FRAMES}, "rate": {"in": rate, "out": rate},
        "sound": {"in": True, "out": True}, "segments": {"total": SEGMENTS, "kept": 0, "made": SEGMENTS}}
    assert {"starting", "loading models", "encoding", "sampling", "decoding", "joining"} <= set(values["stages"])
    assert sum(values["stages"].values()) == pytest.approx(values["gpu_seconds"], abs=0.5)
    assert values["cost"] == pytest.approx(values["gpu_seconds"] / 1000, abs=1e-4)  # 3.6 an hour
    assert set(values["versions"]) >= {"scail2", "ComfyUI", "Python", "torch"}
    assert [seam["segment"] for seam in values["seams"]] == [2, 3]
    assert os.path.isdir(values["job_folder"])
    assert len(values["inputs"]) == 4
    (attempt,) = values["attempts"]
    assert (attempt["gpus"], attempt["made"], attempt["engine"]) == (["0"], SEGMENTS, "comfyui")
    assert [at for at in positions if (at.segment, at.segments, at.step, at.steps) == (2, SEGMENTS, 2, 2)]
    folder = batch.row(row.id)
    assert json.loads(folder.path("check.json").read_text())["ok"] is True
    assert json.loads(folder.path("workflow_api.json").read_text())["sampled"]["inputs"]["seed"] == 3
    assert "got prompt" in folder.path("comfyui.log").read_text()


def test_the_next_row_loads_no_model_again(made, make, batch, row):
    other = with_values(row, "other", SCAIL2SampleVideo__seed=4)
    report = make(other)
    assert (report.state, report.facts.seed, report.facts.segments["made"]) == (DONE, 4, SEGMENTS)
    log = batch.row("other").path("comfyui.log").read_text()
    assert "SCAIL-2: segment 3 of 3" in log
    assert "oaded completely" not in log
    assert "Starting server" not in log
    assert "starting" not in report.attempts[-1].stages
    pictures = [assets.pictures_of(batch.row(name).path("video.mp4")) for name in ("made", "other")]
    assert not np.array_equal(*pictures)


@pytest.mark.parametrize(("id", "values", "kind", "text"), [
    ("odd", {"SCAIL2EncodeReference__width": 90}, Kind.INPUTS, "width is 90"),
    ("refused", {"SCAIL2SampleVideo__steps": 0}, Kind.INPUTS, "ComfyUI refuses steps of Sampled"),
    ("spoilt", {"Positive__file": "spoilt.safetensors"}, Kind.NAN, "NaN or infinite values after step 1 of 2"),
    ("lost", {"VAELoader__vae_name": "gone.safetensors"}, Kind.INPUTS, "ComfyUI refuses vae_name of Vae"),
])
def test_a_row_that_cannot_be_made_says_why(made, make, row, id, values, kind, text):
    report = make(with_values(row, id, **values))
    assert (report.state, report.kind) == (FAILED, kind)
    assert text in report.error
    assert "\n" not in report.error


def test_a_killed_comfyui_costs_one_segment(make, engine, batch, row, by_hand):
    slow = with_values(row, "killed", TestSlowSampler__sleep=1.0)

    def kill(position):
        if (position.segment, position.stage) == (3, "sampling"):
            os.kill(engine._process.process.pid, signal.SIGKILL)

    report = make(slow, kill)
    assert (report.state, report.kind) == (FAILED, Kind.PROCESS)
    assert report.error.startswith("ComfyUI was killed (signal 9)")
    assert report.last.made >= 1  # the second one's file may be written or not
    report = make(slow)
    assert (report.state, len(report.attempts)) == (DONE, 2)
    assert report.last.kept >= 1
    assert report.last.kept + report.last.made == SEGMENTS
    told = events(batch, slow)
    again = [number for number, about in enumerate(told) if about["event"] == "attempt"][1]
    assert [about["segment"] for about in told[again:] if about["event"] == "progress" and about.get("step") == 0
            and about.get("segment")] == [SEGMENTS] * 2  # encoded and sampled: only what was missing
    assert same(batch.row("killed").path("video.mp4"), by_hand)


def test_stopping_takes_less_than_a_second(make, engine, row):
    taken = []

    def stop():
        started = time.monotonic()
        engine.stop()
        taken.append(time.monotonic() - started)

    def hear(position):
        if (position.segment, position.stage) == (1, "sampling") and not threads:
            threads.append(threading.Thread(target=stop))
            threads[0].start()

    threads: list[threading.Thread] = []
    report = make(with_values(row, "stopped", TestSlowSampler__sleep=30.0), hear)
    threads[0].join()
    assert (report.kind, report.last.counts) == (Kind.STOPPED, False)
    assert taken[0] < 1


@pytest.mark.slow  # its quick twin is in test_comfy_process.py
def test_a_silent_comfyui_is_given_up(make, engine, row):
    engine.spec = replace(engine.spec, hung=3.0)
    report = make(with_values(row, "hung", TestSlowSampler__sleep=60.0, TestSlowSampler__silence=60.0))
    assert (report.state, report.kind) == (FAILED, Kind.PROCESS)
    assert "said nothing for 3 s" in report.error
    assert engine._process is None
