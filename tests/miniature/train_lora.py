"""Training of a LoRA for few steps, by reflow (arXiv 2209.03003, section 2.2): the trained network turns noise into
videos in 20 steps, and the LoRA learns the straight line from each noise to its own video. What the pictures leave
open is then decided by the noise at once, and two steps arrive where twenty did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import optimise
import torch
import torch.nn.functional as F
import train_transformer
import world
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from train_transformer import Bucket, Network, Operations, Scenes
from vae import VideoVAE

from scail_model.config import TransformerConfig
from scail_model.solvers import integrate

_TEACHER_STEPS = 20
_LEVELS = (1.0, 0.9, 0.75, 0.5)  # of 1, 2 and 4 Euler steps with a shift of 3


@dataclass(frozen=True)
class Plan:
    """What a training run consists of."""

    base: train_transformer.Plan = train_transformer.Plan(
        pool=3072, renew_every=10**9,
        buckets=(Bucket(0.8, 192, 192, 17, 48), Bucket(0.1, 160, 224, 17, 48), Bucket(0.1, 224, 160, 17, 48)))
    rank: int = 32
    rate: float = 2e-3


SMALL = Plan(base=replace(train_transformer.SMALL, renew_every=10**9), rank=4)


class LoRALinear(train_transformer.Linear):
    """A frozen linear and the pair that learns."""

    rank = 16

    def __init__(self, inputs: int, outputs: int, **options) -> None:
        super().__init__(inputs, outputs, **options)
        self.lora_A = nn.Parameter(torch.randn(self.rank, inputs) / inputs**0.5)
        self.lora_B = nn.Parameter(torch.zeros(outputs, self.rank))

    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(x, self.lora_A.to(x.dtype))
        return super().forward(x) + F.linear(low, self.lora_B.to(x.dtype))


class LoRAOperations(Operations):
    Linear = LoRALinear


class Endpoints(Scenes):
    """Scenes whose truth is what the trained network makes of a noise, and the noise with it."""

    def __init__(self, teacher: Network, *arguments) -> None:
        self.teacher = teacher
        super().__init__(*arguments)
        for kind in range(len(self.kinds)):
            self.answer(kind)

    @torch.no_grad()
    def answer(self, kind: int) -> None:
        store, replacement = self.stores[kind], self.kinds[kind][1]
        random = world.Random(train_transformer.TRAINING_SEEDS - 10**9 - self.seed * 100 - kind, self.device)
        store["noise"] = torch.randn(store["truth"].shape, generator=random.generator,
                                     device=self.device).to(torch.float16)
        for rows in torch.arange(len(store["noise"]), device=self.device).split(64):
            conditions = {name: store[name][rows].float() for name in store if name.endswith(("_latents", "_masks"))}
            context = self.context(kind, rows)

            def velocity(x: Tensor, timestep: Tensor, context=context, conditions=conditions) -> Tensor:
                return self.teacher(x, timestep.expand(len(x)), context, None, replacement=replacement, **conditions)

            store["truth"][rows] = integrate("euler", velocity, store["noise"][rows].float(), _TEACHER_STEPS,
                                             3.0).to(torch.float16)

    def batch(self, kind: int, random: world.Random) -> dict[str, Tensor]:
        batch = self.choose(kind, random)
        count = len(batch["truth"])
        batch["history"] = torch.zeros(count, dtype=torch.bool, device=self.device)
        levels = torch.tensor(_LEVELS, device=self.device)[random.uniform(0, len(_LEVELS), count).long()]
        batch["level"] = torch.where(random.chance(0.8, count), levels, random.uniform(0, 1, count))
        return batch


def train(plan: Plan, folder: Path, steps: int, seconds: float, seed: int, device: torch.device) -> bool:
    """Train, or go on; at the end write `nano_lora.safetensors`. True when all steps are done."""
    state = {name: value.float() for name, value in load_file(folder / "nano_scail2.safetensors").items()}
    config = replace(TransformerConfig.from_state_dict(state), text_len=plan.base.config.text_len)
    LoRALinear.rank = plan.rank
    torch.manual_seed(seed)
    network, teacher = Network(config, LoRAOperations), Network(config)
    network.load_state_dict(state, strict=False)
    teacher.load_state_dict(state)
    network.to(device).requires_grad_(False)
    teacher.to(device).requires_grad_(False)
    optimise.allow_tf32(device)
    learning = {name: parameter for name, parameter in network.named_parameters()
                if ".lora_" in name and train_transformer.learns(name) and name.startswith("blocks.")}
    for parameter in learning.values():
        parameter.requires_grad_(True)
    optimiser = optimise.Optimiser(learning, lambda name: False, plan.rate, steps, decay=0.99)
    checkpoint = folder / "lora.pt"
    done_before = optimiser.resume(checkpoint)
    vae = VideoVAE.load(folder / "nano_vae.safetensors").to(device)
    scenes = Endpoints(teacher, plan.base, vae, seed, device, done_before)
    done = train_transformer.fit(network, optimiser, scenes, seed, checkpoint, seconds)
    save_file({f"diffusion_model.{name}.weight": value.half().cpu().contiguous()
               for name, value in optimiser.averaged().items()}, folder / "nano_lora.safetensors")
    return done
