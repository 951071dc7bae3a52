"""One forward of SCAIL-2 on a GPU: ComfyUI core's network against ours, same weights, same inputs, same run.

    python tests/bench/forward_gpu.py COMFYUI_DIR [--layers 40] [--repeats 5] [--json FILE]

Measures seconds (median of CUDA event times, the two models in turn) and peak memory of a forward at 14B widths with
random weights, then the relative error of both in bfloat16 against float32 on a model of few layers. The float32
forward is ours, which the unit tests hold to the official numbers. Needs a CUDA GPU with 60 GB for 40 layers; only
ComfyUI's `comfy` package is used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.transformer import SCAIL2Transformer  # noqa: E402

SIZES = ((512, 896, 81), (704, 1280, 81))
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


def build_ours(config: TransformerConfig, weights: dict[str, torch.Tensor]):
    model = SCAIL2Transformer(config, device="meta")
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(False)
    return lambda inputs: model(**inputs)


def build_core(config: TransformerConfig, weights: dict[str, torch.Tensor]):
    """ComfyUI's SCAIL2WanModel on the same tensors; its patch embeddings are float32 by its own design."""
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.ops
    from comfy.ldm.wan.model import SCAIL2WanModel

    model = SCAIL2WanModel(
        dim=config.dim, ffn_dim=config.ffn_dim, num_heads=config.num_heads, num_layers=config.num_layers,
        in_dim=config.in_dim, out_dim=config.out_dim, freq_dim=config.freq_dim, text_dim=config.text_dim,
        text_len=config.text_len, qk_norm=True, cross_attn_norm=True, eps=config.eps, device="meta",
        dtype=next(iter(weights.values())).dtype, operations=comfy.ops.disable_weight_init,
    )
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


def measure(forward, inputs: dict) -> tuple[float, float]:
    """(seconds, peak GiB) of one forward."""
    torch.cuda.reset_peak_memory_stats()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    forward(inputs)
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / 1e3, torch.cuda.max_memory_allocated() / 2**30


def compare_speed(forwards: dict, repeats: int) -> list[dict]:
    rows = []
    for height, width, frames in SIZES:
        inputs = random_inputs(height, width, frames)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in forwards}
        for repeat in range(repeats + 1):
            for name, forward in forwards.items():
                result = measure(forward, inputs)
                if repeat:  # the first of each compiles kernels and picks algorithms
                    runs[name].append(result)
        row = {"size": f"{height}x{width}x{frames}"}
        for name, results in runs.items():
            row[f"{name}_s"] = round(statistics.median(seconds for seconds, _ in results), 3)
            row[f"{name}_gib"] = round(max(peak for _, peak in results), 2)
        pairs = zip(runs["ours"], runs["core"], strict=True)
        row["time_ratio"] = round(statistics.median(ours[0] / core[0] for ours, core in pairs), 4)
        row["memory_ratio"] = round(row["ours_gib"] / row["core_gib"], 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def compare_errors() -> dict:
    """Relative L2 error in bfloat16, against the float32 forward of ours and against each model's own."""
    config = TransformerConfig(num_layers=ERROR_LAYERS)
    weights = random_weights(config)
    wide = {name: tensor.float() for name, tensor in weights.items()}
    inputs = random_inputs(*ERROR_SIZE)
    wide_inputs = {k: v.float() if torch.is_tensor(v) else v for k, v in inputs.items()}
    exact = {"core": build_core(config, wide)(wide_inputs), "ours": build_ours(config, wide)(wide_inputs)}
    half = {"core": build_core(config, weights)(inputs).float(), "ours": build_ours(config, weights)(inputs)}

    def relative(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(f"{float((a - b).norm() / b.norm()):.2e}")

    return {"layers": ERROR_LAYERS, "size": "x".join(map(str, ERROR_SIZE)),
            "core_float32": relative(exact["core"], exact["ours"])} | {
        f"{name}_bfloat16{suffix}": relative(half[name], exact[other])
        for name in half for suffix, other in (("", "ours"), ("_own_float32", name))
    }


def table(rows: list[dict]) -> str:
    lines = ["| size | core s | ours s | ratio | core GiB | ours GiB | ratio |", "|---|---|---|---|---|---|---|"]
    columns = ("size", "core_s", "ours_s", "time_ratio", "core_gib", "ours_gib", "memory_ratio")
    lines += [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in rows]
    return "\n".join(lines)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, options.comfyui)
    sys.argv = sys.argv[:1]

    errors = compare_errors()
    print(json.dumps(errors), flush=True)
    torch.cuda.empty_cache()
    config = TransformerConfig(num_layers=options.layers)
    weights = random_weights(config)
    forwards = {"core": build_core(config, weights), "ours": build_ours(config, weights)}
    rows = compare_speed(forwards, options.repeats)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(
            {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "layers": options.layers,
             "speed": rows, "error": errors}, indent=1))


if __name__ == "__main__":
    main()
