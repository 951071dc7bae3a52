"""One forward of SCAIL-2 on a GPU: ComfyUI core's network against ours, same weights, same inputs, same run.

    python tests/bench/forward_gpu.py COMFYUI_DIR [--layers 40] [--repeats 5] [--sizes 512x896x81,...] [--json FILE]

Measures seconds (median of CUDA event times, the networks in turn) and peak memory of a forward at 14B widths with
random weights: core in bfloat16 ("core cuDNN first": with PyTorch's cuDNN attention first, which newer ComfyUIs try
second), ours exact and in 8 bits with the fastest attention that is installed, sparse on exact linears ("sparse 20%":
with another density than usual) and fast, and at the first size core's own fp8 mode. Sparse seconds are the mean of a
run of 8 steps: the first one measures all layers, the others an eighth of them; the limit of the error is off. A
network's memory is that of its weights and of what it needs beside them. Then the relative L2 difference of each from
our bfloat16 forward with PyTorch's attention, and on few layers of that and of core's from float32, which the unit
tests hold to the official numbers. Needs a CUDA GPU with 100 GB for 40 layers; only ComfyUI's `comfy` package is used.
`speed_plot.py` draws the result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.attention import sdpa  # noqa: E402
from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.kernels.attention_backends import AUTOMATIC  # noqa: E402
from scail_model.kernels.attention_backends import SPARSE as SPARSE_ATTENTION  # noqa: E402
from scail_model.kernels.attention_choice import Backend, HostAttention, choose  # noqa: E402
from scail_model.kernels.linears import FullPrecision, QuantizingInt8  # noqa: E402
from scail_model.kernels.precision import EIGHT_BIT, EXACT, FAST, int8_linears, int8_storage  # noqa: E402
from scail_model.kernels.sparse_attention import RUN  # noqa: E402
from scail_model.sparse.run import SparseRun  # noqa: E402
from scail_model.sparse.settings import SparseSettings  # noqa: E402
from scail_model.transformer import SCAIL2Transformer  # noqa: E402

SIZES = "512x896x81,704x1280x81,640x640x49,480x832x81,704x1280x33"
CORE, CUDNN_FIRST, FP8, SPARSE = "core", "core cuDNN first", "core fp8", "sparse"
MODES = CORE, EXACT, EIGHT_BIT, SPARSE, FAST, FP8
STEPS = 8  # of the run whose mean is a sparse mode's time
PACKAGES = ("flash-attn-4", "nvidia-cudnn-frontend", "triton")
Forward = Callable[[dict], torch.Tensor]
ERROR_SIZE, ERROR_LAYERS = (512, 896, 81), 4


def random_weights(config: TransformerConfig) -> dict[str, torch.Tensor]:
    """bfloat16 on the GPU; scaled so that activations stay of the order of a trained network's."""
    generator = torch.Generator("cuda").manual_seed(0)
    weights = {}
    for name, shape in config.parameter_shapes().items():
        tensor = torch.randn(shape, generator=generator, device="cuda") * (0.02 if len(shape) > 1 else 0.1)
        if "norm" in name and name.endswith("weight"):
            tensor += 1
        weights[name] = tensor.bfloat16()
    return weights


