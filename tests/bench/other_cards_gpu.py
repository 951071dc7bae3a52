"""comfy-kitchen's attention on the card at hand: what the pack's own measurement decides and how long it takes, and
seconds, error and memory of a layer at real sizes.

    python tests/bench/other_cards_gpu.py [--tokens 16384 48832 95936] [--heads 40] [--json FILE]

Needs comfy-kitchen (0.2.33 or newer for sol). With --device cpu and a small size it runs without a GPU, for sol alone
and in comfy-kitchen's own slow definition.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from scail_model.kernels import attention_probe as probe  # noqa: E402
from scail_model.kernels import int8_attention, sol_attention  # noqa: E402
from scail_model.kernels.attention_backends import fastest  # noqa: E402
from scail_model.kernels.precision import EIGHT_BIT, EXACT  # noqa: E402

DENSITIES = (0.1, 0.15, 0.2, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16384, 48832, 95936], help="multiples of 64")
    parser.add_argument("--heads", type=int, default=40)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found = {"device": name, "torch": torch.__version__, "probes": decisions(device),
             "layers": [layer(tokens, options.heads, device) for tokens in options.tokens]}
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def decisions(device: torch.device) -> dict[str, object]:
    """The answer of each probe and how long it took, and what `automatic` takes in the modes that are not sparse."""
    found = {}
    exact, *_ = probe._exact(device)
    probe.measure(exact, exact, device, tokens=1024, heads=1)  # loads and compiles what is not the candidates'
    for name, module in (("int8", int8_attention), ("sol", sol_attention)):
        start = time.perf_counter()
        why_not = module.why_not(device)
        found[name] = {"why_not": why_not, "not_worth": module.not_worth(device),
                       "seconds": round(time.perf_counter() - start, 2)}
    return found | {precision: fastest(precision, device)[0].name for precision in (EXACT, EIGHT_BIT)}


def layer(tokens: int, heads: int, device: torch.device) -> dict[str, object]:
    """Of each function: milliseconds, times as fast as the exact one, error, and GiB beside inputs and result."""
    exact, _, name = probe._exact(device)
    functions = {f"sol {density}": partial(sol_attention.attention, density=density) for density in DENSITIES}
    if device.type == "cuda":
        functions = {name: exact, "int8": int8_attention.attention, **functions}
    return {"tokens": tokens, "heads": heads, "exact": name} | {
        label: measured(function, exact, device, tokens, heads) for label, function in functions.items()}


def measured(function, exact, device: torch.device, tokens: int, heads: int) -> dict[str, float] | str:
    try:
        result = probe.measure(function, exact, device, tokens=tokens, heads=heads)
        q, k, v = probe.inputs(tokens, heads, device)
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = probe._seconds(lambda: function(q, k, v, heads), device)
        peak = torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else 0
    except Exception as error:  # of one function on this card; the others are of interest still
        return f"{type(error).__name__}: {error}"
    result_bytes = q.numel() * q.element_size()
    return {"ms": round(seconds * 1e3, 2), "gain": round(result.gain, 2), "error": round(result.error, 4),
            "GiB": round(max(peak - result_bytes, 0) / 2**30, 2)}


if __name__ == "__main__":
    main()
