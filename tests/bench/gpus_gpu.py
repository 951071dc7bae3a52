"""One forward on several GPUs against one: bits, seconds, memory.

    python tests/bench/gpus_gpu.py [--counts 2 4 5 8] [--precisions exact 8-bit fast] [--layers 3] [--json FILE]
    python tests/bench/gpus_gpu.py --parts [--json FILE]
    python tests/bench/gpus_gpu.py --launching [--json FILE]

14B widths, random weights, bfloat16, the command line's forward. Where the machine has as many GPUs as a count says,
they share a forward, and "times" is how many times as fast that is. Where it has fewer, all ranks are on the first one:
"seconds" is then the time of all of them together, "over" its ratio to one GPU's. "rank_gib_of_one": memory of a rank
against one GPU's; where ranks are on one, of all of them together divided by their number.

`--parts`: a layer's own work of one rank of n on one GPU (`gpus_parts.py`): nothing travels.
`--launching`: a layer of a video so small that many ranks take longer to launch it than to compute it, in steps after
the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import gpus_parts  # noqa: E402

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.gpus.choice import all_gpus  # noqa: E402
from scail_model.gpus.forward import forward_together  # noqa: E402
from scail_model.gpus.probe import link_rate  # noqa: E402
from scail_model.headless.attention import choose, prepare_further  # noqa: E402
from scail_model.kernels.precision import EXACT, FAST, PRECISIONS  # noqa: E402
from scail_model.kernels.sparse_attention import RUN  # noqa: E402
from scail_model.preflight.budget import probe_tflops  # noqa: E402
from scail_model.sparse.run import SparseRun  # noqa: E402
from scail_model.sparse.settings import SparseSettings  # noqa: E402
from scail_model.transformer import SCAIL2Transformer  # noqa: E402

SIZES = ((512, 896, 1, 0), (704, 1280, 1, 0), (512, 896, 2, 0), (480, 832, 1, 2))  # height, width, batch, references
SMALL = ((64, 96, 1, 0), (64, 96, 2, 0), (64, 96, 1, 2))  # on a CPU
LAUNCHED = (256, 448, 1, 0)
_STEPS = 6
GIB = 2**30
Made = tuple[Tensor, float, float]  # a velocity, seconds, and GiB added at the peak of the GPU that needs most


def inputs(config: TransformerConfig, size: tuple[int, int, int, int], device: torch.device, frames: int) -> dict:
    height, width, batch, references = size
    h, w, dtype = height // 8, width // 8, gpus_parts.dtype_on(device)
    generator = torch.Generator(device).manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=device)

    found = {"x": drawn(16, frames, h, w), "timestep": torch.full((batch,), 700.0, device=device),
             "context": drawn(40, config.text_dim).to(dtype), "clip_features": drawn(257, 1280),
             "reference_latents": drawn(16, 1, h, w), "reference_masks": drawn(28, 1, h, w),
             "driving_latents": drawn(16, frames, h // 2, w // 2), "driving_masks": drawn(28, frames, h // 2, w // 2),
             "replacement": False}
    if references:
        found |= {"additional_latents": drawn(16, references, h, w), "additional_masks": drawn(28, references, h, w)}
    return found


def measured(call: Callable[[], Tensor], devices: Sequence[torch.device]) -> Made:
    gpus = [device for device in dict.fromkeys(devices) if device.type == "cuda"]
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    before = [torch.cuda.memory_allocated(gpu) for gpu in gpus]
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    start = time.perf_counter()
    velocity = call()
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    seconds = time.perf_counter() - start
    added = [torch.cuda.max_memory_allocated(gpu) - kept for gpu, kept in zip(gpus, before, strict=True)]
    return velocity, seconds, max(added, default=0) / GIB


def best(call: Callable[[dict], Tensor], devices: Sequence[torch.device], options: Callable[[], dict],
         repeats: int) -> tuple[Made, dict]:
    """Of a few runs the shortest, and the options of the first one; memory of the first, which is the most."""
    asked = options()
    velocity, seconds, gib = measured(lambda: call(asked), devices)
    for _ in range(repeats):
        seconds = min(seconds, measured(lambda: call(options()), devices)[1])
    return (velocity, seconds, gib), asked


def options_of(precision: str) -> dict:
    return {RUN: SparseRun(SparseSettings()), "cond_or_uncond": [0]} if precision == FAST else {}


def one_by_one(net: SCAIL2Transformer, given: dict) -> Tensor:
    items = [{name: value[i : i + 1] if isinstance(value, Tensor) else value for name, value in given.items()}
             for i in range(len(given["x"]))]
    return torch.cat([net(**item, transformer_options={}) for item in items])


def row(nets: Sequence[SCAIL2Transformer], devices: Sequence[torch.device], given: dict, precision: str,
        counts: Sequence[int], repeats: int) -> dict:
    """One GPU, and each count of them. nets: on each of `devices`."""
    (expected, alone, gib), options = best(lambda o: nets[0](**given, transformer_options=o), devices[:1],
                                           lambda: options_of(precision), repeats)
    found: dict = {"seconds": round(alone, 3), "gib": round(gib, 2)}
    if len(given["x"]) > 1:
        found["batch_equal"] = torch.equal(expected, one_by_one(nets[0], given))
    for count in counts:
        spread = count <= len(devices)
        used, own = (devices[:count], nets[:count]) if spread else (devices[:1] * count, nets[:1] * count)
        (velocity, seconds, most), asked = best(
            lambda o, used=used, own=own: forward_together(used, own, **given, transformer_options=o), used,
            lambda: options_of(precision), repeats)
        of_one = most / gib / (1 if spread else count) if gib else None
        found[str(count)] = {"gpus": count if spread else 1, "equal": torch.equal(expected, velocity),
                             "seconds": round(seconds, 3), "rank_gib_of_one": of_one and round(of_one, 3),
                             "times" if spread else "over": round(alone / seconds if spread else seconds / alone, 3)}
        if precision == FAST:
            found[str(count)]["errors_equal"] = (list(map(tuple, asked[RUN].errors))
                                                 == list(map(tuple, options[RUN].errors)))
    return found


def launching(nets: Sequence[SCAIL2Transformer], devices: Sequence[torch.device], given: dict, precision: str,
              counts: Sequence[int]) -> Iterator[dict]:
    """Each count of ranks, on as many GPUs if there are."""
    layers = nets[0].config.num_layers
    for count in counts:
        spread = count <= len(devices)
        used, own = (devices[:count], nets[:count]) if spread else (devices[:1] * count, nets[:1] * count)
        for _ in range(2):  # the first time compiles
            options, seconds = options_of(precision), []
            for step in range(_STEPS):
                at = given | {"timestep": given["timestep"] - step}
                seconds.append(measured(lambda at=at, options=options, used=used, own=own: forward_together(
                    used, own, **at, transformer_options=dict(options)), used)[1])
        yield {"n": count, "gpus": count if spread else 1,
               "layer_ms": round(1e3 * sum(seconds[1:]) / (_STEPS - 1) / layers, 2)}


def measure(options: argparse.Namespace, report: dict) -> None:
    """Every precision, size and count."""
    devices = all_gpus(gpus_parts.first_device())[: max(options.counts)]
    cuda = devices[0].type == "cuda"
    config = TransformerConfig(num_layers=options.layers) if cuda else gpus_parts.SMALL
    report |= {"layers": config.num_layers, "gpus": len(devices), "rows": []}
    if len(devices) > 1:
        report["link"] = link_rate(tuple(devices))
    for precision in options.precisions:
        try:
            name = options.attention if precision == EXACT else "automatic"
            backends = [choose(name, device, precision) for device in devices]
        except ValueError as error:
            print(json.dumps({"precision": precision, "left out": str(error)}), flush=True)
            continue
        name = backends[0].name
        for backend, device in zip(backends, devices, strict=True):
            prepare_further(device, backend, precision)
        nets = [gpus_parts.network(config, precision, backend, device)
                for backend, device in zip(backends, devices, strict=True)]
        if options.launching:
            size = LAUNCHED if cuda else SMALL[0]
            given = inputs(config, size, devices[0], 21 if cuda else 3)
            for found in launching(nets, devices, given, precision, options.counts):
                report["rows"].append({"precision": precision, "size": f"{size[0]}x{size[1]}", **found})
                print(json.dumps(report["rows"][-1]), flush=True)
            continue
        sizes = SMALL if not cuda else SIZES if precision == EXACT else SIZES[:2]
        for size in sizes:
            given = inputs(config, size, devices[0], 21 if cuda else 3)
            found = {"precision": precision, "attention": name,
                     "size": f"{size[0]}x{size[1]}x{81 if cuda else 9}", "batch": size[2], "references": size[3],
                     **row(nets, devices, given, precision, options.counts, options.repeats)}
            report["rows"].append(found)
            print(json.dumps(found), flush=True)
        del nets


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4, 5, 8])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--attention", default="automatic", help="of exact")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--launching", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = gpus_parts.first_device()
    report: dict = {"gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                    "torch": torch.__version__, "matmul_tflops": round(probe_tflops(device), 1)}
    print(json.dumps(report), flush=True)
    if options.parts:
        report["parts"] = gpus_parts.rows(device, options.precisions, [1, *options.counts])
    else:
        measure(options, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
