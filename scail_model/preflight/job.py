"""A video to make, as the checks see it before anything is encoded or sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..gpus.gain import NVLINK, Together
from ..identity.identities import Identities
from ..media.clips import Clip
from ..plate.choice import LOCK, OFF, Choice
from ..segments import SHORT_LAST, Segment
from ..sparse.settings import SparseSettings
from .budget import DECODING, STREAMED, Coder, Machine, Work

NO_PLATE = Choice()


@dataclass(frozen=True)
class Transformer:
    """A SCAIL-2 model. weight_bytes: as stored in the file. patched: number of weights that LoRAs or merges change.
    lora: whether there is one, also one that is applied without changing weights. in_chunks: whether blocks compute in
    chunks on a small card. weights, decoder, int8: as in `budget.Work`. gpus: that compute it together; none where
    it is one. fewer: why they are fewer than asked for, None if they are not."""

    config: TransformerConfig
    weight_bytes: int
    patched: int
    lora: bool
    in_chunks: bool = True
    weights: str = STREAMED
    decoder: Coder = DECODING
    int8: bool = False
    gpus: tuple[torch.device, ...] = ()
    fewer: str | None = None


@dataclass(frozen=True)
class Full:
    """What a draft has less of than the video that it is for: pixels, and steps."""

    width: int
    height: int
    steps: int


@dataclass(frozen=True)
class Job:
    """A video to make.

    fps: frames per second of the driving video. width, height: of the result. reference_masks: [n, 28, height / 8,
    width / 8] as encoded, the primary last. tokens: prompt name -> number of tokens. schedule: the noise levels in
    words. transformer: None for a model that is not SCAIL-2. cuts: frames at which scenes begin. free_disk: bytes at
    the job folder, None if unknown. driven_steps: steps in which the driving video is followed, None for all.
    full: the video that this one is a draft of, None for the video itself. sparse: how sparse attention is, None where
    all of it is computed. plate: what is kept of the driving video. negative_strength: as in
    `task.Settings`.
    """

    identities: Identities
    driving: Clip
    fps: float
    width: int
    height: int
    reference_masks: Tensor
    tokens: Mapping[str, int]
    solver: str
    steps: int
    schedule: str
    guidance: float
    segment_length: int
    overlap: int
    black_background: bool
    transformer: Transformer | None
    machine: Machine
    lengths: str = SHORT_LAST
    cuts: tuple[int, ...] = ()
    later_colours: bool = False
    latent_history: bool = False
    lossless: bool = False
    free_disk: int | None = None
    driven_steps: int | None = None
    full: Full | None = None
    sparse: SparseSettings | None = None
    plate: Choice = NO_PLATE
    negative_strength: float = 0.0

    @property
    def filmed(self) -> Clip:
        """What was filmed, of which a crop shows a part."""
        return self.driving if self.plate.crop is None else self.plate.crop.clip

    @property
    def at_full(self) -> Job:
        """The same, as it will be made when it is no draft."""
        return self if self.full is None else replace(self, width=self.full.width, height=self.full.height,
                                                      steps=self.full.steps, full=None)


def work_of(job: Job, transformer: Transformer, plan: Sequence[Segment]) -> Work:
    """What a job costs, in the budget's terms."""
    height, width = job.filmed.size
    together = Together(max(1, len(transformer.gpus)), job.machine.link or NVLINK)
    return Work(transformer.config, job.width, job.height, tuple(segment.length for segment in plan),
                len(job.reference_masks) - 1, job.steps, job.guidance, transformer.weight_bytes, width, height,
                job.overlap, job.lossless, transformer.in_chunks, transformer.weights, transformer.decoder,
                transformer.int8, job.sparse, job.plate.kind != OFF, job.plate.kind == LOCK, together)
