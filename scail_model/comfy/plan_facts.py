"""What only a run knows of the plan that the page draws: the driving video, the model, the GPU and its pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.model_base
import comfy.model_management

from ..config import TransformerConfig
from ..gpus.gain import ALONE, NVLINK, Together
from ..gpus.probe import link_rate
from ..inputs.reference import Pictures, Reference
from ..media.clips import Clip
from ..media.retiming import PickedClip, retimed
from ..preflight.budget import DECODING, Work, sampling_seconds
from .host import ComfyHost
from .model import in_int8

_SIZES = ("dim", "ffn_dim", "num_heads", "num_layers")


def plan_facts(clip: Clip, reference: Reference, rate: float, *, found_cuts: Sequence[int] | None = None,
               host: ComfyHost | None = None, pace: float | None = None,
               coder_pace: float | None = None) -> dict[str, list[dict[str, Any]]]:
    """A node's ui output, which the page keeps and sends along when it asks for a plan (`plan_view`).

    clip: as it was read at the setting `rate`; `every` has what it is without one. found_cuts: frames at which scenes
    begin, if the run has looked for them. host: who makes the video, None where another node samples. pace, coder_pace:
    seconds here for one on an NVIDIA H200, of the network and of the VAE, None if it was not measured. fps is None if
    the driving video has none; gpu_bytes is 0 without a CUDA or ROCm GPU; lanes is how many GPUs would make scenes at
    the same time; int8 says whether its linears are.
    """
    device = comfy.model_management.get_torch_device() if host is None else host.model.load_device
    facts = {
        "frames": len(clip), "fps": None if clip.rate is None else str(clip.rate), "found_cuts": found_cuts,
        "rate": rate, "every": _every(clip), "filmed": [clip.width, clip.height],
        "width": reference.width, "height": reference.height, "additional": reference.masks.shape[1] - 1,
        "gpu_bytes": comfy.model_management.get_total_memory(device) if device.type == "cuda" else 0, "pace": pace,
        "coder_pace": coder_pace,
    }
    if host is not None and isinstance(host.model.model, comfy.model_base.WAN21_SCAIL2):
        model, gpus = host.model, host.devices
        config = _config(model)
        facts |= {"weight_bytes": model.model_size(), "model": {name: getattr(config, name) for name in _SIZES},
                  "gpus": len(gpus), "link": link_rate(gpus), "lanes": host.lane_count, "int8": in_int8(model)}
    return {"scail2_plan": [facts]}


def _every(clip: Clip) -> dict[str, Any]:
    """A driving video as it is read without a rate: its frames, these a second, and its length."""
    stored = clip.clip if isinstance(clip, PickedClip) else clip
    usual, fps = retimed(stored), None if stored.rate is None else str(stored.rate)
    return {"frames": len(usual), "fps": fps, "seconds": None if fps is None else float(stored.times()[-1])}


def measured_pace(host: ComfyHost, reference: Reference | Pictures, guidance: float, steps: Mapping[int, int],
                  spent: float, *, alone: bool = False) -> float | None:
    """Seconds here for one on an NVIDIA H200, or on as many as the host has; None if the run had no sampling steps.

    steps: number of timed steps by frames of their segment. spent: seconds of all of them together. alone: whether each
    segment was made by one GPU.
    """
    config, width, height, gpus = _config(host.model), reference.width, reference.height, host.devices
    together = ALONE if alone else Together(len(gpus), link_rate(gpus) or NVLINK)
    additional = reference.masks.shape[1] - 1
    expected = sum(sampling_seconds(Work(config, width, height, (length,), additional, count, guidance, 0, width,
                                         height, together=together))
                   for length, count in steps.items())
    return spent / expected if expected else None


def measured_coder_pace(reference: Reference | Pictures, decoded: Mapping[int, int], spent: float) -> float | None:
    """The same for the VAE. decoded: number of decoded segments by their frames."""
    expected = sum(count * DECODING.seconds(reference.width, reference.height, length)
                   for length, count in decoded.items())
    return spent / expected if expected else None


def _config(model) -> TransformerConfig:
    # core's loader and ours both leave the sizes there
    sizes = model.model.model_config.unet_config
    return TransformerConfig(**{name: sizes[name] for name in _SIZES})
