"""`scail2 batch run --gpus_per_video 2`: the real command with Ray's logical GPUs, which are CPUs in the process that
makes a row. Its quick twins are in test_command_line_rows.py and test_generate_gpus.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from safetensors.torch import save_file

from scail_model.config import TransformerConfig
from tests.demo import drawing, small_models

pytest.importorskip("ray")

PACK = Path(__file__).parents[2]
_COMMAND = "import sys; from scail_model.headless.cli import main; sys.exit(main())"
# Python runs this in every process that finds it; only one that makes rows has GPUs
_CPUS_FOR_GPUS = """
import os, sys
if "scail_model.headless.row_process" in sys.orig_argv:
    from scail_model.headless import checks
    checks.all_gpus = lambda first: [first] * len(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two rows, and a model of two heads."""
    folder = tmp_path_factory.mktemp("rows")
    small_models.write_encoders(folder / "encoders")
    weights = small_models.transformer(TransformerConfig(dim=256, ffn_dim=256, num_heads=2, num_layers=2)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "transformer.safetensors")
    job = drawing.write_job(folder, (64, 64), 12, tone=True, fps=Fraction(16))
    defaults = {"--ckpt_dir": "encoders", "--scail_path": "transformer.safetensors", "--prompt": "a word",
                **{f"--{name}": path.name for name, path in job.items()}, "--target_w": 64, "--target_h": 64,
                "--segment_len": 9, "--sample_steps": 2}
    rows = [{"id": f"seed{seed}", "--base_seed": seed} for seed in (3, 4)]
    (folder / "rows.json").write_text(json.dumps({"defaults": defaults, "rows": rows}))
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(_CPUS_FOR_GPUS)
    return folder / "rows.json"


def made(manifest: Path, gpus: int) -> dict[str, tuple[dict, str, bytes]]:
    """Report, the run's own words and video of each row, with so many GPUs for it of four."""
    out = manifest.parent / f"{gpus} for a video"
    words = ["batch", "run", manifest, "--out", out, "--gpus", 4, "--gpus_per_video", gpus]
    done = subprocess.run([sys.executable, "-c", _COMMAND, *map(str, words)], cwd=PACK, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{manifest.parent / 'site'}{os.pathsep}{PACK}"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 of 2 rows done, 0 failed" in done.stdout
    rows = sorted((out / "rows").iterdir())
    return {row.name: (json.loads((row / "report.json").read_text()), (row / "video.mp4.json").read_text(),
                       (row / "video.mp4").read_bytes()) for row in rows}


@pytest.mark.slow
def test_two_gpus_make_each_row_as_one_does(manifest):
    together, alone = made(manifest, 2), made(manifest, 1)
    assert list(together) == list(alone) == ["seed3", "seed4"]
    held = [tuple(attempt["gpus"]) for report, *_ in together.values() for attempt in report["attempts"]]
    assert set(held) <= {("0", "1"), ("2", "3")}  # a worker that comes late has nothing left to make
    for id, (_, said, video) in together.items():
        assert "on 2 GPUs (cpu, cpu)" in said
        assert "GPUs" not in alone[id][1]
        assert video == alone[id][2]