def random_inputs(height: int, width: int, frames: int) -> dict:
    generator = torch.Generator("cuda").manual_seed(1)
    t, h, w = (frames + 3) // 4, height // 8, width // 8

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda").bfloat16()

    def mask(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, generator=generator, device="cuda") > 0.5).bfloat16()

    return {
        "x": noise(1, 16, t, h, w), "timestep": torch.tensor([500.0], device="cuda"),
        "context": noise(1, 512, 4096), "clip_features": noise(1, 257, 1280),
        "reference_latents": noise(1, 16, 1, h, w), "reference_masks": mask(1, 28, 1, h, w),
        "driving_latents": noise(1, 16, t, h // 2, w // 2), "driving_masks": mask(1, 28, t, h // 2, w // 2),
        "replacement": False,
    }


def build_ours(config: TransformerConfig, weights: dict[str, torch.Tensor], attention=sdpa,
               linears: FullPrecision | None = None) -> Forward:
    """Our network on the same tensors; by default with PyTorch's attention."""
    model = SCAIL2Transformer(config, attention=attention, linears=linears, device="meta")
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(False)
    if isinstance(linears, QuantizingInt8):
        linears.quantize(model, int8_linears(config.num_layers))
    return lambda inputs: model(**inputs)


def attention(precision: str, name: str = AUTOMATIC) -> Backend:
    """What the pack computes attention with in a precision."""
    return choose(name, torch.device("cuda", 0), precision, HostAttention("pytorch", "pytorch", sdpa))


def build(mode: str, config: TransformerConfig, weights: dict[str, torch.Tensor]) -> Forward:
    """A forward by its name in the tables."""
    if mode in (CORE, FP8):
        return build_core(config, weights, fp8=mode == FP8)
    if mode == CUDNN_FIRST:
        return build_core_with_cudnn(config, weights)
    if mode == FAST or mode.startswith(SPARSE):
        density = float(mode.removeprefix(SPARSE).strip(" %") or 0) / 100 if mode != FAST else 0.0
        return SparseForward(config, weights, QuantizingInt8() if mode == FAST else None, density)
    if mode == EXACT:
        return build_ours(config, weights, attention(EXACT))
    return build_ours(config, weights, attention(EIGHT_BIT), QuantizingInt8())


class SparseForward:
    """Our network with sparse attention; `begin` starts a sampling, and every forward after it is a step."""

    def __init__(self, config: TransformerConfig, weights: dict[str, torch.Tensor], linears: FullPrecision | None,
                 density: float) -> None:
        self.settings = SparseSettings(density, error_limit=0.0)
        self.forward = build_ours(config, weights, attention(EXACT, SPARSE_ATTENTION), linears)
        self.begin()

    def begin(self) -> None:
        self.run, self.steps = SparseRun(self.settings), 0

    def __call__(self, inputs: dict) -> torch.Tensor:
        self.steps += 1
        timestep = inputs["timestep"] - self.steps
        return self.forward({**inputs, "timestep": timestep, "transformer_options": {RUN: self.run}})


def build_core_with_cudnn(config: TransformerConfig, weights: dict[str, torch.Tensor]) -> Forward:
    """Core as it is, but that it tries cuDNN's attention first."""
    forward = build_core(config, weights)
    from comfy.ops import SDPA_BACKEND_PRIORITY as order
    from torch.nn.attention import SDPBackend

    def with_cudnn(inputs: dict) -> torch.Tensor:
        before = list(order)
        order.sort(key=lambda backend: backend != SDPBackend.CUDNN_ATTENTION)
        try:
            return forward(inputs)
        finally:
            order[:] = before

    return with_cudnn


def build_core(config: TransformerConfig, weights: dict[str, torch.Tensor], fp8: bool = False) -> Forward:
    """ComfyUI's SCAIL2WanModel on the same tensors; its patch embeddings are float32 by its own design.

    fp8: as `weight_dtype: fp8_e4m3fn_fast` has it.
    """
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.ops
    from comfy.ldm.wan.model import SCAIL2WanModel

    model = SCAIL2WanModel(
        dim=config.dim, ffn_dim=config.ffn_dim, num_heads=config.num_heads, num_layers=config.num_layers,
        in_dim=config.in_dim, out_dim=config.out_dim, freq_dim=config.freq_dim, text_dim=config.text_dim,
        text_len=config.text_len, qk_norm=True, cross_attn_norm=True, eps=config.eps, device="meta",
        dtype=next(iter(weights.values())).dtype,
        operations=comfy.ops.fp8_ops if fp8 else comfy.ops.disable_weight_init,
    )
    if fp8:
        weights = {k: v.to(torch.float8_e4m3fn) if k.startswith("blocks.") and v.ndim == 2 else v
                   for k, v in weights.items()}
    model.load_state_dict({k: v.float() if "patch_embedding" in k else v for k, v in weights.items()}, assign=True)
    model.requires_grad_(False)

    def with_channels(latents: torch.Tensor, value: float) -> torch.Tensor:
        return torch.cat((latents, torch.full_like(latents[:, :4], value)), dim=1)

    def forward(inputs: dict) -> torch.Tensor:
        masks, frames = inputs["reference_masks"], inputs["x"].shape[2]
        return model._forward(
            with_channels(inputs["x"], 0.0), inputs["timestep"], inputs["context"], clip_fea=inputs["clip_features"],
            pose_latents=with_channels(inputs["driving_latents"], 1.0),
            reference_latent=with_channels(inputs["reference_latents"], 1.0),
            ref_mask_latents=torch.cat((masks, torch.zeros_like(masks).expand(-1, -1, frames, -1, -1)), dim=2),
            sam_latents=inputs["driving_masks"], ref_mask_flag=not inputs["replacement"], transformer_options={},
        )

    return forward


def weight_bytes(mode: str, config: TransformerConfig, weights: dict[str, torch.Tensor]) -> int:
    """What a network's own weights take."""
    narrow: set[str] = set()
    if int8_storage(mode):
        narrow = {f"{name}.weight" for name in int8_linears(config.num_layers)}
    elif mode == FP8:
        narrow = {name for name, w in weights.items() if name.startswith("blocks.") and w.ndim == 2}
    return sum(w.numel() * (1 if name in narrow else w.element_size()) for name, w in weights.items())


def measure(forward: Forward, inputs: dict) -> tuple[float, int]:
    """(seconds, bytes beside what was there before) of one forward; of a sparse one the mean of a sampling, in which
    all steps but the first are alike."""
    if not isinstance(forward, SparseForward):
        return measure_once(forward, inputs)
    forward.begin()
    (first, most), (later, other) = (measure_once(forward, inputs) for _ in range(2))
    return (first + (STEPS - 1) * later) / STEPS, max(most, other)


def measure_once(forward: Forward, inputs: dict) -> tuple[float, int]:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    forward(inputs)
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / 1e3, torch.cuda.max_memory_allocated() - before


def tokens(height: int, width: int, frames: int) -> int:
    """Length of the sequence: reference, video, driving video at half size."""
    area, latent_frames = height * width // 256, (frames + 3) // 4
    return area * (1 + latent_frames) + area // 4 * latent_frames


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(f"{float((a.float() - b.float()).norm() / b.float().norm()):.2e}")


def compare(forwards: dict[str, Forward], own: dict[str, int], eager: Forward, size: tuple[int, int, int],
            repeats: int) -> dict:
    """One row: seconds, GiB, ratios to core, and the difference from `eager`, by mode."""
    inputs = random_inputs(*size)
    expected = eager(inputs)
    row: dict = {"size": "x".join(map(str, size)), "tokens": tokens(*size), "repeats": repeats}
    # the first forward of each compiles kernels and picks algorithms
    row["difference"] = {name: relative(forward(inputs), expected) for name, forward in forwards.items()}
    del expected
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in forwards}
    for _ in range(repeats):
        for name, forward in forwards.items():
            runs[name].append(measure(forward, inputs))
    row["seconds"] = {name: round(statistics.median(s for s, _ in found), 3) for name, found in runs.items()}
    row["gib"] = {name: round((own[name] + max(extra for _, extra in found)) / 2**30, 2)
                  for name, found in runs.items()}
    row["layer_errors"] = {name: layer_errors(forward) for name, forward in forwards.items()
                           if isinstance(forward, SparseForward)}
    for what, index in (("seconds", "time_ratio"), ("gib", "memory_ratio")):
        row[index] = {name: round(value / row[what][CORE], 4) for name, value in row[what].items()}
    print(json.dumps(row), flush=True)
    return row


