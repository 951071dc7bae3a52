"""Wan's VAE as ComfyUI runs it: seconds, memory, where the time goes.

    python tests/bench/vae_gpu.py COMFYUI_DIR [--sizes 704x1280x61 512x896x81] [--profile] [--convolutions]
        [--parts] [--json FILE]
    python tests/bench/vae_gpu.py diffusers [--sizes ...]

ComfyUI's own VAE object with random weights of the real size, called as its nodes call it and as the pack does, in
turn: frames come from and go to main memory, and seconds are by the clock, transfers included. "equal" is to the bit.
With several GPUs decoding is measured on 2, 4 and 8 of them too. `--parts` adds milliseconds of the decoder's parts, of
launching them and of all, and what stages on several GPUs would bring by that. `--profile` adds the operations by their
time on the GPU; `--convolutions` adds every shape of convolution in a decode, in both memory layouts: milliseconds, and
whether the results are equal. `diffusers`: the command line's VAE, in float32, with its weights in either layout.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from budget_gpu import vae_weights  # noqa: E402


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(call: Callable[[], Tensor], repeats: int) -> tuple[Tensor, dict]:
    """Result, seconds by the clock and their median, and GiB added at the peak."""
    seconds, gib, result = [], 0.0, torch.empty(0)
    for _ in range(repeats):
        del result
        before = 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        synchronize()
        start = time.perf_counter()
        result = call()
        synchronize()
        seconds.append(time.perf_counter() - start)
        if torch.cuda.is_available():
            gib = max(gib, (torch.cuda.max_memory_allocated() - before) / 2**30)
    return result, {"seconds": round(statistics.median(seconds), 3), "gib": round(gib, 2),
                    "all": [round(one, 3) for one in seconds]}


def on_device(call: Callable[[], object], repeats: int = 5) -> float:
    """Milliseconds on the GPU, median; by the clock without one."""
    call()
    times = []
    for _ in range(repeats):
        synchronize()
        begin = time.perf_counter()
        call()
        synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return round(statistics.median(times), 3)


class Convolutions(TorchDispatchMode):
    """Counts the convolutions of what runs under it, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name in ("aten::conv2d", "aten::conv3d", "aten::convolution"):
            x, weight, bias, *where = (*args, *(None, (1,), (0,))[len(args) - 2:])[:5]  # defaults are left out
            self.seen[(name, tuple(x.shape), tuple(x.stride()), tuple(weight.shape), bias is not None,
                       *(tuple(value) for value in where))] += 1
        return func(*args, **(kwargs or {}))


def convolution_rows(vae, call: Callable[[], Tensor]) -> list[dict]:
    with Convolutions() as convolutions:
        call()
    rows = []
    for (name, shape, strides, weight_shape, biased, stride, padding), count in convolutions.seen.items():
        x = torch.randn(shape, device=vae.device, dtype=vae.vae_dtype)
        fan_in = weight_shape[1] * torch.Size(weight_shape[2:]).numel()
        weight = torch.randn(weight_shape, device=vae.device, dtype=vae.vae_dtype) * fan_in**-0.5
        bias = torch.randn(weight_shape[0], device=vae.device, dtype=vae.vae_dtype) if biased else None
        last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        convolve = torch.conv3d if x.ndim == 5 else torch.conv2d
        x_last, weight_last = x.contiguous(memory_format=last), weight.contiguous(memory_format=last)
        ways = {"first": (x, weight), "last": (x_last, weight_last), "weight last": (x, weight_last)}
        results, times = {}, {}
        for way, given in ways.items():
            call = partial(convolve, *given, bias, stride, padding)
            times[way], results[way] = on_device(call), call()
        rows.append({"name": name, "x": shape, "contiguous": torch.empty(shape, device="meta").stride() == strides,
                     "weight": weight_shape, "stride": stride, "padding": padding, "count": count, "ms": times,
                     "equal": {way: torch.equal(results[way], results["first"]) for way in ways if way != "first"}})
        print(json.dumps(rows[-1]), flush=True)
    totals = {way: round(sum(row["ms"][way] * row["count"] for row in rows) / 1e3, 3) for way in rows[0]["ms"]}
    print(json.dumps({"convolutions, seconds": totals}), flush=True)
    return rows


