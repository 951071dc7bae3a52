"""Rows without a workflow: equal to `scail2 generate`, with models that are loaded once; and their accidents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from scail_model.batch.failures import Kind
from scail_model.batch.flags import words
from scail_model.batch.folders import DONE, FAILED, BatchFolder
from scail_model.batch.manifest import Row
from scail_model.batch.row import run_row
from scail_model.headless import encoders
from scail_model.headless.device import machine
from scail_model.headless.kept_models import KeptModels
from scail_model.headless.rows import HeadlessSpec
from tests.demo import drawing

SIZE, FRAMES, FPS = (64, 64), 12, Fraction(30000, 1001)  # two segments
OTHER = {"--base_seed": 4, "--prompt": "another word"}
CPU, PACK = torch.device("cpu"), Path(__file__).parents[2]


@pytest.fixture(scope="module")
def row(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    job = drawing.write_job(folder, SIZE, FRAMES, tone=True, fps=FPS)
    return Row("a", "row 1", None, {
        "--ckpt_dir": str(models / "encoders"), "--scail_path": str(models / "transformer.safetensors"),
        **{f"--{name}": path.name for name, path in job.items()}, "--target_w": 64, "--target_h": 64,
        "--segment_len": 9, "--sample_steps": 2, "--base_seed": 3, "--prompt": "a figure waves", "--codec": "lossless",
    }, {}, "", folder)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    return BatchFolder(tmp_path_factory.mktemp("batch"))


@pytest.fixture(scope="module")
def engine(batch):
    engine = HeadlessSpec().build(("0",), batch)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def make(engine, batch):
    def make(row, hear=lambda position: None):
        return run_row(row, engine, batch.row(row.id), hear, smaller=False, price=3.6)

    return make


@pytest.fixture(scope="module")
def made(make, row):
    """Two rows, one after the other."""
    return make(row), make(with_values(row, "b", OTHER))


def with_values(row, id, values):
    return replace(row, id=id, values={**row.values, **values})


def generated(rows, folder):
    """The command's videos of rows, by id; made in a process of its own, as the tests' own computes with another
    library."""
    made = {row.id: folder / f"{row.id}.mp4" for row in rows}
    commands = [["generate", *words(row), f"--save_file={made[row.id]}"] for row in rows]
    code = f"from scail_model.headless.cli import main\nfor command in {commands!r}: assert main(command) == 0"
    subprocess.run([sys.executable, "-c", code], cwd=PACK, check=True)
    return made


def contents(path):
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        return frames.tobytes(), [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def lines(batch, id):
    told = map(json.loads, batch.row(id).path("events.ndjson").read_text().splitlines())
    return [about["text"] for about in told if about["event"] == "line"]


@pytest.mark.slow
def test_rows_are_what_the_command_makes(made, batch, row, tmp_path):
    assert [report.state for report in made] == [DONE, DONE], [report.error for report in made]
    for id, video in generated((row, with_values(row, "b", OTHER)), tmp_path).items():
        assert contents(batch.row(id).path("video.mp4")) == contents(video), id


def test_models_are_loaded_once(made, batch):
    loaded = {"loading the VAE", "loading the transformer"}
    assert loaded <= {line.split(", ")[-1] for line in lines(batch, "a")} | set(lines(batch, "a"))
    assert not any("loading" in line for line in lines(batch, "b"))
    assert "loading models" in made[0].last.stages
    assert "loading models" not in made[1].last.stages


@pytest.mark.parametrize(("gpus", "asked"), [((), False), (("0",), False), (("0", "3"), True)])
def test_a_row_uses_all_gpus_that_it_has(batch, gpus, asked):
    assert ("--gpus=all" in HeadlessSpec().build(gpus, batch).words(batch.row("a"))) == asked


def test_the_report(made, batch):
    report = made[0]
    facts = report.facts
    assert (facts.seed, facts.segments) == (3, {"total": 2, "kept": 0, "made": 2})
    assert (facts.frames, facts.sound) == ({"out": FRAMES, "in": FRAMES}, {"out": True, "in": True})
    assert facts.rate == {"out": str(FPS), "in": str(FPS)}
    assert set(facts.versions) >= {"scail2", "Python", "torch"}
    assert os.path.isdir(facts.job_folder)
    assert {"starting", "preparing", "encoding", "sampling", "decoding", "joining"} <= set(report.last.stages)
    folder = batch.row("a")
    assert json.loads(folder.path("check.json").read_text())["ok"] is True
    assert "2 segments" in folder.path("scail2.log").read_text()
    assert "starting" not in made[1].last.stages


@pytest.mark.parametrize(("id", "values", "kind", "text"), [
    ("size", {"--target_w": 65}, Kind.INPUTS, "scail2 generate: "),
    ("flag", {"--no_such_flag": 1}, Kind.INPUTS, "--no_such_flag"),
    ("gone", {"--ckpt_dir": "/nowhere"}, Kind.INPUTS, "/nowhere (--ckpt_dir) does not exist"),
])
def test_a_row_that_cannot_be_made_says_why(make, row, id, values, kind, text):
    report = make(with_values(row, id, values))
    assert (report.state, report.kind) == (FAILED, kind)
    assert text in report.error
    assert "\n" not in report.error


def test_a_draft_is_the_rows_video(make, batch, row):
    report = make(with_values(row, "draft", {"--draft": True, "--sample_steps": 4}))
    assert report.state == DONE, report.error
    assert batch.row("draft").state() == DONE
    assert not list(batch.row("draft").folder.glob("*draft*.mp4"))


@pytest.mark.slow  # its quick twins are in test_batch_engine.py and test_generate_resume.py
def test_a_killed_process_costs_one_segment_at_most(make, engine, batch, row, made):
    def kill(position):
        if (position.segment, position.step) == (2, 1) and engine._process is not None:
            os.kill(engine._process.process.pid, signal.SIGKILL)

    report = make(with_values(row, "killed", {"--base_seed": 5}), kill)
    assert (report.state, report.kind) == (FAILED, Kind.PROCESS)
    assert report.error.startswith("The command line was killed (signal 9) while it made the row")
    report = make(with_values(row, "killed", {"--base_seed": 5}))
    assert (report.state, report.last.kept, report.last.made) == (DONE, 1, 1)


def test_stopping_takes_less_than_a_second(make, engine, row):
    taken = []

    def stop(position):
        if position.step == 1 and not taken:
            started = time.monotonic()
            engine.stop()
            taken.append(time.monotonic() - started)

    report = make(with_values(row, "stopped", {"--base_seed": 6}), stop)
    assert report.kind is Kind.STOPPED
    assert taken[0] < 1


def test_encoders_are_loaded_once_where_they_are_kept(models, monkeypatch):
    files, loaded, original = encoders.find_encoders(models / "encoders"), [], encoders._load_transformers

    def load(path, *arguments):
        loaded.append(path.name)
        return original(path, *arguments)

    monkeypatch.setattr(encoders, "_load_transformers", load)
    tokens, pixels = encoders.tokenize(files, "a word", 512, ""), torch.zeros(1, 3, 224, 224)
    for kept, times in ((True, 1), (False, 2)):
        loaded.clear()
        keeper, results = KeptModels(encoders=kept), []
        for _ in range(2):
            with torch.inference_mode():
                results.append((*encoders.encode_texts(files, [tokens], CPU, torch.float32, keeper),
                                encoders.encode_clip(files, pixels, CPU, keeper)))
        assert sorted(loaded) == ["image_encoder"] * times + ["text_encoder"] * times
        assert all(map(torch.equal, *results))


def test_a_model_makes_room_for_another():
    keeper, lives = KeptModels(), []

    def load(name):
        def make():
            assert not lives  # the one before is gone by now
            network = torch.nn.Linear(1000, 1000)
            lives.append(name)
            weakref.finalize(network, lives.remove, name)
            return network

        return make

    first = keeper.of("transformer", "a", load("a"))
    assert keeper.of("transformer", "a", load("never")) is first
    assert keeper.held("cpu") == 4 * 1001000
    before = machine([CPU], timed=False).free_ram
    assert machine([CPU], keeper, timed=False).free_ram > before - 50_000_000
    del first
    keeper.of("transformer", "b", load("b"))
    assert lives == ["b"]
    keeper.give_up()
    assert lives == []