def layer_errors(forward: SparseForward) -> dict[str, float]:
    """Of the last steps, as the run has measured them."""
    errors = [error.error for error in forward.run.errors]
    density = statistics.fmean(error.density for error in forward.run.errors)
    return {"mean": round(statistics.fmean(errors), 3), "largest": round(max(errors), 3), "density": round(density, 3)}


def compare_errors() -> dict:
    """Relative L2 error in bfloat16, against the float32 forward of ours and against each model's own."""
    config = TransformerConfig(num_layers=ERROR_LAYERS)
    weights = random_weights(config)
    wide = {name: tensor.float() for name, tensor in weights.items()}
    inputs = random_inputs(*ERROR_SIZE)
    wide_inputs = {k: v.float() if torch.is_tensor(v) else v for k, v in inputs.items()}
    exact = {"core": build_core(config, wide)(wide_inputs), "ours": build_ours(config, wide)(wide_inputs)}
    half = {"core": build_core(config, weights)(inputs).float(), "ours": build_ours(config, weights)(inputs)}
    fastest = build_ours(config, weights, attention(EXACT))(inputs)
    return {"layers": ERROR_LAYERS, "size": "x".join(map(str, ERROR_SIZE)),
            "core_float32": relative(exact["core"], exact["ours"]),
            "exact_bfloat16": relative(fastest, exact["ours"])} | {
        f"{name}_bfloat16{suffix}": relative(half[name], exact[other])
        for name in half for suffix, other in (("", "ours"), ("_own_float32", name))
    }


