"""What negative_strength costs on a GPU: a forward of the 14B size with it and without, in turns, in each precision.

    python tests/bench/negative_gpu.py [--layers 40] [--repeats 5] [--sizes 512x896x81,704x1280x81] [--json FILE]

Random weights, as in `forward_gpu.py`. Prints seconds (median) and GiB beside the weights for exact, 8-bit and fast,
their ratio, and how far the velocity moves; then the kernel that mixes both attentions alone, against copying as many
bytes, and its distance from PyTorch's in float32. Needs a CUDA GPU with 100 GB for 40 layers; no ComfyUI.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from forward_gpu import attention, build, measure, random_inputs, random_weights, relative, tokens

from scail_model.config import TransformerConfig
from scail_model.kernels import elementwise
from scail_model.kernels.eager import elementwise as eager
from scail_model.kernels.precision import EIGHT_BIT, EXACT, FAST

SIZES, MODES = "512x896x81,704x1280x81", (EXACT, EIGHT_BIT, FAST)
STRENGTH, LIMIT = 11.0, 1.06  # of the seconds with it, in parts of those without
WITHOUT, WITH = "without", "with"


def compare(mode: str, config: TransformerConfig, weights: dict[str, torch.Tensor], size: tuple[int, ...],
            repeats: int) -> dict:
    """One row: seconds and GiB without and with it, and their ratios."""
    forward, inputs = build(mode, config, weights), random_inputs(*size)
    text = torch.randn(1, 512, 4096, generator=torch.Generator("cuda").manual_seed(2), device="cuda").bfloat16()
    given = {WITHOUT: inputs, WITH: {**inputs, "negative_context": text, "negative_strength": STRENGTH}}
    # the first forward of each compiles kernels and picks algorithms
    velocities = {name: forward(each) for name, each in given.items()}
    moved = relative(velocities[WITH], velocities[WITHOUT])
    del velocities
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in given}
    for _ in range(repeats):
        for name, each in given.items():
            runs[name].append(measure(forward, each))
    seconds = {name: statistics.median(found for found, _ in each) for name, each in runs.items()}
    gib = {name: max(found for _, found in each) / 2**30 for name, each in runs.items()}
    row = {"size": "x".join(map(str, size)), "tokens": tokens(*size), "mode": mode,
           "seconds": {name: round(value, 4) for name, value in seconds.items()},
           "ratio": round(seconds[WITH] / seconds[WITHOUT], 4),
           "gib": {name: round(value, 2) for name, value in gib.items()}, "moved": moved}
    print(json.dumps(row), flush=True)
    return row


def kernel(rows: int, width: int, repeats: int = 20) -> dict:
    """The mix alone: milliseconds, and those of a copy that reads and writes as many bytes."""
    positive, negative = torch.randn(2, 1, rows, width, device="cuda", dtype=torch.bfloat16).unbind()
    exact = eager.nag_mix(positive.float(), negative.float(), STRENGTH)
    found = relative(elementwise.nag_mix(positive.clone(), negative, STRENGTH), exact)
    del exact
    copied = torch.empty(3 * rows * width // 2, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(copied)
    return {"rows": rows, "width": width, "distance": found,
            "milliseconds": milliseconds(lambda: elementwise.nag_mix(positive, negative, STRENGTH), repeats),
            "copy": milliseconds(lambda: target.copy_(copied), repeats)}


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop))
    return round(statistics.median(times[1:]), 3)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", default=SIZES, help="height x width x frames, with commas between")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = TransformerConfig(num_layers=options.layers)
    weights = random_weights(config)
    sizes = [tuple(map(int, text.split("x"))) for text in options.sizes.split(",")]
    rows = []
    for mode in options.modes.split(","):
        rows += [compare(mode, config, weights, size, options.repeats) for size in sizes]
        torch.cuda.empty_cache()
    elementwise.prepare(torch.device("cuda", 0))
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "layers": options.layers,
              "attention": {precision: attention(precision).name for precision in MODES}, "rows": rows,
              "kernel": kernel(tokens(*sizes[0]), config.dim)}
    print(json.dumps({name: value for name, value in report.items() if name != "rows"}))
    worst = max(row["ratio"] for row in rows)
    print(f"largest ratio {worst:.3f}, limit {LIMIT}: {'passed' if worst < LIMIT else 'FAILED'}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
