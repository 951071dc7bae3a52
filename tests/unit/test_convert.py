"""`scail2 convert` and `scail2 convert-lora`: exact results, bounded memory, and nothing left after a failure."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scail_model import records
from scail_model.checkpoint import open_index
from scail_model.config import TransformerConfig
from scail_model.headless import convert as convert_module
from scail_model.headless.cli import main

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SAT_FOLDER = GOLDEN / "G1_sat_checkpoint"
SAT_FILE = SAT_FOLDER / "model" / "1" / "fsdp2_rank_0000_checkpoint.pt"
SAT_LORA = GOLDEN / "G3_sat_lora" / "lora_sat.pt"
DTYPES = {"keep": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (found[name], tensor))), name


def refusal(capsys, *argv):
    """The error of a command: one line on stderr, exit code 1."""
    assert main([str(argument) for argument in argv]) == 1
    message = capsys.readouterr().err
    assert message.startswith("scail2: ")
    assert message.count("\n") == 1
    return message


@pytest.fixture
def out(tmp_path):
    """The output path, alone in its folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.safetensors"


@pytest.fixture
def big_folder(tmp_path):
    """A folder that is emptied at once: pytest keeps those of the last runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


# What is written

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", [SAT_FOLDER, SAT_FILE, SAT_FOLDER / "expected.safetensors"], ids=lambda p: p.name)
def test_model_equals_the_official_converter(out, source, dtype):
    assert main(["convert", str(source), str(out), "--dtype", dtype]) == 0
    expected = load_file(SAT_FOLDER / "expected.safetensors")
    assert_same(load_file(out), {name: tensor.to(DTYPES[dtype]) for name, tensor in expected.items()})
    assert metadata(out) == {"format": "pt"}
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lora_equals_the_official_converter(out, dtype):
    assert main(["convert-lora", str(SAT_LORA), str(out), "--dtype", dtype]) == 0
    expected = load_file(GOLDEN / "G3_sat_lora" / "expected.safetensors")
    assert_same(load_file(out), {name: tensor.to(DTYPES[dtype]) for name, tensor in expected.items()})


def test_pieces_and_strides(out, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "READ_BYTES", 100)
    base = torch.randn(30, 8)
    tensors = {"rows": base, "transposed": base.t(), "columns": base[:, 1::3], "scalar": torch.tensor(2.5),
               "expanded": torch.ones(1).expand(50, 2), "empty": torch.empty(0, 3), "half": torch.randn(77).half()}
    torch.save(tensors, tmp_path / "x.pt")
    assert main(["convert", str(tmp_path / "x.pt"), str(out)]) == 0
    assert_same(load_file(out), tensors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_plain_float_tensors_change_type(out, tmp_path, dtype):
    kept = {
        "blocks.0.ffn.0.weight": torch.randn(4, 6).to(torch.float8_e4m3fn),
        "blocks.0.ffn.0.weight_scale": torch.tensor(0.123456789),
        "blocks.0.ffn.0.scale_weight": torch.tensor([0.3]),
        "blocks.0.ffn.0.comfy_quant": torch.frombuffer(bytearray(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8),
        "blocks.0.ffn.2.weight": torch.randint(-128, 127, (5, 3), dtype=torch.int8),
        "blocks.0.wide": torch.randn(3, dtype=torch.float64),
        "scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn),
    }
    changed = {"blocks.0.ffn.0.bias": torch.randn(5), "head.modulation": torch.randn(1, 2, 3)}
    source = tmp_path / "fp8.safetensors"
    save_file({f"diffusion_model.{name}": tensor for name, tensor in (kept | changed).items()}, source,
              {"_quantization_metadata": "{}"})
    assert main(["convert", str(source), str(out), "--dtype", dtype]) == 0
    assert_same(load_file(out), kept | {name: tensor.to(DTYPES[dtype]) for name, tensor in changed.items()})
    assert metadata(out) == {"format": "pt", "_quantization_metadata": "{}"}
    assert all(record.offset % record.dtype.itemsize == 0 for record in open_index(out).records.values())


def test_values_out_of_range_of_fp16(out, tmp_path, capsys):
    tensors = {"blocks.0.norm3.bias": torch.tensor([1.0, -70000.0]), "a": torch.ones(2)}
    save_file(tensors, tmp_path / "x.safetensors")
    message = refusal(capsys, "convert", tmp_path / "x.safetensors", out, "--dtype", "fp16")
    assert "blocks.0.norm3.bias has values up to 7e+04" in message
    assert "--dtype bf16" in message
    assert os.listdir(out.parent) == []
    # An infinity that the file already has is not the conversion's.
    save_file({"a": torch.tensor([float("inf"), 1.0])}, tmp_path / "y.safetensors")
    assert main(["convert", str(tmp_path / "y.safetensors"), str(out), "--dtype", "fp16"]) == 0


# What is refused

def test_wrong_kind_names_the_other_command(out, capsys):
    assert "is a LoRA, not a model: use `scail2 convert-lora`" in refusal(capsys, "convert", SAT_LORA, out)
    assert "is a model, not a LoRA: use `scail2 convert`" in refusal(capsys, "convert-lora", SAT_FOLDER, out)
    lora = GOLDEN / "F1_lora_fp32.safetensors"
    assert "use `scail2 convert-lora`" in refusal(capsys, "convert", lora, out)


def test_output_that_exists(out, capsys):
    out.write_text("mine")
    assert "--overwrite" in refusal(capsys, "convert", SAT_FOLDER, out)
    assert out.read_text() == "mine"
    assert main(["convert", str(SAT_FOLDER), str(out), "--overwrite"]) == 0
    assert_same(load_file(out), load_file(SAT_FOLDER / "expected.safetensors"))


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_output_that_is_the_input(tmp_path, capsys, link):
    source = target = tmp_path / "model.safetensors"
    shutil.copy(SAT_FOLDER / "expected.safetensors", source)
    content = source.read_bytes()
    if link:
        target = tmp_path / "other.safetensors"
        link(source, target)
    assert "is the input itself" in refusal(capsys, "convert", source, target, "--overwrite")
    assert source.read_bytes() == content


def test_output_names(tmp_path, capsys):
    assert "end the output name with .safetensors" in refusal(capsys, "convert", SAT_FOLDER, tmp_path / "model.pt")
    target = tmp_path / "none" / "model.safetensors"
    assert f"The folder {target.parent} does not exist" in refusal(capsys, "convert", SAT_FOLDER, target)


def test_unreadable_input(out, tmp_path, capsys):
    assert "does not exist" in refusal(capsys, "convert", tmp_path / "none.pt", out)
    (tmp_path / "x.pt").write_bytes(SAT_FILE.read_bytes()[:-50])
    assert "cut short" in refusal(capsys, "convert", tmp_path / "x.pt", out)
    assert os.listdir(out.parent) == []


def test_disk_without_room(out, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 12_000))
    message = refusal(capsys, "convert", SAT_FOLDER, out)
    assert "needs 3.1e-05 GB" in message
    assert "has 1.2e-05 GB free" in message
    assert os.listdir(out.parent) == []


def test_usage_errors():
    for argv in ([], ["convert"], ["convert", "a", "b", "--dtype", "int3"], ["unknown"]):
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 2


# Failures on the way

def interrupt(*_):
    raise KeyboardInterrupt


def test_interruption_leaves_nothing(out, monkeypatch, capsys):
    monkeypatch.setattr(convert_module, "_verify", interrupt)
    assert main(["convert", str(SAT_FOLDER), str(out)]) == 130
    assert capsys.readouterr().err == "scail2: interrupted\n"
    assert os.listdir(out.parent) == []
    out.write_text("mine")
    assert main(["convert", str(SAT_FOLDER), str(out), "--overwrite"]) == 130
    assert out.read_text() == "mine"
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("place", ["data", "header"])
def test_file_that_does_not_read_back(out, capsys, monkeypatch, place):
    def corrupt(_):
        (partial,) = out.parent.glob(".*.part")
        content = partial.read_bytes()
        if place == "data":
            content = content[:-2] + b"\xff\xff"
        else:
            content = content.replace(b"patch_embedding.weight", b"match_embedding.weight", 1)
        partial.write_bytes(content)

    monkeypatch.setattr(os, "fsync", corrupt)
    assert "did not read back as written" in refusal(capsys, "convert", SAT_FOLDER, out)
    assert os.listdir(out.parent) == []


def zeros_of_a_model(path):
    """SCAIL-2 in half a gigabyte of zeros, which take no room on the disk."""
    header, end = {}, 0
    for name, shape in TransformerConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=8).parameter_shapes().items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c(out, tmp_path):
    zeros_of_a_model(tmp_path / "x.safetensors")
    program = "import sys; from scail_model.headless.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", program, "convert", tmp_path / "x.safetensors", out], cwd=ROOT,
                               stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not [part for part in out.parent.glob(".*.part")
                                          if part.stat().st_size > 1 << 20]:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "scail2: interrupted\n"
    assert os.listdir(out.parent) == []


# Memory, packages

_MEASURE = """
import sys, numpy, safetensors.torch, torch, tqdm
from scail_model.headless.cli import main

