"""Videos with sparse attention: a segment that is made later, again or alone is what it would have been, because its
calibration is kept; and what is told of the errors. The network is tiny, attention is its definition in PyTorch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from test_generate import command

from scail_model.headless import host as host_module
from scail_model.headless import terminal
from scail_model.headless.cli import main
from scail_model.kernels.precision import FAST
from scail_model.sparse.report import lines
from scail_model.sparse.settings import SparseSettings
from scail_model.video.options import VideoOptions
from tests.demo import drawing

SIZE, FRAMES = (256, 256), 17  # three segments of 9 that share 5, of 1216 tokens each
SETTINGS = {"precision": FAST, "target_w": SIZE[0], "target_h": SIZE[1], "sample_steps": 2, "sample_guide_scale": 1.0,
            "sparse_density": 0.15, "sparse_error": 0.3}


class PooledVAE:
    """In the place of Wan's, which would take minutes at this size: means of 8x8 pixels of every fourth frame."""

    def __init__(self, files, device, gpus=()) -> None:
        pass

    def encode(self, pixels: torch.Tensor, check=None) -> torch.Tensor:
        return F.avg_pool2d(pixels[::4] * 2 - 1, 8).movedim(0, 1).repeat(6, 1, 1, 1)[None, :16]

    def decode(self, latent: torch.Tensor, check=None) -> torch.Tensor:
        frames = torch.cat((latent[0, :3, :1], latent[0, :3, 1:].repeat_interleave(4, 1)), 1).movedim(1, 0)
        return F.interpolate((frames / 2 + 0.5).clamp(0, 1), scale_factor=8)

    def normalised(self, latent: torch.Tensor) -> torch.Tensor:
        return latent

    denormalised = normalised


@pytest.fixture(scope="module", autouse=True)
def pooled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_module, "VAE", PooledVAE)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), SIZE, FRAMES)


