"""Sampling when the weights do not fit on the card: ComfyUI core's loader against ours, in real ComfyUI code.

    python tests/bench/lowvram_gpu.py COMFYUI_DIR [--budgets 0 24 12] [--models core exact 8-bit] [--copies 4]

A 14B network with random bfloat16 weights under ComfyUI's dynamic memory management, 512x896, 81 frames, guidance 1.
A ballast allocation leaves BUDGET GiB of the GPU free (0: all of it), and the card says that it is as large as that,
which decides whether our blocks compute in chunks. Seconds per step are medians of the steps after the first; the
peak is what PyTorch allocates beside the ballast, so without the weights, which dynamic memory keeps elsewhere. With
--copies N every copy of weights to the GPU is made N times, as if the bus were N times slower; the bus's own speed is
printed. Needs a CUDA GPU with 60 GB and 100 GB of RAM; only ComfyUI's `comfy` package is used, no server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
MODELS = CORE, EXACT, EIGHT_BIT = "core", "exact", "8-bit"
WIDTH, HEIGHT, FRAMES, STEPS = 896, 512, 81, 6


def start_comfyui(folder: str) -> None:
    """What ComfyUI's main.py does before it loads a model on an NVIDIA card: dynamic memory on."""
    sys.path.insert(0, folder)
    sys.argv = sys.argv[:1]
    import comfy_aimdo.control

    comfy_aimdo.control.init(simple_vram_headroom=None)
    import comfy.options

    comfy.options.enable_args_parsing(False)
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    devices = [(device.index, 0) for device in comfy.model_management.get_all_torch_devices()]
    if not comfy_aimdo.control.init_devices(devices):
        raise SystemExit("dynamic memory is not available here")
    comfy_aimdo.control.set_log_warning()
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True


def slow_bus(copies: int) -> None:
    """Make every transfer of ComfyUI's weights `copies` times, on the stream that it has."""
    import comfy.model_management

    once = comfy.model_management.cast_to_gathered

    def repeated(*arguments, **options) -> None:
        for _ in range(copies):
            once(*arguments, **options)

    comfy.model_management.cast_to_gathered = repeated


def bus_speed() -> float:
    """GB/s of a copy from pinned memory."""
    source, target = torch.empty(1 << 30, dtype=torch.uint8).pin_memory(), torch.empty(1 << 30, dtype=torch.uint8,
                                                                                      device="cuda")
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return round(source.numel() / min(seconds) / 1e9, 1)


def random_weights() -> dict[str, torch.Tensor]:
    from scail_model.config import TransformerConfig

    weights = {}
    for name, shape in TransformerConfig().parameter_shapes().items():
        tensor = torch.randn(shape, device="cuda") * (0.02 if len(shape) > 1 else 0.1)
        weights[name] = (tensor + 1 if "norm" in name and name.endswith("weight") else tensor).bfloat16().cpu()
    torch.cuda.empty_cache()
    return weights


def conditioning() -> list:
    """Core's conditioning keys, which both models read."""
    h, w, t = HEIGHT // 8, WIDTH // 8, (FRAMES + 3) // 4
    clip = type("ClipOutput", (), {"penultimate_hidden_states": torch.randn(1, 257, 1280)})()
    values = {
        "reference_latents": [torch.randn(1, 16, 1, h, w)], "pose_video_latent": torch.randn(1, 16, t, h // 2, w // 2),
        "driving_mask_28ch": torch.zeros(1, t, 28, h // 2, w // 2), "ref_mask_28ch": torch.zeros(1, t + 1, 28, h, w),
        "ref_mask_flag": True, "clip_vision_output": clip,
    }
    return [[torch.randn(1, 512, 4096), values]]


def measure(model, positive: list) -> dict[str, float]:
    import comfy.sample

    noise = torch.randn(1, 16, (FRAMES + 3) // 4, HEIGHT // 8, WIDTH // 8)
    stamps = [time.monotonic()]

    def callback(step, denoised, x, total) -> None:
        torch.cuda.synchronize()
        stamps.append(time.monotonic())

    latent = comfy.sample.sample(
        model, noise, STEPS, 1.0, "euler", "simple", positive, positive, torch.zeros_like(noise), callback=callback,
        seed=0, disable_pbar=True)
    assert torch.isfinite(latent).all()
    steps = [later - earlier for earlier, later in zip(stamps[:-1], stamps[1:], strict=True)]
    return {"first_step_s": round(steps[0], 2), "s_per_step": round(statistics.median(steps[1:]), 3)}


@contextmanager
def card_of(budget: float) -> Iterator[None]:
    """ComfyUI sees a card of so many GiB; 0: of its own size."""
    import comfy.model_management as management

    total = management.get_total_memory
    if budget:
        management.get_total_memory = lambda *arguments, **options: int(budget * 2**30)
    try:
        yield
    finally:
        management.get_total_memory = total


def with_budget(model, positive: list, budget: float) -> dict[str, float]:
    """One run with only `budget` GiB of the card free, and its peak in GiB."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    free = torch.cuda.mem_get_info()[0]
    ballast = torch.empty(max(0, int(free - budget * 2**30)), dtype=torch.uint8, device="cuda") if budget else None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    try:
        with card_of(budget):
            found = measure(model, positive)
        return found | {"peak_gib": round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)}
    finally:
        del ballast
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comfyui", help="a ComfyUI checkout")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0, 24, 12], help="GiB left free; 0 is all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--copies", type=int, default=1, help="of all weights that cross the bus")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start_comfyui(options.comfyui)
    import comfy.sd

    slow_bus(options.copies)

    from scail_model.comfy.loader import load_state_dict

    weights = random_weights()
    loaders = {CORE: comfy.sd.load_diffusion_model_state_dict, EXACT: lambda w: load_state_dict(w, {}),
               EIGHT_BIT: lambda w: load_state_dict(w, {}, {"precision": "8-bit"})}
    models = {name: loaders[name](dict(weights)) for name in options.models}
    positive = conditioning()
    rows = []
    for budget in options.budgets:
        row = {"budget_gib": budget} | {name: with_budget(model, positive, budget) for name, model in models.items()}
        rows.append(row)
        for name in models:
            row[name]["to_first_budget"] = round(row[name]["s_per_step"] / rows[0][name]["s_per_step"], 4)
        print(json.dumps(row), flush=True)
    result = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "copies": options.copies,
              "bus_gb_per_s": bus_speed(),
              "patchers": {name: type(model).__name__ for name, model in models.items()}, "rows": rows}
    print(json.dumps({name: value for name, value in result.items() if name != "rows"}))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
