"""NLF on ComfyUI's device, beside the models that ComfyUI manages."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy.utils import ProgressBar

from ..identity.mask_sources import Source
from ..media.clips import Clip
from ..poses.detections import Bodies
from ..poses.nlf_model import detect

_ROOM = 4 << 30  # bytes for the frames of a batch; with less, fewer frames are detected at once


def run_nlf(model: Any, clip: Clip, masks: Source | None) -> Bodies:
    """Run NLF over a clip, with a progress bar on the node; other models make room. The clip's tick may cancel it."""
    device = comfy.model_management.get_torch_device()
    comfy.model_management.free_memory(comfy.model_management.module_size(model) + _ROOM, device)
    bar = ProgressBar(len(clip))
    try:
        return detect(model, clip, masks, device=device, told=bar.update_absolute)
    finally:
        model.to(comfy.model_management.unet_offload_device())
        comfy.model_management.soft_empty_cache()
