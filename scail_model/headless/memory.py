"""How much GPU memory a run needs, so that one that cannot fit is refused before it has cost anything.

The transformer's need is `budget`'s, measured on one H200; that of diffusers' VAE decoder was measured on an A100
(minghaop/scail2_exp). What else the GPU holds is small beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..config import TransformerConfig
from ..preflight.budget import activation_bytes, token_count
from ..preflight.capacity import smaller_settings

_DECODER_BYTES_PER_PIXEL = 21_000  # 8.9 GiB at 896x512; the decoder works in chunks, so the length hardly matters
_GIB = 2**30


@dataclass(frozen=True)
class Load:
    """What decides the need: sizes in pixels and frames of one segment, in bfloat16."""

    config: TransformerConfig
    width: int
    height: int
    frames: int
    additional_references: int
    offload: bool  # the transformer waits in main memory while the VAE works

    def gpu_bytes(self) -> int:
        """Peak need of the run, in bytes."""
        tokens = token_count(self.width, self.height, self.frames, self.additional_references)
        weights = 2 * sum(map(math.prod, self.config.parameter_shapes().values()))
        sampling = weights + activation_bytes(self.config, tokens)
        decoding = _DECODER_BYTES_PER_PIXEL * self.width * self.height + (0 if self.offload else weights)
        return round(max(sampling, decoding))


def check_memory(load: Load, shortest: int, free: int) -> None:
    """Raise RuntimeError, with the next smaller setting that fits, if `load` needs more than `free` bytes.

    shortest: frames below which segments make no sense, 4n+1.
    """
    if load.gpu_bytes() <= free:
        return
    finding = (f"{load.width}x{load.height} in segments of {load.frames} frames needs about "
               f"{load.gpu_bytes() / _GIB:.1f} GiB of GPU memory, and {free / _GIB:.1f} GiB are free")
    for change, advice in _smaller(load, shortest):
        if change.gpu_bytes() <= free:
            raise RuntimeError(f"{finding}: use {advice}.")
    raise RuntimeError(f"{finding}: run it with the ComfyUI nodes, which load the weights piece by piece.")


def _smaller(load: Load, shortest: int) -> list[tuple[Load, str]]:
    """Settings that need less, the mildest first."""
    offloaded = replace(load, offload=True)
    options = [] if load.offload else [(offloaded, "--offload_model true")]
    for width, height, frames in smaller_settings(load.width, load.height, load.frames, shortest):
        change = replace(offloaded, width=width, height=height, frames=frames)
        shorter = frames < load.frames
        options.append((change, f"--segment_len {frames}" if shorter else f"--target_w {width} --target_h {height}"))
    return options
