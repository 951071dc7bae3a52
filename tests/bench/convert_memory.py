"""Peak memory and time of `scail2 convert` on a checkpoint with the layout of the official one, cut to few layers.

    python tests/bench/convert_memory.py FOLDER [--layers 4] [--dtype bf16]

Writes a float32 SAT folder with the real widths (about 1 GB plus 1.6 GB per layer) into FOLDER, converts it in a
process of its own, prints one line of JSON and deletes the files. The peak is ru_maxrss, which counts pages of files,
less that of a process that only imports the same packages. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
DIM, FFN, TEXT, FREQ, CLIP = 5120, 13824, 4096, 256, 1280
IMPORTS = "import sys, numpy, safetensors, torch, tqdm"
CONVERT = f"{IMPORTS}; from scail_model.headless.cli import main; sys.exit(main())"


def linear(name: str, out: int, inside: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inside), f"{name}.bias": (out,)}


def norm(name: str, size: int, bias: bool = False) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,)} | ({f"{name}.bias": (size,)} if bias else {})


def layer_shapes(number: int) -> dict[str, tuple[int, ...]]:
    mixin, layer = "mixins.adaln_layer", f"transformer.layers.{number}"
    shapes = {f"{mixin}.adaLN_modulations.{number}": (1, 6, DIM)}
    for name in ("query", "key", "cross_query", "cross_key", "clip_feature_key"):
        shapes |= norm(f"{mixin}.{name}_layernorm_list.{number}", DIM)
    return (shapes | linear(f"{mixin}.clip_feature_key_value_list.{number}", 2 * DIM, DIM)
            | linear(f"{layer}.attention.query_key_value", 3 * DIM, DIM)
            | linear(f"{layer}.attention.dense", DIM, DIM)
            | linear(f"{layer}.cross_attention.query", DIM, DIM)
            | linear(f"{layer}.cross_attention.key_value", 2 * DIM, DIM)
            | linear(f"{layer}.cross_attention.dense", DIM, DIM)
            | norm(f"{layer}.post_cross_attention_layernorm", DIM, bias=True)
            | linear(f"{layer}.mlp.dense_h_to_4h", FFN, DIM)
            | linear(f"{layer}.mlp.dense_4h_to_h", DIM, FFN))


def sat_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"mixins.final_layer.adaLN_modulation": (1, 2, DIM)}
    for name, channels in (("proj", 20), ("proj_pose", 20), ("proj_mask", 28)):
        shapes |= {f"mixins.patch_embed.{name}.weight": (DIM, channels, 1, 2, 2),
                   f"mixins.patch_embed.{name}.bias": (DIM,)}
    shapes |= (linear("mixins.final_layer.linear", 64, DIM)
               | linear("time_embed.0", DIM, FREQ) | linear("time_embed.2", DIM, DIM)
               | linear("adaln_projection.1", 6 * DIM, DIM)
               | linear("text_embedding.0", DIM, TEXT) | linear("text_embedding.2", DIM, DIM)
               | norm("clip_proj.proj.0", CLIP, bias=True) | linear("clip_proj.proj.1", CLIP, CLIP)
               | linear("clip_proj.proj.3", DIM, CLIP) | norm("clip_proj.proj.4", DIM, bias=True))
    for number in range(layers):
        shapes |= layer_shapes(number)
    return {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}


def write_checkpoint(folder: Path, layers: int) -> Path:
    """The official folder, with the random states that make `torch.load` refuse the original in its safe mode."""
    path = folder / "model" / "1" / "fsdp2_rank_0000_checkpoint.pt"
    path.parent.mkdir(parents=True)
    (folder / "model" / "latest").write_text("1")
    module = {name: torch.empty(shape).normal_(std=0.02) for name, shape in sat_shapes(layers).items()}
    torch.save({"module": module, "iteration": 1, "np_rng_state": np.random.get_state()}, path)
    return path


def peak_of(program: str, *arguments: str) -> tuple[int, float]:
    """Peak resident bytes and seconds of a Python program.

    Started through a small shell: on Linux a process also inherits its parent's peak, and ours holds the checkpoint.
    """
    report = ("import os, subprocess, sys; process = subprocess.Popen(sys.argv[1:], stdout=2);"
              "_, status, usage = os.wait4(process.pid, 0);"
              "print(usage.ru_maxrss); sys.exit(os.waitstatus_to_exitcode(status))")
    start = time.perf_counter()
    output = subprocess.run([sys.executable, "-c", report, sys.executable, "-c", program, *arguments], cwd=ROOT,
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    unit = 1 if sys.platform == "darwin" else 1024
    return int(output) * unit, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("keep", "bf16", "fp16"), default="bf16")
    arguments = parser.parse_args()
    work = arguments.folder / f"convert-memory-{os.getpid()}"
    target = work / "model.safetensors"
    try:
        source = write_checkpoint(work, arguments.layers)
        base, _ = peak_of(IMPORTS)
        peak, seconds = peak_of(CONVERT, "convert", str(work), str(target), "--dtype", arguments.dtype)
        print(json.dumps({"layers": arguments.layers, "dtype": arguments.dtype,
                          "source_bytes": source.stat().st_size, "target_bytes": target.stat().st_size,
                          "seconds": round(seconds, 1), "imports_peak_mib": base >> 20, "peak_mib": peak >> 20,
                          "above_imports_mib": (peak - base) >> 20}))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
