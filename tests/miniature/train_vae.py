"""Training of the video VAE: encoder and decoder together, on crops of full and half size, of 1, 9 and 17 frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optimise
import torch
import torch.nn.functional as F
import world
from inputs import halved
from torch import Tensor
from vae import CHANNELS, VideoVAE, initialise

_TRAINING_SEEDS = 1 << 40  # held-out seeds are small numbers


@dataclass(frozen=True)
class Crop:
    """One kind of batch: how often, how many clips, how long, how large, and whether of half size."""

    share: float
    clips: int
    frames: int
    side: int
    half: bool


@dataclass(frozen=True)
class Plan:
    """What a training run consists of."""

    dim: int = 16
    rate: float = 3e-3
    sizes: tuple[tuple[int, int], ...] = ((192, 192), (160, 224), (224, 160))
    frames: int = 17
    pool: int = 384  # clips of each size at a time
    chunk: int = 32
    renew_every: int = 50  # steps
    crops: tuple[Crop, ...] = (Crop(0.33, 16, 9, 96, False), Crop(0.33, 16, 9, 96, True), Crop(0.12, 8, 17, 96, False),
                               Crop(0.12, 8, 17, 96, True), Crop(0.10, 96, 1, 96, False))


SMALL = Plan(dim=4, sizes=((32, 32),), frames=5, pool=8, chunk=4, renew_every=4,
             crops=(Crop(0.5, 2, 5, 16, False), Crop(0.5, 2, 5, 16, True)))


class Clips:
    """Drawn clips in uint8 [count, T, 4, H, W], RGB and coverage; chunk after chunk is replaced by new ones."""

    def __init__(self, plan: Plan, seed: int, device: torch.device, first_step: int) -> None:
        self.plan, self.seed, self.device = plan, seed, device
        self.noise = torch.Generator(device)
        self.clips = {size: torch.zeros(plan.pool, plan.frames, 4, *size, dtype=torch.uint8, device=device)
                      for size in plan.sizes}
        self.chunks = plan.pool // plan.chunk
        begin = first_step // plan.renew_every
        for number in range(begin, begin + self.chunks):
            self.renew(number)
        optimise.say(f"{plan.pool * len(plan.sizes)} clips drawn")

    @torch.no_grad()
    def renew(self, number: int) -> None:
        """Chunk `number` of every size; the people in it, one to three, are the same number throughout."""
        place = slice(number % self.chunks * self.plan.chunk, (number % self.chunks + 1) * self.plan.chunk)
        for index, (height, width) in enumerate(self.plan.sizes):
            random = world.Random(_TRAINING_SEEDS + (self.seed * 1_000_003 + number) * 8 + index, self.device)
            people = (1, 2, 1, 3)[(number + index) % 4]
            scenes = world.make_scenes(random, self.plan.chunk, people, width / height)
            pictures = world.draw(scenes, height, width, self.plan.frames)
            both = torch.cat((pictures.truth, pictures.coverage.amax(2, keepdim=True)), 2)
            self.clips[height, width][place] = both.mul(255).round().byte()

    def batch(self, crop: Crop, step: int) -> dict[str, Tensor]:
        """Video [n, 3, T, side, side] in -1..1, the people's coverage [n, 1, T, side, side], noise for the latent;
        channels are in random order and some clips mirrored, because colours and sides mean nothing to a VAE."""
        seed = _TRAINING_SEEDS + self.seed * 1_000_003 + step
        random = world.Random(seed)  # on the CPU: it chooses indices
        self.noise.manual_seed(seed)
        sizes = [size for size in self.plan.sizes if min(size) >= crop.side * (2 if crop.half else 1)]
        clips = self.clips[sizes[int(random.uniform(0, len(sizes), 1))]]
        chosen = clips[random.uniform(0, len(clips), crop.clips).long()]
        start = int(random.uniform(0, clips.shape[1] - crop.frames + 1, 1))
        chosen = chosen[:, start : start + crop.frames].float() / 255
        if crop.half:
            chosen = F.avg_pool2d(chosen.flatten(0, 1), 2).unflatten(0, chosen.shape[:2])
        top, left = (int(random.uniform(0, side - crop.side + 1, 1)) for side in chosen.shape[3:])
        chosen = chosen[..., top : top + crop.side, left : left + crop.side]
        if random.chance(0.5, 1):
            chosen = chosen.flip(-1)
        video, people = chosen[:, :, :3][:, :, random.order(1, 3)[0]], chosen[:, :, 3:]
        shape = (crop.clips, CHANNELS, (crop.frames - 1) // 4 + 1, crop.side // 8, crop.side // 8)
        return {"video": (video * 2 - 1).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d),
                "people": people.transpose(1, 2).contiguous(),
                "noise": torch.randn(shape, generator=self.noise, device=self.device)}


def loss(vae: VideoVAE, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What is minimised, and figures to print: mean squared error, divergence from the standard normal."""
    video, weight = batch["video"], 1 + 2 * batch["people"]
    dtype = optimise.compute_dtype(video.device)
    mean, log_variance = vae.distribution(video.to(dtype))
    mean, log_variance = mean.float(), log_variance.float().clamp(-12, 4)
    drawn = mean + batch["noise"] * (0.5 * log_variance).exp()
    result = vae.picture(drawn.to(dtype))
    error = result.float() - video
    squares = (error.square() * weight).mean()
    edges = sum(_slope(error, axis).abs().mean() for axis in (2, 3, 4) if error.shape[axis] > 1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    total = (error.abs() * weight).mean() + 8 * squares + 0.25 * edges + 1e-4 * divergence
    return total, torch.stack((error.detach().square().mean(), divergence.detach()))


def _slope(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1) - x.narrow(axis, 0, x.shape[axis] - 1)


def train(plan: Plan, folder: Path, steps: int, seconds: float, seed: int, device: torch.device) -> bool:
    """Train, or go on; at the end write `nano_vae.safetensors`. True when all steps are done."""
    vae = VideoVAE(plan.dim)
    initialise(vae, seed)
    vae = vae.to(device)
    optimise.allow_tf32(device)
    optimiser = optimise.Optimiser(dict(vae.named_parameters()), _is_matrix, plan.rate, steps)
    checkpoint = folder / "vae.pt"
    done_before = optimiser.resume(checkpoint)
    clips = Clips(plan, seed, device, done_before)
    gradients = optimise.Gradients(optimiser, lambda kind, batch: loss(vae, batch))

    def losses(step: int) -> Tensor:
        kind = optimise.choose([crop.share for crop in plan.crops], seed, step)
        return gradients(kind, clips.batch(plan.crops[kind], step))

    def after(step: int) -> None:
        if step % plan.renew_every == 0:
            clips.renew(step // plan.renew_every + clips.chunks - 1)

    done = optimise.run(optimiser, losses, checkpoint, seconds, after=after)
    vae.load_state_dict(optimiser.averaged())
    fit_latents(vae, plan, seed, device)
    optimise.write_half(vae.state_dict(), folder / "nano_vae.safetensors")
    return done


def _is_matrix(name: str) -> bool:
    """Whether Muon takes the weight: convolutions between features, but not those at the ends."""
    middle = any(part in name for part in (".downsamples.", ".middle.", ".upsamples."))
    return middle and name.endswith(".weight")


@torch.no_grad()
def fit_latents(vae: VideoVAE, plan: Plan, seed: int, device: torch.device) -> None:
    """Give the latents the mean and spread that Wan 2.1's latent format takes off."""
    height, width = plan.sizes[0]
    latents = []
    for number in range(8):
        random = world.Random(_TRAINING_SEEDS + seed * 1_000_003 - 1 - number, device)
        pictures = world.draw(world.make_scenes(random, plan.chunk, 1 + number % 3, width / height), height, width,
                              plan.frames)
        for video in (pictures.truth, pictures.reference, halved(pictures.driving)):
            mean, _ = vae.distribution((video * 2 - 1).transpose(1, 2).to(optimise.compute_dtype(device)))
            latents.append(mean.float().transpose(0, 1).flatten(1))
    everything = torch.cat(latents, 1)
    vae.fit_latents(everything.mean(1), everything.std(1))
