"""The miniature as the benchmark runs it: its files as networks in any precision, and batches of clips through them.

In the 8-bit mode self-attention is cuDNN's where that works, else the plain PyTorch that defines it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import inputs
import torch
from safetensors.torch import load_file
from torch import Tensor
from vae import VideoVAE
from words import context
from world import Pictures

from scail_model.attention import AttentionFunction, sdpa
from scail_model.checkpoint import load_checkpoint
from scail_model.config import TransformerConfig
from scail_model.kernels import attention_choice, fp8_attention
from scail_model.kernels.attention_backends import AUTOMATIC
from scail_model.kernels.attention_choice import HostAttention
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import EIGHT_BIT, EXACT, FAST, int8_linears, int8_storage
from scail_model.kernels.sparse_attention import RUN
from scail_model.lora import merge_lora
from scail_model.solvers import integrate
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings
from scail_model.transformer import SCAIL2Transformer

Velocity = Callable[..., Tensor]  # called as SCAIL2Transformer.forward is
TRANSFORMER_FILE, VAE_FILE, LORA_FILE = "nano_scail2.safetensors", "nano_vae.safetensors", "nano_lora.safetensors"
LONG_FILE = "nano_long.safetensors"  # what was fine-tuned to long sequences; the rest is TRANSFORMER_FILE's


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler. With a guidance of 1 the empty prompt is not asked. negative_strength: how firmly
    attention is steered away from the negative prompts."""

    solver: str = "euler"
    steps: int = 20
    shift: float = 3.0
    guidance: float = 1.0
    negative_strength: float = 0.0


