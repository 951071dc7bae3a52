"""What a video is made from, and who is told of it: what `comfy_video` takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..files.content_keys import digest
from ..identity.identities import Identities
from ..media.clips import Clip
from ..media.encoding import Encoding
from ..segments import SHORT_LAST, Segment
from ..video.noise import NOISES
from .conditioning import Reference

FRAMES, LATENTS = "frames", "latents"
HISTORIES = (FRAMES, LATENTS)
OFF, OVERLAP, FIRST = "off", "overlap", "first segment"
COLOURS = (OFF, OVERLAP, FIRST)


@dataclass(frozen=True)
class Settings:
    """How a video is sampled; counts in frames, guidance 1 means one forward per step.

    history, colour, noise: means against drift, official by default; see the node. cuts: frames at which scenes begin.
    """

    solver: str
    steps: int
    shift: float
    guidance: float
    seed: int
    segment_length: int
    overlap: int
    black_background: bool
    lengths: str = SHORT_LAST
    cuts: tuple[int, ...] = ()
    history: str = FRAMES
    colour: str = OFF
    noise: str = NOISES[0]


@dataclass(frozen=True)
class Choice:
    """What one segment is made with. prompt_key and reference_key stand for the objects. seed: None for the video's."""

    positive: list
    negative: list
    prompt_key: str
    reference: Reference
    reference_key: str
    guidance: float
    history_strength: float
    driving_strength: float = 1.0
    seed: int | None = None

    @property
    def key(self) -> str:
        return digest(self.prompt_key, self.reference_key, self.guidance, self.history_strength, self.driving_strength,
                      self.seed)


@dataclass(frozen=True)
class Work:
    """A video to be made. plan and choices: by segment; alone: another choice for a segment that those behind it do not
    see. rate: frames per second. key: of everything that is not in the plan, the choices or the encoding."""

    model: Any
    vae: Any
    driving: Clip
    identities: Identities
    settings: Settings
    plan: Sequence[Segment]
    choices: Sequence[Choice]
    alone: Sequence[Choice | None]
    rate: Fraction
    encoding: Encoding
    key: str


class Watch(Protocol):
    """Told what is going on; segments count from 0."""

    def stage(self, segment: int, text: str) -> None: ...

    def step(self, segment: int, step: int, denoised: Tensor) -> None: ...

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        """Its part is there; often some steps into the next segment, during which it is written."""

    def tick(self) -> None: ...


@dataclass
class Made:
    """The finished file, and how many segments were found finished."""

    path: Path
    kept: int
