"""What a video is made from, in the engine's terms, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..files.content_keys import digest
from ..identity.identities import Identities
from ..inputs.crops import PEOPLE, Crop
from ..media.clips import Clip
from ..media.encoding import Encoding
from ..plate.facts import FrameFacts
from ..plate.plate import Plate
from ..segments import SHORT_LAST, Segment
from ..solvers import shifted
from ..sparse.run import LayerError
from ..sparse.settings import SparseSettings
from .colour_match import OFF
from .noise import ONE_GENERATOR

# settings that have come later, and their defaults
_LATER: dict[str, Any] = {"sigmas": (), "driving_start": 0.0, "driving_end": 1.0,
                          "boxes": "", "margin": 0.0, "sparse": None, "negative_strength": 0.0, "lock": False}
FRAMES, LATENTS = "frames", "latents"
HISTORIES = {
    FRAMES: "hands over the decoded last frames, encoded again (official)",
    LATENTS: "hands over the last latents as they were sampled",
}


def check_strength(strength: float) -> None:
    """Raise ValueError for a negative_strength that would steer towards the negative prompt, or nowhere."""
    if 0 < strength <= 1:
        raise ValueError(f"negative_strength is {strength:g}, but only above 1 does it steer away from the negative "
                         "prompt: take 11, or 0 for not at all.")


@dataclass(frozen=True)
class Settings:
    """How a video is sampled. Counts are frames; guidance 1 means one forward per step. cuts: frames at which scenes
    begin. history, colour_match, noise: keys of HISTORIES, COLOUR_MATCHES and NOISES. sigmas: noise levels that take
    the place of the schedule by steps and shift; empty for that schedule. driving_start, driving_end: the part of the
    sampling in which the driving video is followed, 0..1. black_background: whether the model sees the people of the
    driving video only, or the boxes around them that `boxes` names, with that margin (`inputs/crops.py`). sparse: how
    sparse attention is, None where all of it is computed. negative_strength: how firmly attention to the prompt is
    steered away from the negative one, 0 for not at all. lock: whether the plate is held while sampling."""

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
    colour_match: str = OFF
    noise: str = ONE_GENERATOR
    sigmas: tuple[float, ...] = ()
    driving_start: float = 0.0
    driving_end: float = 1.0
    boxes: str = ""
    margin: float = 0.0
    sparse: SparseSettings | None = None
    negative_strength: float = 0.0
    lock: bool = False

    @property
    def crop(self) -> Crop | None:
        """What the model sees of the driving frames, None for everything."""
        return Crop(self.boxes or PEOPLE, self.margin) if self.black_background else None

    @property
    def key_values(self) -> dict[str, Any]:
        """What keys of work are made of. A setting that came later counts where it is used, so that work from before
        is found."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}

    @property
    def always_driven(self) -> bool:
        """Whether the driving video is followed in the whole sampling."""
        return (self.driving_start, self.driving_end) == (0.0, 1.0)

    @property
    def driving_levels(self) -> tuple[float, float]:
        """The noise levels between which the driving video is followed, the higher one first."""
        return shifted(1 - self.driving_start, self.shift), shifted(1 - self.driving_end, self.shift)

    @property
    def schedule(self) -> str:
        """The noise levels in words."""
        if not self.sigmas:
            return f"{self.steps} steps, shift {self.shift:g}"
        shown = ", ".join(f"{sigma:.4g}" for sigma in self.sigmas[:8])
        return f"{self.steps} steps at noise levels {shown}{', ...' if len(self.sigmas) > 8 else ''}"


@dataclass(frozen=True)
class SegmentInputs:
    """What one segment is made with. positive, negative, reference: the host's own objects, for which prompt_key and
    reference_key stand. seed: None for the video's."""

    positive: Any
    negative: Any
    prompt_key: str
    reference: Any
    reference_key: str
    guidance: float
    history_strength: float
    driving_strength: float = 1.0
    seed: int | None = None

    @property
    def key(self) -> str:
        return digest(self.prompt_key, self.reference_key, self.guidance, self.history_strength, self.driving_strength,
                      self.seed)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.reference.height, self.reference.width


@dataclass(frozen=True)
class VideoTask:
    """A video to be made. plan, inputs: by segment. solo: other inputs for a segment, which the segments after it do
    not see. rate: frames per second. key: of everything but the plan, the inputs and the encoding. draft_of:
    (height, width) of the video that this one is a draft of, None for the video itself. made_from: see
    `comparison.py`. plate: what was filmed, and stays where no person is made; None where all is made."""

    driving: Clip
    identities: Identities
    settings: Settings
    plan: Sequence[Segment]
    inputs: Sequence[SegmentInputs]
    solo: Sequence[SegmentInputs | None]
    rate: Fraction
    encoding: Encoding
    key: str
    draft_of: tuple[int, int] | None = None
    made_from: Mapping[str, Any] = field(default_factory=dict)
    plate: Plate | None = None

    @property
    def lock(self) -> Plate | None:
        """The plate, if it is held while sampling too."""
        return self.plate if self.settings.lock else None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) at which it is sampled."""
        return self.inputs[0].size

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) of the file: of the plate, where there is one."""
        return self.plate.size if self.plate else self.size

    @property
    def sizes(self) -> str:
        """The file's size in words, and that of the people in it, if it is another one."""
        (height, width), (made_height, made_width) = self.shown_size, self.size
        made = f" with people made at {made_width}x{made_height}" if self.plate else ""
        return f"{width}x{height}{made}"


@dataclass(frozen=True)
class Made:
    """The finished file, how many segments were already there, and the errors of sparse attention in each segment; of
    segments that are there, those that were kept with them. plate: of each frame in the plate; empty without one,
    and if those of a part are not kept any more."""

    path: Path
    kept: int
    errors: Sequence[Sequence[LayerError]] = ()
    plate: Sequence[FrameFacts] = ()


def segments_json(task: VideoTask) -> str:
    """The segments for Measure Video Drift and for programs."""
    return json.dumps(segments_values(task))


def segments_values(task: VideoTask) -> dict[str, Any]:
    """As `segments_json`, before it is text."""
    return {
        "frames": len(task.driving), "fps": str(task.rate),
        "segments": [{"start": segment.start, "stop": segment.stop, "overlap": segment.overlap,
                      "cut": segment.start in task.settings.cuts and not segment.overlap}
                     for segment in task.plan]}
