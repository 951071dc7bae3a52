"""`scail2 doctor` from files to page, JSON and exit status, with small real models."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import golden
import pytest
import torch
from assets import to_sat
from safetensors.torch import load_file, save_file

from scail_model.config import TransformerConfig
from scail_model.doctor import forwards, modes
from scail_model.doctor.inputs import Size, random_inputs
from scail_model.headless.cli import main
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import int8_linears
from scail_model.transformer import SCAIL2Transformer

PACK = Path(__file__).parents[2]
TINY = Size(96, 96, 5)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for module in (forwards, modes):
        monkeypatch.setattr(module, "SIZES", (TINY,))


@pytest.fixture
def doctor(tmp_path, capsys):
    """Run it; returns exit status, JSON (None if there is none), stdout and stderr."""

    def run(*arguments):
        target = tmp_path / "report.json"
        status = main(["doctor", *map(str, arguments), "--json", str(target)])
        out, err = capsys.readouterr()
        return status, json.loads(target.read_text()) if target.exists() else None, out, err

    return run


def states(found):
    return {fact["role"]: fact["state"] for fact in found["files"]}


def test_all_is_well(models, doctor):
    transformer = models / "transformer.safetensors"
    status, found, out, _ = doctor("--ckpt_dir", models / "encoders", "--scail_path", transformer)
    assert [status, found["ok"], found["wrong"], found["complete"]] == [0, True, [], True]
    assert states(found) == dict.fromkeys(("transformer", "text encoder", "VAE", "CLIP vision"), "whole")
    assert [mode["state"] for mode in found["forwards"]["modes"]][:2] == ["measured", "measured"]
    assert out.startswith("SCAIL-2 doctor, ")
    assert len(out.splitlines()) < 60  # one page
    assert str(models) not in out + json.dumps(found)


def test_difference_is_that_of_networks_built_by_hand(models, doctor):
    found = doctor("--scail_path", models / "transformer.safetensors")[1]
    weights, velocities = load_file(models / "transformer.safetensors"), []
    config = TransformerConfig.from_state_dict(weights)
    for linears in (None, QuantizingInt8()):
        model = SCAIL2Transformer(config, linears=linears)
        model.load_state_dict(weights)
        if linears is not None:
            linears.quantize(model, int8_linears(config.num_layers))
        with torch.inference_mode():
            velocities.append(model(**random_inputs(TINY, config).arguments(torch.device("cpu"))))
    exact, rounded = velocities
    mode = next(mode for mode in found["forwards"]["modes"] if mode["mode"] == "8-bit")
    assert mode["difference"] == pytest.approx(float((rounded - exact).norm() / exact.norm()), rel=1e-3)
    assert [mode["weights"], mode["dtype"]] == ["int8", "float32"]


def test_without_weights_it_tells_the_rest(doctor):
    status, found, out, _ = doctor()
    assert [status, found["forwards"], found["files"]] == [0, None, []]
    assert "No forward was measured" in out


def test_the_official_folder_and_what_it_lacks(tmp_path, doctor):
    folder = tmp_path / "SCAIL-2"
    (folder / "model/1").mkdir(parents=True)
    (folder / "model/latest").write_text("1")
    torch.save({"module": to_sat(golden.tiny_weights())}, folder / "model/1/fsdp2_rank_0000_checkpoint.pt")
    torch.save({"decoder.middle.0.weight": torch.zeros(1)}, folder / "Wan2.1_VAE.pth")
    (folder / "umt5-xxl").mkdir()
    status, found, _, _ = doctor("--ckpt_dir", folder)
    assert status == 1
    assert states(found) == {"transformer": "whole", "VAE": "whole", "text encoder": "missing",
                             "CLIP vision": "missing"}
    assert [sentence.split(":")[0] for sentence in found["wrong"]] == ["text encoder", "CLIP vision"]
    assert found["forwards"]["modes"][0]["state"] == "measured"


def test_comfyuis_folder_models(models, tmp_path, doctor):
    (tmp_path / "models/diffusion_models/sub").mkdir(parents=True)
    shutil.copy(models / "transformer.safetensors", tmp_path / "models/diffusion_models/sub/mine.safetensors")
    found = doctor("--ckpt_dir", tmp_path / "models")[1]
    assert states(found) == {"transformer": "whole", "text encoder": "missing", "CLIP vision": "missing",
                             "VAE": "missing", "SAM3": "missing", "distilled LoRA": "missing"}
    assert [sentence.split(":")[0] for sentence in found["wrong"]] == ["text encoder", "CLIP vision", "VAE"]
    assert found["forwards"]["file"] == "mine.safetensors"


def test_a_truncated_transformer_is_wrong_and_nothing_is_measured(models, tmp_path, doctor):
    whole = (models / "transformer.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1000])
    status, found, out, _ = doctor("--scail_path", tmp_path / "cut.safetensors")
    assert [status, found["forwards"]] == [1, None]
    assert "transformer cut.safetensors: is damaged or was cut short" in found["wrong"][0]
    assert "Wrong (1):" in out


def test_a_quantised_file_runs_in_comfyui_only(tmp_path, doctor):
    weights = golden.tiny_weights()
    save_file(weights | {"blocks.0.ffn.0.weight": weights["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn)},
              tmp_path / "fp8.safetensors")
    status, found, _, _ = doctor("--scail_path", tmp_path / "fp8.safetensors")
    assert status == 1
    assert found["wrong"] == ["forwards could not be examined: fp8.safetensors is quantised, which only the ComfyUI "
                              "nodes run: take the bf16 or fp16 file."]


def test_too_little_main_memory_is_said_before_the_weights_are_read(models, doctor, monkeypatch):
    from scail_model.headless import doctor as module
    from scail_model.preflight.budget import Machine

    monkeypatch.setattr(module, "machine", lambda device, timed: Machine(0, 0, 1000, None))
    status, found, _, _ = doctor("--scail_path", models / "transformer.safetensors")
    assert status == 0
    assert [mode["state"] for mode in found["forwards"]["modes"]] == ["not here"] * len(found["forwards"]["modes"])
    assert "GiB of main memory, of which" in found["forwards"]["modes"][0]["reason"]


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--json", "/nowhere/report.json"], "The folder /nowhere (--json) does not exist: make it first."),
    (["--json", "report.txt"], "report.txt (--json) does not end with .json: end it with .json."),
    (["--ckpt_dir", __file__], f"{__file__} (--ckpt_dir) is a file: give the folder, or name a transformer with "
                               "--scail_path."),
    (["--ckpt_dir", "/nowhere"], "The folder /nowhere (--ckpt_dir) does not exist: check the path."),
])
def test_bad_arguments_are_refused_at_once(capsys, arguments, sentence):
    assert main(["doctor", *arguments]) == 1
    out, err = capsys.readouterr()
    assert [out, err] == ["", f"scail2: {sentence}\n"]


def test_a_json_that_is_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / "folder.json").mkdir()
    assert main(["doctor", "--json", str(tmp_path / "folder.json")]) == 1
    assert "is a folder: choose another name." in capsys.readouterr().err


def test_a_scail_path_that_does_not_exist_is_wrong(doctor):
    status, found, _, _ = doctor("--scail_path", "nowhere.safetensors")
    assert status == 1
    assert found["wrong"] == ["transformer: does not exist: check the path"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_it_within_a_second_with_what_is_there(tmp_path):
    """With a network whose forward takes some seconds."""
    config = TransformerConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=24)
    save_file({name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in config.parameter_shapes().items()},
              tmp_path / "wide.safetensors")
    code = ("from scail_model.headless import doctor; doctor._PAUSE = 0; "
            "from scail_model.headless.cli import main; import sys; sys.exit(main(sys.argv[1:]))")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "doctor", "--scail_path", tmp_path / "wide.safetensors", "--json",
         tmp_path / "report.json"], cwd=PACK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stderr:
        if "block 3 of" in line:
            break
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert "stopped before its end" in process.stdout.readline()
    assert time.monotonic() - start < 3  # a second on a machine that does nothing else
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith("scail2: interrupted\n")
    assert json.loads((tmp_path / "report.json").read_text())["files"][0]["state"] == "whole"
