"""Training of the transformer: rectified flow on drawn scenes, through the pack's own network, masks and sizes.

x = (1 - s) truth + s noise, target noise - truth (arXiv 2209.03003), s spread as a shift of 3 has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import inputs
import optimise
import torch
import torch.nn.functional as F
import words
import world
from torch import Tensor, nn
from vae import VideoVAE

from scail_model.attention import sdpa
from scail_model.config import TransformerConfig
from scail_model.layout import Layout
from scail_model.transformer import SCAIL2Transformer

TRAINING_SEEDS = 1 << 41
_TEXT_ROWS = 2  # in training: a word, and one zero row that stands for all the others
_HISTORY = 2  # latent frames


@dataclass(frozen=True)
class Bucket:
    """One kind of batch: how often, which size and length, and how many clips."""

    share: float
    height: int
    width: int
    frames: int
    clips: int
    additional: bool = False


@dataclass(frozen=True)
class Plan:
    """What a training run consists of."""

    config: TransformerConfig = field(default_factory=lambda: TransformerConfig(
        dim=256, ffn_dim=768, num_heads=2, num_layers=8, text_len=_TEXT_ROWS))
    rate: float = 3e-3
    pool: int = 4096  # scenes at a time, over all buckets and both modes
    chunk: int = 32
    renew_every: int = 20  # steps for one chunk
    word_share: float = 0.3
    obedience: float = 0.65  # a word is right in two clips of three, as captions are
    buckets: tuple[Bucket, ...] = (
        Bucket(0.46, 192, 192, 17, 48), Bucket(0.15, 192, 192, 17, 42, additional=True),
        Bucket(0.11, 160, 224, 17, 48), Bucket(0.11, 224, 160, 17, 48),
        Bucket(0.07, 192, 192, 9, 80), Bucket(0.10, 192, 192, 33, 26))


SMALL = Plan(config=TransformerConfig(dim=128, ffn_dim=128, num_heads=1, num_layers=2, text_len=_TEXT_ROWS),
             pool=32, chunk=4, renew_every=4,
             buckets=(Bucket(0.6, 32, 32, 9, 4), Bucket(0.4, 32, 64, 5, 4, additional=True)))


class Linear(nn.Linear):
    """Weights in float32, products in the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Operations:
    """The layers that the pack's network is built from."""

    Linear, Conv3d, LayerNorm, RMSNorm = Linear, nn.Conv3d, nn.LayerNorm, nn.RMSNorm


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict | None = None) -> Tensor:
    """Attention where the second of two text rows counts as often as the large model's padding has it: equal keys and
    values weigh as one whose logit is higher by the logarithm of their number. Saves 510 of 512 rows, and a softmax
    over two is a sigmoid."""
    if k.shape[1] != _TEXT_ROWS:
        return sdpa(q, k, v, heads)
    copies = TransformerConfig.text_len - 1
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))  # [B, L or 2, heads, 128]
    logits = (q * (k[:, :1] - k[:, 1:])).float().sum(-1, keepdim=True) / q.shape[-1] ** 0.5
    word = torch.sigmoid(logits - math.log(copies)).to(v.dtype)
    return (v[:, 1:] + word * (v[:, :1] - v[:, 1:])).flatten(2)


