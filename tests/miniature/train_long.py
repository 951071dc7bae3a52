"""Fine-tuning of the trained transformer to sequences of 13,248 tokens, four times the area and three times the length
that it has learned with, where attention that leaves blocks of 128 tokens out can be judged against the truth.

Self-attention learns, and what is small; the rest stays as it was, so that the weights that changed lie beside the
others in a small file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import optimise
import torch
import train_transformer
from safetensors.torch import load_file
from train_transformer import Bucket, Network, Scenes
from vae import VideoVAE

from scail_model.config import TransformerConfig

FILE = "nano_long.safetensors"
_LEARN = (".self_attn.", ".modulation", "patch_embedding", "head.", "norm3.")


@dataclass(frozen=True)
class Plan:
    """What a training run consists of."""

    base: train_transformer.Plan = train_transformer.Plan(
        pool=320, chunk=8, renew_every=16,
        buckets=(Bucket(0.55, 384, 512, 49, 12), Bucket(0.25, 512, 384, 49, 12),
                 Bucket(0.2, 384, 512, 49, 10, additional=True)))
    rate: float = 1.5e-3


SMALL = Plan(base=replace(train_transformer.SMALL, renew_every=2))


def learns(name: str) -> bool:
    return train_transformer.learns(name) and any(part in name for part in _LEARN)


def train(plan: Plan, folder: Path, steps: int, seconds: float, seed: int, device: torch.device) -> bool:
    """Train, or go on; at the end write `nano_long.safetensors`. True when all steps are done."""
    state = {name: value.float() for name, value in load_file(folder / "nano_scail2.safetensors").items()}
    config = replace(TransformerConfig.from_state_dict(state), text_len=plan.base.config.text_len)
    network = Network(config)
    network.load_state_dict(state)
    network.to(device).requires_grad_(False)
    optimise.allow_tf32(device)
    learning = {name: parameter for name, parameter in network.named_parameters() if learns(name)}
    for parameter in learning.values():
        parameter.requires_grad_(True)
    optimiser = optimise.Optimiser(learning, train_transformer.is_matrix, plan.rate, steps, decay=0.99)
    checkpoint = folder / "long.pt"
    done_before = optimiser.resume(checkpoint)
    vae = VideoVAE.load(folder / "nano_vae.safetensors").to(device)
    scenes = Scenes(plan.base, vae, seed, device, done_before)
    done = train_transformer.fit(network, optimiser, scenes, seed, checkpoint, seconds)
    optimise.write_half(optimiser.averaged(), folder / FILE)
    return done
