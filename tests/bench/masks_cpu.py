"""SAM3 tracks to the 28 mask channels on the CPU: ComfyUI core's functions against ours, same tracks, same run.

    python tests/bench/masks_cpu.py COMFYUI_DIR [--frames 81] [--long 1000] [--height 704] [--width 1280]

Seconds a frame (the two in turn, median of 3) and whether the channels are equal; then how much the peak memory grows
for a short and a long track, each in a process of its own, above the track itself. Core paints the whole video and
packs it; ours binds the identities and packs the segments that a sampler asks for, 81 frames after another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.identity.binding import bind, ordered  # noqa: E402
from scail_model.identity.mask_sources import Source, from_tracks, pictures  # noqa: E402
from scail_model.inputs.conditioning import driving_mask  # noqa: E402

PEOPLE, SEGMENT = 2, 81


def track(frames: int, height: int, width: int) -> dict:
    """Two ellipses that wander, in core's format."""
    rows, columns = np.mgrid[:height, :width]
    bits = np.empty((frames, PEOPLE, height, width // 8), np.uint8)
    for frame in range(frames):
        for person in range(PEOPLE):
            left = width * (0.3 + 0.4 * person) + 0.1 * width * np.sin(frame / 20)
            inside = ((columns - left) / (0.1 * width)) ** 2 + ((rows - height / 2) / (0.35 * height)) ** 2 < 1
            bits[frame, person] = np.packbits(inside, axis=-1, bitorder="little")
    return {"packed_masks": torch.from_numpy(bits), "orig_size": (height, width), "n_frames": frames,
            "scores": [1.0] * PEOPLE}


def ours(tracked: dict) -> list[torch.Tensor]:
    """Channels [28, T', h, w] of each segment."""
    source = from_tracks(tracked, "driving")
    source = Source("driving", ordered(source.mask_set, "left to right"))
    first = from_tracks({**tracked, "packed_masks": tracked["packed_masks"][:1]}, "reference")
    bound = bind("animation", source, pictures(first))
    count = len(bound.driving)
    return [driving_mask(bound, start, start + SEGMENT, *bound.driving.size) for start in range(0, count, SEGMENT)]


def core(tracked: dict) -> torch.Tensor:
    """Channels [1, T', 28, h, w], as its two nodes compute them."""
    import comfy.utils
    from comfy_extras import nodes_scail

    colours = nodes_scail._render_colored_masks(tracked, "black")
    height, width = colours.shape[1:3]
    half = comfy.utils.common_upscale(colours.movedim(-1, 1), width // 2, height // 2, "area", "center").movedim(1, -1)
    return nodes_scail._extract_mask_to_28ch(half)


def start_core(folder: str) -> None:
    sys.path.insert(0, folder)
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy_extras.nodes_scail  # noqa: F401


def compare(options: argparse.Namespace) -> dict:
    tracked = track(options.frames, options.height, options.width)
    seconds: dict[str, list[float]] = {"core": [], "ours": []}
    for _ in range(3):
        for name, function in (("core", core), ("ours", ours)):
            start = time.perf_counter()
            result = function(tracked)
            seconds[name].append((time.perf_counter() - start) / options.frames)
            if name == "core":
                expected = result
    found = torch.cat(result, 1)[:, : expected.shape[1]].movedim(0, 1)[None]
    row = {name: round(statistics.median(values), 5) for name, values in seconds.items()}
    return {"seconds_a_frame": row, "times_faster": round(row["core"] / row["ours"], 1),
            "equal": options.frames == SEGMENT and torch.equal(found, expected)}


def peak(options: argparse.Namespace) -> None:
    """Prints by how many MiB the peak rises above interpreter and track."""
    tracked = track(options.frames, options.height, options.width)
    before = _peak_kib()
    (core if options.peak == "core" else ours)(tracked)
    print(round((_peak_kib() - before) / 1024))


def _peak_kib() -> int:
    # of this program alone: what getrusage tells begins with the program that started it
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--frames", type=int, default=SEGMENT)
    parser.add_argument("--long", type=int, default=1000)
    parser.add_argument("--height", type=int, default=704)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--peak", choices=("core", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak != "ours":
        start_core(options.comfyui)
    if options.peak:
        return peak(options)
    print(json.dumps(compare(options)), flush=True)
    for name, frames in (("core", options.frames), ("ours", options.frames), ("ours", options.long)):
        command = [sys.executable, __file__, options.comfyui, "--peak", name, "--frames", str(frames), "--height",
                   str(options.height), "--width", str(options.width)]
        grown = subprocess.check_output(command, text=True).split()[-1]
        print(f"{name}, {frames} frames: peak +{grown} MiB", flush=True)
    return None


if __name__ == "__main__":
    main()