def resident(kind):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(kind))

before = resident("VmHWM")
assert main(sys.argv[1:]) == 0
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_far_below_the_file(big_folder):
    # The largest tensor of the real model, and a fused one.
    torch.save({"module": {"model.diffusion_model.adaln_projection.1.weight": torch.zeros(30720, 5120),
                           "model.diffusion_model.transformer.layers.0.cross_attention.key_value.weight":
                               torch.zeros(2 * 5120, 5120)}}, big_folder / "x.pt")
    out = big_folder / "x.safetensors"
    output = subprocess.run([sys.executable, "-c", _MEASURE, "convert", big_folder / "x.pt", out, "--dtype", "fp16"],
                            cwd=ROOT, check=True, capture_output=True, text=True).stdout
    size = (big_folder / "x.pt").stat().st_size
    assert size > 0.8e9
    assert int(output.splitlines()[-1]) < 0.2 * size
    assert abs(out.stat().st_size / size - 0.5) < 1e-4


_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from scail_model.headless.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
sys.exit(main(["convert", "a", "b.safetensors"]))
"""


def test_missing_torch_is_one_sentence_and_help_needs_none():
    result = subprocess.run([sys.executable, "-c", _WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == 'scail2: torch is not installed; run: pip install "scail2[headless]"\n'
    assert "convert-lora" in result.stdout
