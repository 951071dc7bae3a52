"""What the benchmarks print and draw, from rows that are made up; what they measure needs a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import forward_gpu
import gpus_gpu
import gpus_parts
import memory_table
import numpy as np
import pytest
import speed_plot
import torch

from scail_model.config import TransformerConfig
from scail_model.headless.attention import choose
from scail_model.preflight.budget import token_count

BENCH = Path(__file__).parents[1] / "bench"
SIZES = ((512, 896, 81), (704, 1280, 81), (640, 640, 49))


def report():
    rows = []
    for size in SIZES:
        tokens = forward_gpu.tokens(*size)
        seconds = {"core": (tokens / 20_000) ** 1.5, "exact": 0.8 * (tokens / 20_000) ** 1.5}
        rows.append({"size": "x".join(map(str, size)), "tokens": tokens, "repeats": 3,
                     "seconds": seconds, "gib": {"core": 30 + tokens / 10_000, "exact": 30 + tokens / 15_000},
                     "time_ratio": {"core": 1.0, "exact": 0.8}, "memory_ratio": {"core": 1.0, "exact": 0.97},
                     "difference": {"core": 6e-3, "exact": 2e-3}})
    rows[0]["seconds"]["core fp8"] = rows[0]["gib"]["core fp8"] = 20.0
    return {"gpu": "NVIDIA Test", "torch": "2.11", "layers": 40, "rows": rows}


@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_the_budgets(size):
    height, width, frames = size
    assert forward_gpu.tokens(*size) == token_count(width, height, frames, 0)


def test_the_speed_table_has_a_line_for_each_size_by_tokens():
    lines = speed_plot.table(report()).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["27,600", "48,832", "95,920"]
    assert "| 1.62 | 59 |" in lines[2]
    assert lines[2].endswith("| - | - |")
    assert lines[5:] == ["core: seconds grow as tokens to the power of 1.50",
                         "exact: seconds grow as tokens to the power of 1.50"]


def near(picture, x, y, colour):
    part = picture[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].astype(int)
    return (np.abs(part - np.array(colour)).max(-1) < 40).any()


def test_every_point_is_where_its_axis_says():
    found = report()
    picture = np.array(speed_plot.draw(found))
    assert picture.shape == (speed_plot.HEIGHT, speed_plot.WIDTH, 3)
    assert (picture[:4] == 255).all()
    assert (picture[:, :8] == 255).all()
    most_tokens = 1.06 * 95_920
    for what, left in zip(("seconds", "gib"), speed_plot.LEFTS, strict=True):
        curve = speed_plot.formula(what, 40)
        highest = max(*(value for row in found["rows"] for value in row[what].values()), curve(most_tokens))
        axes = speed_plot.Axes(left, speed_plot.TOP, most_tokens, 1.05 * highest)
        for mode in ("core", "exact", "core fp8"):
            for tokens, value in speed_plot.points(found, what, mode):
                assert near(picture, *axes.place(tokens, value), speed_plot.COLOURS[mode]), (what, mode, tokens)
        assert near(picture, *axes.place(10_000, curve(10_000)), speed_plot.FORMULA_COLOUR)


def test_the_curve_is_what_one_forward_took():
    """The H200's 5.25 s and 33.89 GiB at 512x896x81, with PyTorch's attention."""
    assert speed_plot.formula("seconds", 40)(48_832) == pytest.approx(5.25, rel=0.04)
    assert speed_plot.formula("gib", 40)(48_832) == pytest.approx(33.89, rel=0.01)


def test_one_size_alone_is_drawn():
    one = report()
    one["rows"] = one["rows"][1:2]
    assert np.array(speed_plot.draw(one)).std() > 1
    assert "power" not in speed_plot.table(one)


def test_the_memory_table():
    """The files' sizes; who has little memory has the weights come; a slow bus is waited for."""
    assert memory_table.weight_bytes("exact") / 2**30 == pytest.approx(30.54, abs=0.01)
    assert memory_table.weight_bytes("8-bit") / 2**30 == pytest.approx(20.38, abs=0.01)
    longest = [line.split("|")[1:-1] for line in memory_table.longest_table().splitlines()[2:]]
    assert [row[0].strip() for row in longest] == [f"{card} GB" for card in memory_table.CARDS]
    assert {cell.strip() for row in longest for cell in row[1:4]} == {"161+"}
    fast = memory_table.streaming_table(798.0, 12.5)
    assert "waiting" not in fast
    assert "| 12 GB | exact |" in fast
    assert "48 GB" not in fast
    assert memory_table.streaming_table(798.0, 3.0).count("of waiting") > 3
    assert "waiting" not in memory_table.streaming_table(79.8, 3.0)


@pytest.mark.parametrize("script", ["memory_table.py", pytest.param("speed_plot.py", marks=pytest.mark.slow)])
def test_scripts_run_from_the_command_line(script, tmp_path):
    arguments = {"memory_table.py": [], "speed_plot.py": [tmp_path / "in.json", tmp_path / "out.png"]}[script]
    (tmp_path / "in.json").write_text(json.dumps(report()))
    done = subprocess.run([sys.executable, BENCH / script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.count("|---") > 3


@pytest.mark.parametrize(("devices", "gpus", "ratio"), [(2, 2, "times"), (1, 1, "over")])
def test_a_forward_on_several_gpus_is_compared_with_one(devices, gpus, ratio):
    """On GPUs of their own where there are as many, else all ranks on the first."""
    cpu = [torch.device("cpu")] * devices
    config = TransformerConfig(dim=256, ffn_dim=64, num_heads=2, num_layers=2)
    nets = [gpus_parts.network(config, "exact", choose("pytorch", device, "exact"), device) for device in cpu]
    given = gpus_gpu.inputs(config, (64, 64, 2, 1), cpu[0], 1)
    with torch.inference_mode():
        found = gpus_gpu.row(nets, cpu, given, "exact", [2], repeats=1)
        (launched,) = gpus_gpu.launching(nets, cpu, given, "exact", [2])
    assert found["batch_equal"]
    assert found["2"]["equal"]
    assert found["2"]["gpus"] == gpus
    assert found["2"][ratio] > 0
    assert (launched["n"], launched["gpus"]) == (2, gpus)
    assert launched["layer_ms"] > 0