def table(rows: list[dict]) -> str:
    lines = ["| size | tokens | network | s | time ratio | GiB | memory ratio | difference |", "|---" * 8 + "|"]
    for row in rows:
        lines += [f"| {row['size']} | {row['tokens']:,} | {name} | {row['seconds'][name]:.2f} | "
                  f"{row['time_ratio'][name]:.3f} | {row['gib'][name]:.2f} | {row['memory_ratio'][name]:.3f} | "
                  f"{row['difference'][name]:.1e} |" for name in row["seconds"]]
    return "\n".join(lines)


def comfyui_version() -> str:
    import comfyui_version as module

    return module.__version__


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--repeats", type=int, nargs="+", default=[5], help="at each size; the last one for the rest")
    parser.add_argument("--sizes", default=SIZES, help="height x width x frames, with commas between")
    parser.add_argument("--modes", default=",".join(MODES),
                        help=f"with commas between: {', '.join((*MODES, CUDNN_FIRST))}, sparse 20%%")
    parser.add_argument("--no-float32", action="store_true", help="leave out the comparison with float32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, options.comfyui)
    sys.argv = sys.argv[:1]

    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "layers": options.layers,
              "packages": {name: installed(name) for name in PACKAGES},
              "comfyui": comfyui_version(),
              "attention": {precision: attention(precision).name for precision in (EXACT, EIGHT_BIT)},
              "error": None if options.no_float32 else compare_errors(), "rows": []}
    print(json.dumps(report), flush=True)
    torch.cuda.empty_cache()
    config = TransformerConfig(num_layers=options.layers)
    weights = random_weights(config)
    eager = build_ours(config, weights)
    forwards = {mode: build(mode, config, weights) for mode in options.modes.split(",")}
    own = {mode: weight_bytes(mode, config, weights) for mode in forwards}
    for index, text in enumerate(options.sizes.split(",")):
        height, width, frames = map(int, text.split("x"))
        repeats = options.repeats[min(index, len(options.repeats) - 1)]
        report["rows"].append(compare(forwards, own, eager, (height, width, frames), repeats))
        forwards.pop(FP8, None)  # at one size only
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report["rows"]))


if __name__ == "__main__":
    main()