class Network(SCAIL2Transformer):
    """The pack's transformer, made to learn: linears and attention in bfloat16 on a GPU, blocks compiled."""

    def __init__(self, config: TransformerConfig, operations=Operations) -> None:
        super().__init__(config, operations=operations, attention=attention)
        self.kept: dict[tuple[Layout, torch.device], tuple[Tensor, Tensor]] = {}

    def compute_dtype(self, x: Tensor) -> torch.dtype:
        return optimise.compute_dtype(x.device)

    def rotations(self, layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
        # every layout's stay: there are few, and they take turns
        if (layout, device) not in self.kept:
            self.kept[layout, device] = super().rotations(layout, device)
        return self.kept[layout, device]

    def run_blocks(self, tokens, around, transformer_options):
        # all blocks alike, and free in batch and length, so that one compilation serves them all
        free = torch._dynamo.maybe_mark_dynamic
        for tensor in (around.modulation, around.context):
            free(tensor, 0)
        for tensor in around.rotation:
            free(tensor, 0)
        for block in self.blocks:
            free(tokens, 0)
            free(tokens, 1)
            tokens = block(tokens, around.modulation, around.rotation, around.context)
        return tokens[:, around.layout.video]


def initialise(network: SCAIL2Transformer, seed: int) -> None:
    """The official initialisation; the picture branch gives zero, because there is no CLIP to learn from."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if "modulation" in name:
            nn.init.normal_(parameter, std=network.config.dim**-0.5)
        elif parameter.ndim == 1:
            (nn.init.ones_ if name.endswith("weight") else nn.init.zeros_)(parameter)
        elif name.startswith("head.") or ".v_img." in name:
            nn.init.zeros_(parameter)
        elif name.startswith(("text_embedding", "time_")):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.xavier_uniform_(parameter.flatten(1))


def learns(name: str) -> bool:
    """Whether a weight takes part: everything but the branch that reads CLIP features."""
    return not name.startswith("img_emb.") and not any(part in name for part in ("k_img.", "v_img.", "norm_k_img."))


def is_matrix(name: str) -> bool:
    """Whether Muon takes the weight: the linears of the blocks."""
    return name.startswith("blocks.") and name.endswith(".weight") and "norm" not in name


class Scenes:
    """Encoded scenes by bucket and mode, float16; chunk after chunk is replaced by new ones."""

    def __init__(self, plan: Plan, vae: VideoVAE, seed: int, device: torch.device, first_step: int) -> None:
        self.plan, self.vae, self.seed, self.device = plan, vae, seed, device
        self.words = torch.stack([words.embedding(word) for word in (*world.WORDS, "")]).to(device)
        self.kinds = [(bucket, mode) for bucket in plan.buckets for mode in (False, True)]
        shares = [bucket.share / 2 for bucket, _ in self.kinds]
        # at least one chunk and one batch of each kind
        self.chunks = [max(1, round(plan.pool * share / sum(shares) / plan.chunk)) for share in shares]
        self.order = [kind for turn in range(max(self.chunks))
                      for kind, count in enumerate(self.chunks) if turn < count]
        self.stores: list[dict[str, Tensor]] = [{} for _ in self.kinds]
        begin = first_step // plan.renew_every
        for number in range(begin, begin + len(self.order)):
            self.renew(number)
        optimise.say(f"{len(self.order) * plan.chunk} scenes drawn and encoded")

    @torch.no_grad()
    def renew(self, number: int) -> None:
        """Draw and encode chunk `number`; the kinds take turns in proportion to their shares."""
        kind = self.order[number % len(self.order)]
        bucket, replacement = self.kinds[kind]
        random = world.Random(TRAINING_SEEDS + self.seed * 1_000_003 + number, self.device)
        people = (1, 2, 1, 3, 1, 2)[(number + number // len(self.order)) % 6]
        scenes = world.make_scenes(random, self.plan.chunk, people, bucket.width / bucket.height,
                                   replacement=replacement, word_share=self.plan.word_share,
                                   obedience=self.plan.obedience)
        start = float(random.uniform(0, 4, 1)) if number % 2 else 0.0
        pictures = world.draw(scenes, bucket.height, bucket.width, bucket.frames, start)
        encoded = inputs.encode(self.vae, pictures, bucket.additional, optimise.compute_dtype(self.device))
        encoded["word"] = scenes.word
        store = self.stores[kind]
        place = self.order[: number % len(self.order)].count(kind) * self.plan.chunk
        for name, value in encoded.items():
            if name not in store:
                dtype = torch.float16 if value.is_floating_point() else value.dtype
                store[name] = torch.zeros(self.chunks[kind] * self.plan.chunk, *value.shape[1:], dtype=dtype,
                                          device=self.device)
            store[name][place : place + len(value)] = value

    def context(self, kind: int, rows: Tensor) -> Tensor:
        """Text embeddings [n, 1, 4096] of scenes of one kind."""
        return self.words[self.stores[kind]["word"][rows]][:, None]

    def choose(self, kind: int, random: world.Random) -> dict[str, Tensor]:
        """What is known of a batch of one kind; `random` on the scenes' device."""
        store = self.stores[kind]
        rows = random.uniform(0, len(store["word"]), self.kinds[kind][0].clips).long()
        chosen = {name: value[rows].float() for name, value in store.items() if name != "word"}
        return {**chosen, "context": self.context(kind, rows)}

    def batch(self, kind: int, random: world.Random) -> dict[str, Tensor]:
        """Inputs of the network for a batch of one kind, with noise and its level."""
        batch = self.choose(kind, random)
        count = len(batch["truth"])
        batch["history"] = random.chance(1 / 3, count)
        uniform = random.uniform(1e-4, 1 - 1e-4, count)
        level = torch.sigmoid(torch.special.ndtri(uniform))  # logit-normal
        level = 3 * level / (1 + 2 * level)
        # sampling begins in noise alone, where few draws would fall
        batch["level"] = torch.where(random.chance(0.1, count), random.uniform(0.98, 1, count), level)
        batch["noise"] = torch.randn(batch["truth"].shape, generator=random.generator, device=self.device)
        return batch


def loss(network: SCAIL2Transformer, batch: dict[str, Tensor], replacement: bool) -> tuple[Tensor, Tensor]:
    """Weighted squared error of the velocity, and the plain one inside the people to print."""
    truth, noise = batch["truth"], batch["noise"]
    frames = torch.arange(truth.shape[2], device=truth.device).view(1, 1, -1, 1, 1)
    known = ((frames < _HISTORY) & batch["history"].view(-1, 1, 1, 1, 1)).float()  # [n, 1, T, 1, 1]
    level = batch["level"].view(-1, 1, 1, 1, 1) * (1 - known)
    error = network(
        truth + level * (noise - truth), 1000 * batch["level"], batch["context"], None,
        reference_latents=batch["reference_latents"], reference_masks=batch["reference_masks"],
        driving_latents=batch["driving_latents"], driving_masks=batch["driving_masks"], replacement=replacement,
        history_mask=known.expand(-1, 4, -1, *truth.shape[3:]).contiguous(),
        additional_latents=batch.get("additional_latents"), additional_masks=batch.get("additional_masks"),
    ) - (noise - truth)
    weight = (1 + 3 * batch["people"]) * (1 - known)
    squares = error.square()
    inside = batch["people"] * (1 - known)
    total = (squares * weight).sum() / (weight.sum() * truth.shape[1])
    return total, ((squares.detach() * inside).sum() / (inside.sum() * truth.shape[1]))[None]


def train(plan: Plan, folder: Path, steps: int, seconds: float, seed: int, device: torch.device) -> bool:
    """Train, or go on; at the end write `nano_scail2.safetensors`. True when all steps are done."""
    network = Network(plan.config)
    initialise(network, seed)
    network.to(device)
    optimise.allow_tf32(device)
    learning = {name: parameter for name, parameter in network.named_parameters() if learns(name)}
    optimiser = optimise.Optimiser(learning, is_matrix, plan.rate, steps)
    checkpoint = folder / "transformer.pt"
    done_before = optimiser.resume(checkpoint)
    scenes = Scenes(plan, VideoVAE.load(folder / "nano_vae.safetensors").to(device), seed, device, done_before)
    done = fit(network, optimiser, scenes, seed, checkpoint, seconds)
    network.load_state_dict(optimiser.averaged(), strict=False)
    optimise.write_half(network.state_dict(), folder / "nano_scail2.safetensors")
    return done


def fit(network: Network, optimiser: optimise.Optimiser, scenes: Scenes, seed: int, checkpoint: Path,
        seconds: float) -> bool:
    """The loop over batches of all kinds."""
    plan, device = scenes.plan, scenes.device
    if device.type == "cuda":
        for block in network.blocks:
            block.compile()
    shares = [bucket.share for bucket, _ in scenes.kinds]
    gradients = optimise.Gradients(optimiser, lambda kind, batch: loss(network, batch, scenes.kinds[kind][1]))

    def losses(step: int) -> Tensor:
        kind = optimise.choose(shares, seed, step)
        return gradients(kind, scenes.batch(kind, world.Random(TRAINING_SEEDS - 1 - seed * 1_000_003 - step, device)))

    def after(step: int) -> None:
        if step % plan.renew_every == 0:
            scenes.renew(step // plan.renew_every + len(scenes.order) - 1)

    return optimise.run(optimiser, losses, checkpoint, seconds, after=after)
