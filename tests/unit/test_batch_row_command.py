"""`scail2 batch row`: a row by the rules of a batch, without Ray; with an engine that fails as it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scail_model.batch import events
from scail_model.batch.engine import Result
from scail_model.batch.failures import Kind, RowError
from scail_model.batch.folders import BatchFolder
from scail_model.headless import batch_row
from scail_model.headless.cli import main
from tests.demo import drawing

PACK = Path(__file__).parents[2]


class Engine:
    """script: what each attempt raises, None for a video."""

    name, gpus = "scripted", ("0",)

    def __init__(self, *script):
        self.script, self.asked, self.stops = list(script), [], 0

    def fault(self):
        return None

    def build(self, gpus, batch):
        return self

    def start(self, tell):
        tell(events.event(events.STAGE, stage=events.STARTING))

    def run(self, row, folder, tell, *, smaller):
        self.asked.append(smaller)
        if (error := self.script.pop(0)) is not None:
            raise error
        folder.path("video.mp4").write_bytes(b"video")
        return Result(folder.path("video.mp4"))

    def stop(self):
        self.stops += 1


@pytest.fixture
def manifest(models, tmp_path):
    job = drawing.write_job(tmp_path, (64, 64), 9)
    values = {"--ckpt_dir": str(models / "encoders"), "--scail_path": str(models / "transformer.safetensors"),
              **{f"--{name}": path.name for name, path in job.items()}, "--target_w": 64, "--target_h": 64}
    rows = [{"id": "a", "--base_seed": 1, "smaller": {"--target_w": 32}}, {"id": "b"}, {"id": "bad", "--target_w": 65}]
    path = tmp_path / "batch.json"
    path.write_text(json.dumps({"defaults": values, "rows": rows}))
    return path


@pytest.fixture
def run(manifest, monkeypatch, tmp_path):
    """Run the command with an engine of this script -> its exit code and the engine."""
    monkeypatch.setattr(batch_row.time, "sleep", lambda seconds: None)

    def run(id, *script, arguments=()):
        engine = Engine(*script)
        monkeypatch.setattr(batch_row, "spec_of", lambda row, arguments: engine)
        return main(["batch", "row", str(manifest), id, *arguments]), engine

    return run


def error(kind):
    return RowError(kind, f"It is {kind.value}: do something.")


# what the attempts of a row with smaller values end with: exit code, which of them had these values
SCRIPTS = {
    "done": ([None], 0, [False]),
    "a process that died": ([error(Kind.PROCESS), None], 0, [False, False]),
    "a process that dies again and again": ([error(Kind.PROCESS)] * 3, 1, [False] * 3),
    "out of memory": ([error(Kind.MEMORY), None], 0, [False, True]),
    "out of memory with smaller values": ([error(Kind.MEMORY)] * 2, 1, [False, True]),
    "NaN": ([error(Kind.NAN)] * 2, 1, [False] * 2),
    "a full disk": ([error(Kind.DISK), None], 0, [False] * 2),
    "wrong inputs": ([error(Kind.INPUTS)], 1, [False]),
}


@pytest.mark.parametrize(("script", "code", "smaller"), SCRIPTS.values(), ids=SCRIPTS)
def test_attempts(run, capsys, manifest, script, code, smaller):
    found, engine = run("a", *script)
    assert (found, engine.asked, engine.script) == (code, smaller, [])
    assert engine.stops >= 1
    told = capsys.readouterr()
    report = BatchFolder(manifest.with_suffix("")).row("a").report()
    assert len(report.attempts) == len(script)
    if code:
        assert f"scail2: Row a failed: {report.error}" in told.err
    else:
        assert "wrote" in told.out


def test_a_finished_row_is_not_made_again(run, capsys):
    run("b", None)
    code, engine = run("b")
    assert (code, engine.asked) == (0, [])
    assert "is done already" in capsys.readouterr().out


def test_a_failed_row_has_all_attempts_again(run):
    assert run("b", *[error(Kind.PROCESS)] * 3)[0] == 1
    assert run("b", error(Kind.PROCESS), error(Kind.PROCESS), None)[0] == 0


def test_the_report_of_a_row_that_another_one_makes_is_left_alone(run, manifest, capsys):
    run("b", error(Kind.INPUTS))
    folder = BatchFolder(manifest.with_suffix("")).row("b")
    before = folder.report()
    with folder.locked():
        assert run("b")[0] == 1
    assert "Another run is making row b" in capsys.readouterr().err
    assert folder.report() == before


def test_other_inputs_under_the_same_id(run, capsys, manifest):
    run("b", None)
    text = manifest.read_text()
    manifest.write_text(text.replace('{"id": "b"', '{"id": "b", "--base_seed": 9'))
    code, engine = run("b")
    assert (code, engine.asked) == (1, [])
    assert "--base_seed was not given, now 9" in capsys.readouterr().err
    assert run("b", None, arguments=("--replace",))[0] == 0
    assert (manifest.with_suffix("") / "replaced/b.1/video.mp4").is_file()


@pytest.mark.parametrize(("id", "text"), [("bad", "width is 65"), ("c", "has no row c: its rows are a, b, bad")])
def test_what_cannot_be_made(run, capsys, id, text):
    code, engine = run(id)
    assert (code, engine.asked) == (1, [])
    assert text in capsys.readouterr().err


def test_a_stopped_task(run, manifest):
    assert run("b", KeyboardInterrupt())[0] == 130
    assert BatchFolder(manifest.with_suffix("")).row("b").report().kind is Kind.STOPPED
    assert run("b", None)[0] == 0


def test_ray_is_not_needed():
    code = "import sys; import scail_model.headless.batch_row; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACK).returncode == 0
