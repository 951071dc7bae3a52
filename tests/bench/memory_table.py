"""What fits on which card, by `scail_model/preflight/budget.py` and `capacity.py`: the tables of docs/speed.md.

    python tests/bench/memory_table.py [--tflops 798] [--bus 12.5]

No GPU is needed, and none of these cards was measured: the formulas were fitted on one H200. A card is taken to have as
many GiB as its name says, less 1 GiB for CUDA, its kernels and a desktop. One conditioning is computed at a time, with
activations as in bfloat16; in 8 bits they were 0.2 GiB less at 512x896x81. Seconds are the formula's, times what the
faster attention and the 8-bit mode took of it on that GPU at that size.

--tflops: of a bfloat16 matrix product of 8192; the default is the H200's. A slower GPU computes longer while the
weights come. --bus: GB/s from main memory; PCIe 4 x8 brings about 12.5, PCIe 4 x16 or 5 x8 twice that.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.kernels.precision import EIGHT_BIT, EXACT  # noqa: E402
from scail_model.preflight.budget import (  # noqa: E402
    H200_TFLOPS,
    Machine,
    Work,
    estimate,
    forward_seconds,
    stored_bytes,
)
from scail_model.preflight.capacity import MOST_FRAMES, longest_segment, residence  # noqa: E402

CARDS = (12, 16, 24, 32, 48, 80)  # GB
SIZES = ((480, 832), (512, 896), (704, 1280), (1056, 1920))
STREAMED_SIZES, FRAMES = ((512, 896), (704, 1280)), 81
_RESERVED = 1.0  # GiB
_GIB = 2**30
# of the formula's time, which is that of PyTorch's attention: forward_gpu.py's ratios to core, 0.874 and 0.649 to 0.975
MODES = EXACT, EIGHT_BIT  # fast takes the memory of 8-bit
SPEED = {EXACT: 0.90, EIGHT_BIT: 0.67}


def weight_bytes(precision: str) -> int:
    """Of a file in bfloat16, with the 8-bit mode's linears in int8."""
    return stored_bytes(TransformerConfig(), torch.bfloat16, precision)


def work(height: int, width: int, precision: str) -> Work:
    return Work(TransformerConfig(), width, height, (FRAMES,), additional=0, steps=1, guidance=1.0,
                weight_bytes=weight_bytes(precision), driving_width=width, driving_height=height)


def machine(card: int, tflops: float) -> Machine:
    return Machine(card * _GIB, round((card - _RESERVED) * _GIB), 0, tflops)


def longest_table() -> str:
    """Frames of the longest segment; of both precisions where they differ."""
    rows = [["card", *(f"{height}x{width}" for height, width in SIZES)]]
    rows += [[f"{card} GB", *(_longest(card, *size) for size in SIZES)] for card in CARDS]
    return markdown(rows)


def _longest(card: int, height: int, width: int) -> str:
    gpu = machine(card, H200_TFLOPS)
    found = [longest_segment(work(height, width, precision), gpu.free_vram, gpu.total_vram, tiles=True)
             for precision in MODES]
    tiles = estimate(work(height, width, EXACT)).vae > gpu.free_vram
    texts = ["-" if frames is None else f"{frames}" + "+" * (frames == MOST_FRAMES) for frames in found]
    return " / ".join(dict.fromkeys(texts)) + ", VAE in tiles" * tiles


def streaming_table(tflops: float, bus: float) -> str:
    """Where the weights are at 81 frames, and whether copying them takes longer than computing."""
    head = ["card", "precision"]
    for height, width in STREAMED_SIZES:
        head += [f"{height}x{width}: stay + come, GiB", "copying, s", "computing, s", "hidden from, GB/s"]
    rows = [head]
    for card, precision in itertools.product(CARDS, MODES):
        cells = [_streaming(card, *size, precision, tflops / SPEED[precision], bus) for size in STREAMED_SIZES]
        if any(cell[1] for cell in cells):
            rows.append([f"{card} GB", precision, *itertools.chain(*cells)])
    return markdown(rows)


def _streaming(card: int, height: int, width: int, precision: str, tflops: float, bus: float) -> list[str]:
    job, gpu = work(height, width, precision), machine(card, tflops)
    if estimate(job, gpu.total_vram).sampling > gpu.free_vram:
        return ["does not fit", "", "", ""]
    where = residence(job, gpu)
    come, waiting = sum(where.streamed), where.waiting_seconds(bus * 1e9)
    if not come:
        return ["all stay", "", "", ""]
    longer = f" + {waiting:.1f} of waiting" if waiting > 0.05 else ""
    return [f"{where.resident / _GIB:.1f} + {come / _GIB:.1f}", f"{come / bus / 1e9:.1f}",
            f"{forward_seconds(job, FRAMES, tflops):.1f}{longer}", f"{where.needed_rate() / 1e9:.1f}"]


def markdown(rows: list[list[str]]) -> str:
    """The first row is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tflops", type=float, default=H200_TFLOPS)
    parser.add_argument("--bus", type=float, default=12.5, help="GB/s")
    options = parser.parse_args()
    print(f"Frames of the longest segment, up to {MOST_FRAMES}; exact / 8-bit where they differ\n")
    print(longest_table())
    print(f"\nWeights in a forward of {FRAMES} frames, copied at {options.bus:g} GB/s; all stay on the other cards\n")
    print(streaming_table(options.tflops, options.bus))


if __name__ == "__main__":
    main()