@pytest.fixture(scope="module")
def made(models, job, tmp_path_factory):
    """A folder with a finished video."""
    folder = tmp_path_factory.mktemp("made")
    assert main(command(models, job, folder / "video.mp4", **SETTINGS)) == 0
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be changed."""
    shutil.copytree(made, tmp_path / "copied")
    return tmp_path / "copied"


def run(models, job, folder: Path, **changes) -> int:
    return main(command(models, job, folder / "video.mp4", **{**SETTINGS, "overwrite": True, **changes}))


def files(folder: Path, pattern: str) -> list[Path]:
    """Of all jobs in a folder, by segment."""
    return sorted(folder.glob(f"scail2_jobs/*/{pattern}"))


def latents(folder: Path) -> list[torch.Tensor]:
    return [load_file(path)["samples"] for path in files(folder, "*.latent.safetensors")]


def forget(folder: Path, segment: int) -> None:
    """All that a job keeps of a segment, from 1."""
    for path in files(folder, f"{segment:04}-*"):
        path.unlink()


def calibration(path: Path) -> dict:
    return json.loads(path.read_text())["calibration"]


def test_stopped_in_the_second_segment_it_goes_on_to_the_same_bits(models, job, made, tmp_path, monkeypatch):
    def stop(terminal, segment, *_):
        if segment == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(terminal.Terminal, "step", stop)
        assert run(models, job, tmp_path) == 130
    assert len(files(tmp_path, "*.sparse.json")) == 1
    assert run(models, job, tmp_path) == 0
    assert all(map(torch.equal, latents(tmp_path), latents(made)))
    ours, theirs = (json.loads((folder / "video.mp4.json").read_text())["sparse"] for folder in (tmp_path, made))
    assert ours == theirs


@pytest.mark.parametrize("segment", [1, 2])
def test_a_segment_that_is_lost_is_made_again_to_the_bit(models, job, made, copied, segment):
    forget(copied, segment)
    assert run(models, job, copied) == 0
    assert all(map(torch.equal, latents(copied), latents(made)))
    assert [path.read_bytes() for path in files(copied, "*.sparse.json")] == [
        path.read_bytes() for path in files(made, "*.sparse.json")]


def test_later_segments_begin_with_what_the_first_has_found(models, job, made, copied):
    """As it is in its file."""
    forget(copied, 3)
    first, second, *_ = files(copied, "*.sparse.json")
    values = json.loads(second.read_text())
    values["calibration"] = everything(values["calibration"])
    second.write_text(json.dumps(values))
    assert run(models, job, copied) == 0
    assert torch.equal(latents(copied)[2], latents(made)[2])  # what the second has found counts for nobody else
    forget(copied, 3)
    values = json.loads(first.read_text())
    values["calibration"] = everything(values["calibration"])
    first.write_text(json.dumps(values))
    assert run(models, job, copied) == 0
    assert not torch.equal(latents(copied)[2], latents(made)[2])
    errors = json.loads((copied / "video.mp4.json").read_text())["sparse"]
    assert errors[0]
    assert not errors[2]  # nothing is left out


def everything(values):
    """A calibration by which all layers compute all of their attention."""
    return {**values, "densities": dict.fromkeys(values["densities"], 1.0)}


def test_a_segment_that_is_remade_alone_begins_with_the_same(models, job, made, copied):
    for number in (1, 2):  # the first one too, although it calibrates
        kept = files(made, f"{number:04}-*.sparse.json")
        assert run(models, job, copied, remake=str(number), remake_scope="only these") == 0
        remade = [path for path in files(copied, f"{number:04}-*.sparse.json") if path.name != kept[0].name]
        assert len(remade) == 1
    names = {path.name for path in files(made, "000[23]-*.latent.safetensors")}
    now = {path.name: load_file(path)["samples"] for path in files(copied, "000[23]-*.latent.safetensors")}
    before = {path.name: load_file(path)["samples"] for path in files(made, "000[23]-*.latent.safetensors")}
    assert all(torch.equal(now[name], before[name]) for name in names)


def test_a_calibration_that_is_gone_is_made_again_and_a_damaged_one_is_named(models, job, made, copied, capsys):
    forget(copied, 2)
    first = files(copied, "0001-*.sparse.json")[0]
    first.unlink()
    assert run(models, job, copied) == 0
    assert all(map(torch.equal, latents(copied), latents(made)))
    for text in ("{", "{}", "[]", '{"calibration": null, "errors": []}', '{"errors": [{"step": 0}], "calibration": 0}'):
        forget(copied, 2)
        first.write_text(text)
        capsys.readouterr()
        assert run(models, job, copied) == 1
        message = capsys.readouterr().err.splitlines()[-1]
        assert f"{first} is damaged" in message
        assert message.endswith("delete it, and run again.")


def test_each_scene_calibrates(models, job, tmp_path):
    assert run(models, job, tmp_path, scene_cuts="9") == 0
    found = [json.loads(path.read_text()) for path in files(tmp_path, "*.sparse.json")]
    assert len(found) == 2
    for scene in found:  # who calibrates measures all layers in the first step
        assert {each["layer"] for each in scene["errors"] if each["step"] == 0} == {0, 1}


def test_errors_are_in_report_record_and_metadata(made):
    record = json.loads((made / "video.mp4.json").read_text())
    report = "\n".join(record["report"])
    assert "computed with precision fast, weights int8, attention sparse" in report
    for part in ("sparse attention is off by ", "its error by step: 1: ", "its error by segment: 1: "):
        assert part in report
    assert [len(errors) > 0 for errors in record["sparse"]] == [True] * 3
    assert set(record["sparse"][0][0]) == {"step", "layer", "error", "density"}
    with av.open(str(made / "video.mp4")) as container:
        assert "precision fast, weights int8, attention sparse, attention error " in str(container.metadata)


@pytest.mark.parametrize(("changes", "text"), [
    ({"sparse_density": 0.0}, "attention: all of it is computed, because 1216 tokens are so few (sparse_density)\n"),
    ({"target_w": 64, "target_h": 64}, "attention: all of it is computed, because 76 tokens are so few"),
    ({"sparse_density": 1.0}, "attention: all of it is computed (sparse_density)\n"),
    ({"precision": "exact"}, "sparse_density is 0.15, but the model's attention is not sparse, so it has no effect: "
                             "set precision to fast or attention to sparse, or sparse_density to 0.\n"),
    ({"precision": "8-bit"}, "sparse_error is 0.3, but the model's attention is not sparse, so it has no effect: "
                             "set precision to fast or attention to sparse, or sparse_error to 0.05.\n"),
    ({}, "attention: 15% of it is computed at first (sparse_density), and more in layers whose error is above 30.0%"),
    ({"sparse_density": 0.25, "sparse_error": 0}, "attention: 25% of it is computed at first (sparse_density)\n"),
    ({"attention": "pytorch"}, "precision is fast, but attention is pytorch (as asked), which computes all of it, so "
                               "it is as slow as 8-bit: set attention to automatic."),
])
def test_the_check_says_what_is_left_out(models, job, tmp_path, capsys, changes, text):
    assert main(["check", *command(models, job, tmp_path / "video.mp4", **{**SETTINGS, **changes})[1:]]) == 0
    assert text in capsys.readouterr().out


def test_settings_that_are_as_usual_are_no_reason_to_warn(models, job, tmp_path, capsys):
    argv = command(models, job, tmp_path / "video.mp4", **{**SETTINGS, "precision": "exact"})
    places = [argv.index(f"--{name}") for name in ("sparse_density", "sparse_error")]
    usual = [word for place, word in enumerate(argv) if place not in [p + n for p in places for n in (0, 1)]]
    assert main(["check", *usual[1:]]) == 0
    assert "sparse" not in capsys.readouterr().out


@pytest.mark.parametrize("segments", [[], [[], []]])
def test_a_report_without_errors_does_not_guess_a_length(segments):
    """Short sequences are computed whole, and so are those of any length at density 1."""
    assert lines(segments) == ["sparse attention has left nothing out, because the segments have few tokens or "
                               "sparse_density is 1; or its errors are not kept any more"]


def test_what_decides_the_errors_has_a_job_of_its_own_where_attention_is_sparse():
    usual = VideoOptions()
    others = [replace(usual, sparse_density=0.5), replace(usual, sparse_error=0.5)]
    assert "sparse" not in usual.settings(3).key_values
    assert [other.settings(3).key_values for other in others] == [usual.settings(3).key_values] * 2
    keys = [options.settings(3, sparse=True).key_values["sparse"] for options in (usual, *others)]
    assert len({str(key) for key in keys}) == 3
    assert usual.settings(3, sparse=True).sparse == SparseSettings()