def parts_row(vae, latent: Tensor) -> dict:
    """The decoder's parts on one GPU, from the second of two clips; pictures are left there."""
    from scail_model.comfy import wan_vae
    from scail_model.gpus import pipeline

    z = latent.to(vae.device, vae.vae_dtype)
    row: dict = {}
    for _ in range(2):
        decoder = wan_vae.Decoder(vae.first_stage_model, z)
        synchronize()
        start = time.perf_counter()
        for _ in decoder.stages[0](decoder.pieces(z)):
            pass
        row["launch_ms"] = round(1e3 * (time.perf_counter() - start), 1)
        synchronize()
        row["whole_ms"] = round(1e3 * (time.perf_counter() - start), 1)
    decoder = wan_vae.Decoder(vae.first_stage_model, z)
    stage, names = decoder.stages[0], [type(part).__name__ for part in decoder.stages[0].parts]
    events: dict[int, list[tuple]] = {id(part): [] for part in stage.parts}

    def timed(call: Callable) -> Callable:
        def wrapped(part, x: Tensor) -> Tensor:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            y = call(part, x)
            end.record()
            events[id(part)].append((begin, end))
            return y
        return wrapped

    with ExitStack() as patches:
        for kind in {type(part) for part in stage.parts}:
            patches.enter_context(mock.patch.object(kind, "__call__", timed(kind.__call__)))
        for _ in stage(decoder.pieces(z)):
            pass
    synchronize()
    times = tuple(sum(begin.elapsed_time(end) for begin, end in found) for found in events.values())
    longest = {count: max(sum(times[cut]) for cut in pipeline.cuts(times, count)) for count in (2, 4, 5, 8)}
    return row | {"parts": [[name, round(ms, 1)] for name, ms in zip(names, times, strict=True)],
                  "times as fast": {count: round(sum(times) / ms, 2) for count, ms in longest.items()}}


def profile(call: Callable[[], Tensor]) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    sort_by = "self_cpu_time_total"
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        sort_by = "self_device_time_total"
    with torch.profiler.profile(activities=activities) as profiled:
        call()
        synchronize()
    print(profiled.key_averages().table(sort_by=sort_by, row_limit=28, max_name_column_width=70), flush=True)


def load_vae(comfyui: str):
    sys.path.insert(0, comfyui)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    import comfy.sd

    return comfy.sd.VAE(sd=vae_weights())


def gpus_but_one(device: torch.device, count: int) -> list[torch.device]:
    """The others of `count` GPUs."""
    gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [gpu for gpu in gpus if gpu != device][: count - 1]


def diffusers_rows(sizes: list[tuple[int, ...]], repeats: int) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoencoderKLWan(**({} if device.type == "cuda" else {"base_dim": 16})).to(device).eval()
    for height, width, frames in sizes:
        latent = torch.randn(1, 16, (frames + 3) // 4, height // 8, width // 8, device=device)
        results, row = [], {"size": [height, width, frames]}
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            for module in model.modules():
                if isinstance(module, torch.nn.Conv3d):
                    module.weight.data = module.weight.data.contiguous(memory_format=layout)
            model.decode(latent[:, :, :3])
            result, row[str(layout)] = measure(lambda latent=latent: model.decode(latent).sample.cpu(), repeats)
            results.append(result)
        print(json.dumps(row | {"equal": torch.equal(*results)}), flush=True)


def sized(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout, or diffusers")
    parser.add_argument("--sizes", nargs="+", type=sized, default=[(704, 1280, 61), (512, 896, 81)],
                        help="height x width x frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--convolutions", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.comfyui == "diffusers":
        diffusers_rows(options.sizes, options.repeats)
        return
    vae = load_vae(options.comfyui)
    from scail_model.comfy import video_vae as our_vae

    logging.basicConfig(level=logging.INFO)
    report: dict = {"torch": torch.__version__, "dtype": str(vae.vae_dtype), "device": str(vae.device), "rows": []}
    if torch.cuda.is_available():
        report |= {"gpu": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    print(json.dumps(report), flush=True)
    for height, width, frames in options.sizes:
        torch.manual_seed(0)
        latent = torch.randn(1, 16, (frames + 3) // 4, height // 8, width // 8)
        pixels = torch.rand(frames, height, width, 3)
        for name, given in (("decode", latent), ("encode", pixels)):
            calls = {"core": partial(getattr(vae, name), given)}
            if hasattr(our_vae, name):
                calls["ours"] = partial(getattr(our_vae, name), vae, given)
            if name == "decode":
                calls |= {f"{count} GPUs": partial(our_vae.decode, vae, given, gpus_but_one(vae.device, count))
                          for count in (2, 4, 8) if count <= torch.cuda.device_count()}
            row: dict = {"what": name, "size": [height, width, frames]}
            report["rows"].append(row)
            results = {}
            for way, call in calls.items():
                start = time.perf_counter()
                call()
                synchronize()
                results[way], row[way] = measure(call, options.repeats)
                row[way]["first"] = round(time.perf_counter() - start - sum(row[way]["all"]), 3)
            row["equal"] = all(torch.equal(results["core"], result) for result in results.values())
            results.clear()
            print(json.dumps(row), flush=True)
            for call in calls.values():
                if options.profile:
                    profile(call)
            if options.parts and name == "decode":
                row |= parts_row(vae, latent)
                print(json.dumps(row), flush=True)
            if options.convolutions:
                row["convolutions"] = convolution_rows(vae, calls["core"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
