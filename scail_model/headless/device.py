"""Where models compute without ComfyUI, and what that machine has."""

from __future__ import annotations

import psutil
import torch

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


def machine(device: torch.device, models: KeptModels | None = None, *, timed: bool) -> Machine:
    """Memory in bytes, as it is now, without what `models` hold, which a run uses or gives up; the GPU's speed only if
    `timed`."""
    models = models or KeptModels()
    free_ram = psutil.virtual_memory().available + models.held("cpu")
    if device.type != "cuda":
        return Machine(0, 0, free_ram, None)
    free, total = torch.cuda.mem_get_info(device)
    free += models.held("cuda")
    return Machine(total, free, free_ram, probe_tflops(device) if timed else None)
