"""`scail2 generate` that is broken off, disturbed or shut out: nothing finished is lost, and the result is the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from test_generate import command

from scail_model.headless import terminal
from scail_model.headless.cli import main
from tests.demo import drawing
from tests.demo.faster import FASTER

ROOT = Path(__file__).parents[2]
# as this process computes; bytes are compared
ALIKE = {**FASTER, **os.environ}
PROGRAM = """import sys, torch
from scail_model.headless.cli import main
from tests.demo.faster import take_onednn
torch.set_num_threads(1)
take_onednn()
sys.exit(main(sys.argv[1:]))"""
SIZE, FRAMES = (64, 64), 13  # two segments of 9 that share 5


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), SIZE, FRAMES, tone=True, fps=Fraction(16))


@pytest.fixture(scope="module")
def undisturbed(models, job, tmp_path_factory):
    """The bytes of a run that nothing happens to."""
    out = tmp_path_factory.mktemp("undisturbed") / "result.mp4"
    assert main(command(models, job, out, sample_steps=1)) == 0
    return out.read_bytes()


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "result.mp4"


def killed(moment: str, argv: list) -> tuple[list[int], str]:
    """How runs that are killed end (see killed_runs.py), and what they printed."""
    run = subprocess.run([sys.executable, Path(__file__).with_name("killed_runs.py"), moment, *map(str, argv)],
                         cwd=ROOT, env=ALIKE, capture_output=True, text=True, timeout=300)
    *printed, ends = run.stdout.splitlines()
    return list(map(int, ends.split()[1:])), "\n".join(printed)


def test_killed_between_any_two_files_and_run_again_it_gives_the_same_bytes(models, job, out, undisturbed):
    ends, _ = killed("files", command(models, job, out, sample_steps=1))
    assert ends[-1] == 0
    assert len(ends) > 4
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert out.read_bytes() == undisturbed
    assert not list(out.parent.rglob("*.part"))


def test_killed_while_it_samples_it_goes_on_with_the_seed_that_it_drew(models, job, out, capsys):
    argv = command(models, job, out, sample_steps=1, base_seed=-1)
    ends, printed = killed("step", argv)
    assert ends == [-signal.SIGKILL]
    drawn = printed.split("seed ")[1].split()[0]
    assert main(argv) == 0
    assert f"seed {drawn}\n" in capsys.readouterr().out
    again = out.with_name("again.mp4")
    assert main(command(models, job, again, sample_steps=1, base_seed=drawn)) == 0
    assert "2 of 2 segments were already finished" in capsys.readouterr().out
    assert again.read_bytes() == out.read_bytes()
    # a finished run has nothing left to go on with
    assert main(command(models, job, out.with_name("new.mp4"), sample_steps=1, base_seed=-1)) == 0
    assert f"seed {drawn}\n" not in capsys.readouterr().out


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_real_process_stops_at_once_and_says_how_to_go_on(models, job, out, undisturbed, stop):
    argv = command(models, job, out, sample_steps=1)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *argv], cwd=ROOT, env=ALIKE, stderr=subprocess.PIPE,
                          text=True) as run:
        while not list(out.parent.rglob("0001-*.latent.safetensors")):
            time.sleep(0.02)
            assert run.poll() is None
        run.send_signal(stop)
        message = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert message.splitlines()[-1].startswith("scail2: interrupted; finished segments are kept")
    assert main(argv) == 0
    assert out.read_bytes() == undisturbed


def test_a_second_run_to_one_output_is_refused_and_disturbs_nothing(models, job, out, undisturbed, capsys, monkeypatch):
    seen = []

    def another(self, *arguments):
        """In the middle of the first run: once to the same output, once to make the same video elsewhere."""
        if not seen:
            for target in (out, out.with_name("other.mp4")):
                run = subprocess.run([sys.executable, "-c", PROGRAM, *command(models, job, target, sample_steps=1)],
                                     cwd=ROOT, env=ALIKE, capture_output=True, text=True)
                seen.append((run.returncode, run.stderr.splitlines()[-1]))

    monkeypatch.setattr(terminal.Terminal, "step", another)
    assert main(command(models, job, out, sample_steps=1)) == 0
    assert [code for code, _ in seen] == [1, 1]
    (job_folder,) = (out.parent / "scail2_jobs").iterdir()
    assert [text.split(" (")[0] for _, text in seen] == [
        f"scail2: Another run is writing {out}",
        f"scail2: Another run is making this video in {job_folder}: wait for it, or stop it"]
    assert all(f"(process {os.getpid()} on {socket.gethostname()}, since 20" in text for _, text in seen)
    assert out.read_bytes() == undisturbed
    assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.json", "scail2_jobs"}


@pytest.mark.parametrize(("name", "text"), [
    ("a:b.mp4", "colon"), (f"{'n' * 260}.mp4", "cannot be written"), ("missing/a.mp4", "does not exist"),
    ("folder.mp4", "exists"), ("dangling.mp4", "exists"),
])
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(models, out, capsys, name, text):
    (out.parent / "folder.mp4").mkdir()
    (out.parent / "dangling.mp4").symlink_to("nowhere")
    before = sorted(out.parent.iterdir())
    argv = command(models, {"image": "none", "mask_image": "none", "pose": "none", "mask_video": "none"},
                   out.parent / name, ckpt_dir="none")
    assert main(argv) == 1
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1
    assert sorted(out.parent.iterdir()) == before


def test_a_disk_without_room_is_refused_before_a_model_is_loaded(models, job, out, capsys, monkeypatch):
    from scail_model.headless import host, output

    monkeypatch.setattr(output.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10_000})())
    monkeypatch.delattr(host, "VAE")
    assert main(command(models, job, out)) == 1
    assert "choose another disk with --job_dir" in capsys.readouterr().err
    assert not list(out.parent.iterdir())


def test_one_segment_is_made_again_alone_with_a_plan_and_cuts(models, job, out, capsys):
    settings = {"sample_steps": 1, "scene_cuts": "9", "codec": "lossless", "colour_match": "overlap",
                "segment_overlap": 1, "job_dir": out.parent / "jobs"}
    assert main(command(models, job, out, **settings)) == 0
    changed = out.with_name("changed.mp4")
    assert main(command(models, job, changed, **settings, remake="2", remake_scope="only these",
                        plan='[{"segments": "2", "driving_strength": 0.5}]')) == 0
    assert "1 of 2 segments were already finished" in capsys.readouterr().out
    assert changed.read_bytes() != out.read_bytes()
    wrong = '[{"segments": "9", "seed": 1}]'
    assert main(command(models, job, out.with_name("wrong.mp4"), **settings, plan=wrong)) == 1
    assert "there are 1 to 2" in capsys.readouterr().err


def test_check_says_everything_and_loads_nothing(models, job, out, capsys, monkeypatch):
    from scail_model.headless import host

    for name in ("VAE", "encode_texts", "encode_clip"):
        monkeypatch.delattr(host, name)
    argv = ["check", *command(models, job, out)[1:]]
    assert main(argv) == 0
    report = capsys.readouterr().out
    for part in ("Warnings (", "no LoRA", "mode: animation; 13 driving frames", "result: 13 frames of 64x64, in 2"):
        assert part in report
    assert main([*argv, "--json", "--plan", "[{]"]) == 1
    assert '"ok": false' in capsys.readouterr().out
    out.write_bytes(b"precious")
    assert main(argv) == 1
    assert "exists: choose another name" in capsys.readouterr().err


def test_the_plan_chooses_another_reference_by_number(models, job, out, capsys, tmp_path):
    other = drawing.write_job(tmp_path / "other", SIZE, 1, seed=5)
    given = {"sample_steps": 1, "plan_image": other["image"], "plan_mask_image": other["mask_image"]}
    assert main(command(models, job, out, **given)) == 0
    chosen = out.with_name("chosen.mp4")
    assert main(command(models, job, chosen, **given, plan='[{"segments": "2", "reference": 2}]')) == 0
    assert "1 of 2 segments were already finished" in capsys.readouterr().out
    assert chosen.read_bytes() != out.read_bytes()
    assert main(command(models, job, out.with_name("third.mp4"), **given, plan='[{"reference": 3}]')) == 1
    assert "chooses reference 3, but there are 2" in capsys.readouterr().err
    del given["plan_mask_image"]
    assert main(command(models, job, out.with_name("mask.mp4"), **given)) == 1
    assert "1 references for the plan and 0 masks" in capsys.readouterr().err
