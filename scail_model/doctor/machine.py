"""What a machine is: versions, system, graphics card and its link, main memory, disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from ..preflight.budget import Machine

_PACKAGES = ("triton", "triton-windows", "flash-attn-4", "nvidia-cudnn-frontend", "comfy-kitchen", "comfy-aimdo",
             "sageattention", "xformers", "kornia", "opencv-python", "opencv-python-headless", "opencv-contrib-python",
             "opencv-contrib-python-headless", "av", "safetensors", "numpy", "einops", "transformers", "diffusers")
_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
_LINK_BYTES = 2**28
_LINK_REPEATS = 4
_DRIVER = Path("/proc/driver/nvidia/version")


def versions(of_host: Mapping[str, str]) -> dict[str, str]:
    """Name -> version of the pack, of what it computes with, and of_host: what the host says of itself."""
    found = {"scail2": pack_version(), **of_host, "Python": platform.python_version(), "torch": torch.__version__}
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    if torch.version.hip:
        found["ROCm"] = torch.version.hip
    if torch.backends.cudnn.is_available():
        found["cuDNN"] = str(torch.backends.cudnn.version())
    if of_driver := driver():
        found["driver"] = of_driver
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if ffmpeg := _ffmpeg():
        found["FFmpeg"] = ffmpeg
    return found


def pack_version() -> str:
    """In ComfyUI the pack is a folder, on the command line it may be an installed package."""
    if _PROJECT.is_file() and (there := re.search(r'^version = "(.+)"$', _PROJECT.read_text("utf-8"), re.MULTILINE)):
        return there[1]
    return version("scail2")


def system() -> dict[str, Any]:
    return {"name": platform.system(), "release": platform.release(), "machine": platform.machine(),
            "cores": os.cpu_count()}


def card(device: torch.device, machine: Machine) -> dict[str, Any] | None:
    """None without a GPU that PyTorch can use through CUDA or ROCm. Memory in bytes."""
    if device.type != "cuda":
        return None
    of_card = torch.cuda.get_device_properties(device)
    return {"name": of_card.name, "compute_capability": f"{of_card.major}.{of_card.minor}",
            "multiprocessors": of_card.multi_processor_count, "memory": machine.total_vram, "free": machine.free_vram,
            "matmul_tflops": None if machine.matmul_tflops is None else round(machine.matmul_tflops, 1),
            "cards": torch.cuda.device_count()}


def link(device: torch.device) -> dict[str, float] | None:
    """Bytes a second from main memory to the card, from usual and from pinned memory; None without a card."""
    if device.type != "cuda":
        return None
    usual = torch.zeros(_LINK_BYTES, dtype=torch.uint8)
    target = torch.empty_like(usual, device=device)
    return {"usual": _rate(usual, target), "pinned": _rate(usual.pin_memory(), target)}


def memory() -> dict[str, int]:
    """Main memory in bytes."""
    main = psutil.virtual_memory()
    return {"total": main.total, "free": main.available, "swap": psutil.swap_memory().total}


def disks(folders: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Bytes in all and free on the disk of each folder, or of the nearest above it that exists."""
    found = {}
    for name, folder in folders.items():
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        space = shutil.disk_usage(there)
        found[name] = {"total": space.total, "free": space.free}
    return found


def _rate(source: Tensor, target: Tensor) -> float:
    best = 0.0
    for _ in range(_LINK_REPEATS):
        torch.cuda.synchronize(target.device)
        start = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize(target.device)
        best = max(best, source.numel() / (time.perf_counter() - start))
    return round(best)


def driver() -> str | None:
    """The version of NVIDIA's, where its kernel module tells it: on Linux, but not in WSL."""
    return driver_version(_DRIVER.read_text("utf-8")) if _DRIVER.is_file() else None


def driver_version(text: str) -> str | None:
    """The driver's version in the text of /proc/driver/nvidia/version."""
    found = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", text, re.MULTILINE)
    return found and found[1]


def _ffmpeg() -> str | None:
    """The version of FFmpeg's libraries in PyAV."""
    try:
        import av
    except ImportError:
        return None
    return getattr(av, "ffmpeg_version_info", None) or ".".join(map(str, av.library_versions["libavcodec"]))
