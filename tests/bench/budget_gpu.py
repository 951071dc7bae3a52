"""What a run needs of a GPU: seconds and memory of SCAIL-2's forward and of the VAE, over sizes and lengths.

    python tests/bench/budget_gpu.py COMFYUI_DIR [--layers 8] [--json FILE]

The figures behind `scail_model/budget.py`. The transformer has 14B widths, random weights and a few layers: memory does
not depend on their number, and seconds are given per layer. The VAE is ComfyUI's with random weights, run as its nodes
run it. Memory is what a call adds to what was allocated before. Needs a CUDA GPU and all of ComfyUI, because `comfy.sd`
imports modules that lie beside `comfy`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from forward_gpu import build_ours, random_inputs, random_weights  # noqa: E402

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.preflight.budget import probe_tflops  # noqa: E402
from scail_model.transformer import SCAIL2Transformer  # noqa: E402

# height, width, frames, additional references, batch
FORWARDS = ((512, 896, 81, 0, 1), (704, 1280, 81, 0, 1), (480, 832, 81, 0, 1), (512, 896, 33, 0, 1),
            (512, 896, 121, 0, 1), (512, 512, 17, 0, 1), (704, 1280, 33, 0, 1), (512, 896, 81, 2, 1),
            (512, 896, 81, 0, 2))
# the same, computed in chunks of so many rows
CHUNKED = (((512, 896, 81, 0, 1), 4096), ((704, 1280, 81, 0, 1), 4096), ((704, 1280, 81, 0, 1), 16384),
           ((512, 896, 81, 0, 2), 4096), ((512, 896, 81, 0, 2), 16384))
CLIPS = ((512, 896, 81), (704, 1280, 81), (512, 896, 33), (512, 512, 17), (512, 896, 1), (704, 1280, 1))


def matmul_tflops() -> float:
    """TFLOP/s of a bfloat16 matrix product of 8192, by the GPU's own clock, once it is warm."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = [_measure(lambda: a @ b)[0] for _ in range(13)][3:]
    return 2 * 8192**3 / statistics.median(seconds) / 1e12


def _measure(call: Callable[[], object]) -> tuple[float, float]:
    """(seconds, GiB added at the peak)."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    result = call()
    stop.record()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return start.elapsed_time(stop) / 1e3, peak / 2**30


def _repeated(call: Callable[[], object], repeats: int) -> dict[str, float]:
    runs = [_measure(call) for _ in range(repeats + 1)][1:]
    return {"seconds": round(statistics.median(seconds for seconds, _ in runs), 4),
            "gib": round(max(peak for _, peak in runs), 3)}


def forward_inputs(height: int, width: int, frames: int, additional: int, batch: int) -> dict:
    inputs = random_inputs(height, width, frames)
    if additional:
        for name in ("latents", "masks"):
            reference = inputs[f"reference_{name}"]
            inputs[f"additional_{name}"] = reference.repeat(1, 1, additional, 1, 1)
    return {name: value.repeat(batch, *[1] * (value.ndim - 1)) if torch.is_tensor(value) else value
            for name, value in inputs.items()}


def forwards(layers: int) -> dict[str, list[dict]]:
    """Rows by name: computed as a whole, and in chunks."""
    config = TransformerConfig(num_layers=layers)
    model = build_ours(config, random_weights(config))
    return {"forward": [forward_row(model, layers, *case) for case in FORWARDS],
            "chunked": [{"rows": rows} | forward_row(model, layers, *case, rows=rows) for case, rows in CHUNKED]}


def forward_row(model: Callable[[dict], object], layers: int, height: int, width: int, frames: int, additional: int,
                batch: int, rows: int | None = None) -> dict:
    inputs = forward_inputs(height, width, frames, additional, batch)
    row = {"height": height, "width": width, "frames": frames, "additional": additional, "batch": batch}
    with mock.patch.object(SCAIL2Transformer, "rows_at_once", return_value=rows):
        row |= _repeated(lambda: model(inputs), 3)
    row["seconds_per_layer"] = round(row.pop("seconds") / layers, 5)
    print(json.dumps({"rows": rows} | row), flush=True)
    return row


def vae_weights() -> dict[str, torch.Tensor]:
    import comfy.ldm.wan.vae

    torch.manual_seed(0)
    module = comfy.ldm.wan.vae.WanVAE(
        dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True])
    return {name: 0.02 * torch.randn(tensor.shape) + (1 if name.endswith("gamma") else 0)
            for name, tensor in module.state_dict().items()}


def vae_rows(comfyui: str) -> list[dict]:
    sys.path.insert(0, comfyui)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.sd

    vae = comfy.sd.VAE(sd=vae_weights())
    rows = []
    for height, width, frames in CLIPS:
        latent = torch.randn(1, 16, (frames + 3) // 4, height // 8, width // 8)
        pixels = torch.rand(frames, height, width, 3)
        vae.decode(latent[:, :, :1])  # loads it
        row = {"height": height, "width": width, "frames": frames, "dtype": str(vae.vae_dtype)}
        for name, call in (("decode", lambda latent=latent: vae.decode(latent)),
                           ("encode", lambda pixels=pixels: vae.encode(pixels))):
            row |= {f"{name}_{key}": value for key, value in _repeated(call, 1).items()}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def one_row_per_line(report: dict) -> str:
    entries = []
    for name, value in report.items():
        rows = ",\n".join(f"  {json.dumps(row)}" for row in value) if isinstance(value, list) else ""
        entries.append(f' "{name}": [\n{rows}\n ]' if rows else f' "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(entries) + "\n}\n"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
              "total_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1),
              "matmul_tflops": round(matmul_tflops(), 1), "probe_tflops": round(probe_tflops(torch.device("cuda")), 1)}
    print(json.dumps(report), flush=True)
    report |= forwards(options.layers)
    torch.cuda.empty_cache()
    report["vae"] = vae_rows(options.comfyui)
    if options.json:
        options.json.write_text(one_row_per_line(report))


if __name__ == "__main__":
    main()
