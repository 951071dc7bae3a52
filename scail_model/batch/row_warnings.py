"""What is doubtful about a row, in the sentences of the check that every run makes (`preflight/checks.py`): as much of
it as needs neither masks nor a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ..config import TransformerConfig
from ..media.clips import Clip
from ..preflight import checks
from ..preflight.findings import WARNING, of_level
from ..preflight.job import Job, Transformer
from ..segments import Segment
from ..video.colour_match import OFF
from ..video.draft import draft_size
from ..video.options import VideoOptions
from ..video.task import LATENTS


@dataclass(frozen=True)
class _Known:
    """As much of a `preflight.job.Job` as these checks read."""

    driving: Clip
    fps: float
    width: int
    height: int
    steps: int
    full_steps: int
    guidance: float
    segment_length: int
    overlap: int
    later_colours: bool
    latent_history: bool
    transformer: Transformer

    @property
    def at_full(self) -> _Known:
        return replace(self, steps=self.full_steps)


def doubts(options: VideoOptions, size: tuple[int, int], steps: int | None, clip: Clip, plan: Sequence[Segment], *,
           lora: bool) -> Iterator[str]:
    """Sentences about uses that the model was not made for. size: (width, height) of the full result. steps: None if
    they are not known."""
    width, height = draft_size(*size) if options.draft else size
    full = replace(options, draft=False).settings(0).steps
    known = cast(Job, _Known(
        clip, float(options.result_rate(clip)), width, height, steps or full, full, options.guidance,
        options.segment_length, options.overlap, options.colour_match != OFF, options.history == LATENTS,
        Transformer(TransformerConfig(), 0, 0, lora)))
    found = [*checks.segments(known, list(plan)), *checks.rate(known), *checks.size(known)]
    if steps is not None:  # a sampler of its own decides otherwise
        found += checks.guidance(known)
    yield from (finding.text for finding in of_level(found, WARNING))
