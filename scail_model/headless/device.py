"""Where models compute without ComfyUI, and what that machine has."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from ..gpus.probe import link_rate
from ..preflight.budget import Coder, Machine, probe_tflops
from .kept_models import KeptModels

# diffusers' decoder of Wan's VAE, measured on an A100 (minghaop/scail2_exp): 8.9 GiB at 896x512. It works in chunks,
# so the length hardly matters; how fast it is was not measured, and is taken to be as ComfyUI's.
DECODER = Coder(21_000, 21_000, 0, 42.9, 52.9)


def usual_device() -> tuple[torch.device, torch.dtype]:
    """Where and in which type the models compute: bfloat16 on a GPU, as official; a CPU is not faster in it."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16
    return torch.device("cpu"), torch.float32


def machine(devices: Sequence[torch.device], models: KeptModels | None = None, *, timed: bool) -> Machine:
    """Memory in bytes, as it is now, without what `models` hold, which a run uses or gives up; speeds only if `timed`.
    devices: GPUs of one kind, of which the one with the least free memory counts."""
    models = models or KeptModels()
    free_ram = psutil.virtual_memory().available + models.held("cpu")
    if devices[0].type != "cuda":
        return Machine(0, 0, free_ram, None)
    total = min(torch.cuda.mem_get_info(gpu)[1] for gpu in devices)
    return Machine(total, min(free_memory(gpu, models) for gpu in devices), free_ram,
                   probe_tflops(devices[0]) if timed else None, link_rate(tuple(devices)) if timed else None)


def free_memory(gpu: torch.device, models: KeptModels) -> int:
    """Bytes that a run may use: what is free, and what `models` hold."""
    return torch.cuda.mem_get_info(gpu)[0] + models.held(torch.device("cuda", gpu.index or 0))