class Miniature:
    """The files of a folder: VAE, transformer and LoRA. long: with the weights for long sequences."""

    def __init__(self, folder: Path, device: torch.device, precision: str = EXACT, long: bool = False) -> None:
        self.folder, self.device, self.precision = folder, device, precision
        tensors, _ = load_checkpoint(folder / TRANSFORMER_FILE)
        if long:
            tensors |= load_file(folder / LONG_FILE)
        self.config = TransformerConfig.from_state_dict(tensors)
        self.tensors = {name: tensors[name].to(device, torch.float32) for name in self.config.parameter_shapes()}
        self.vae = VideoVAE.load(folder / VAE_FILE).to(device)
        self.attention: AttentionFunction = sdpa
        if precision == EIGHT_BIT:
            self.attention = EightBitAttention(device)
        elif precision == FAST:
            self.attention = attention_choice.choose(AUTOMATIC, device, FAST, HostAttention("pytorch", "pytorch", sdpa))

    @cached_property
    def transformer(self) -> SCAIL2Transformer:
        """Of the file, in float32 or in the 8-bit mode."""
        return self.build(self.tensors)

    @property
    def has_lora(self) -> bool:
        return (self.folder / LORA_FILE).is_file()

    def build(self, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> SCAIL2Transformer:
        linears = QuantizingInt8()
        model = SCAIL2Transformer(self.config, attention=self.attention, linears=linears, device="meta")
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
        if int8_storage(self.precision):
            linears.quantize(model, int8_linears(self.config.num_layers))
        return model.eval().requires_grad_(False)

    def with_lora(self) -> SCAIL2Transformer:
        """With the LoRA merged at full strength; ValueError if a tensor of it fits nowhere."""
        tensors = dict(self.tensors)
        report = merge_lora(tensors, load_checkpoint(self.folder / LORA_FILE)[0], 1.0)
        if report.unused:
            raise ValueError(f"{len(report.unused)} tensors of {LORA_FILE} fit nowhere, first {report.unused[0]}: "
                             "it is not of this transformer.")
        return self.build(tensors)

    def with_fp8(self) -> SCAIL2Transformer:
        """The matrices of the blocks rounded to float8_e4m3fn without scales, computed in bfloat16."""
        rounded = {name: tensor.to(torch.float8_e4m3fn).float() if name.startswith("blocks.") and tensor.ndim == 2
                   else tensor for name, tensor in self.tensors.items()}
        return self.build(rounded, torch.bfloat16)

    def with_unit_rotations(self) -> SCAIL2Transformer:
        """Driving tokens turned by multipliers of length 1 instead of by the official averages, which are shorter."""
        model = self.build(self.tensors)
        official = model.rotations

        def unit(layout: Any, device: torch.device) -> tuple[Tensor, Tensor]:
            cos, sin = official(layout, device)
            length = torch.hypot(cos, sin)
            return cos / length, sin / length

        model.rotations = unit
        return model

    def conditions(self, pictures: Pictures, replacement: bool, additional: bool = False) -> dict[str, Any]:
        """The transformer's keyword arguments for a batch of drawn clips."""
        encoded = inputs.encode(self.vae, pictures, additional)
        names = ("reference", "driving", "additional")
        return {name: value for name, value in encoded.items() if name.startswith(names)} | {"replacement": replacement}

    def make(self, conditions: dict[str, Any], seed: int, sampling: Sampling | None = None, *,
             prompts: list[str] | None = None, negatives: list[str] | None = None, history: Tensor | None = None,
             velocity: Velocity | None = None) -> Tensor:
        """A batch of videos [n, T, 3, H, W] in 0..1; arguments as `latents` has them."""
        return self.vae.decode(self.latents(conditions, seed, sampling, prompts=prompts, negatives=negatives,
                                            history=history, velocity=velocity))

    def latents(self, conditions: dict[str, Any], seed: int, sampling: Sampling | None = None, *,
                prompts: list[str] | None = None, negatives: list[str] | None = None,
                history: Tensor | None = None, velocity: Velocity | None = None) -> Tensor:
        """Sample a batch of latents [n, 16, T, H, W], as `headless.pipeline.sample_segment` does for one clip (that
        module needs the large encoders' packages). The noise comes from the CPU, so that it is the same everywhere.

        prompts, negatives: one for each clip, empty ones by default. history: clean latent frames [n, 16, t, H, W].
        velocity: another network than the file's in float32.
        """
        sampling, velocity = sampling or Sampling(), velocity or self.transformer
        count, channels, _, height, width = conditions["reference_latents"].shape
        frames = conditions["driving_latents"].shape[2]
        noise = torch.randn(count, channels, frames, height, width, generator=torch.Generator().manual_seed(seed))
        if getattr(self.attention, "sparse", False):
            conditions = {**conditions, "transformer_options": {RUN: SparseRun(SparseSettings())}}
        empty = [""] * count
        positive, negative = (context(text or empty).to(self.device) for text in (prompts, negatives))
        steering = {} if not sampling.negative_strength else {
            "negative_context": negative, "negative_strength": sampling.negative_strength}
        pin = None
        if history is not None:
            known = history.shape[2]
            history_mask = torch.zeros(count, 4, frames, height, width, device=self.device)
            history_mask[:, :, :known] = 1
            conditions = {**conditions, "history_mask": history_mask}

            def pin(x: Tensor) -> Tensor:
                return torch.cat((history, x[:, :, known:]), dim=2)

        def guided(x: Tensor, timestep: Tensor) -> Tensor:
            conditional = velocity(x, timestep[None], positive, None, **conditions, **steering)
            if sampling.guidance == 1:
                return conditional
            unconditional = velocity(x, timestep[None], negative, None, **conditions)
            return unconditional + sampling.guidance * (conditional - unconditional)

        return integrate(sampling.solver, guided, noise.to(self.device), sampling.steps, sampling.shift, pin=pin)


class EightBitAttention:
    """Self-attention in 8 bits, but for large keys; attention to the few tokens of text and image stays exact, as in
    the nodes. `name` says what computes it; `large` of `calls` had large keys."""

    def __init__(self, device: torch.device) -> None:
        works = fp8_attention.why_not(device) is None
        self.name = "cudnn_fp8" if works else "definition of cudnn_fp8"
        self.calls = self.large = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int,
                 transformer_options: dict[str, Any] | None = None) -> Tensor:
        if k.shape[1] <= TransformerConfig.text_len:
            return sdpa(q, k, v, heads, transformer_options)
        in_8_bits = fp8_attention.prepare_kv(k, v, heads)
        self.calls += 1
        self.large += in_8_bits is None
        return sdpa(q, k, v, heads, transformer_options) if in_8_bits is None else in_8_bits(q)


def core_velocity(miniature: Miniature) -> Velocity:
    """ComfyUI core's own network on the same weights, called as ours is. ComfyUI has to be on the import path."""
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = miniature.device.type == "cpu"
    from forward_gpu import build_core

    forward = build_core(miniature.config, miniature.tensors)
    rows = miniature.config.text_len

    def velocity(x: Tensor, timestep: Tensor, text: Tensor, clip_features: None, **conditions: Any) -> Tensor:
        padded = torch.nn.functional.pad(text, (0, 0, 0, rows - text.shape[1]))  # core's text encoder pads
        return forward({"x": x, "timestep": timestep.expand(len(x)), "context": padded, "clip_features": clip_features,
                        **conditions})

    return velocity


def moved(scenes: Any, device: torch.device) -> Any:
    """Scenes, or a part of them, on another device."""
    if is_dataclass(scenes):
        return replace(scenes, **{field.name: moved(getattr(scenes, field.name), device) for field in fields(scenes)})
    return scenes.to(device)
