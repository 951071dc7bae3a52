"""What the engine asks of the program that it runs in: ComfyUI (`comfy/host.py`) or the command line
(`headless/host.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..plate.lock import PlateLock
from ..segments import Segment
from ..sparse.run import SparseRun
from .plan_parser import Change
from .task import SegmentInputs, Settings


@dataclass(frozen=True)
class SampleRequest:
    """One segment to be sampled.

    noise: [1, 16, T', H / 8, W / 8]. driving: latents [1, 16, T', H / 16, W / 16], driving_mask: [28, T', H / 16,
    W / 16]. history: clean latent frames [1, 16, t, H / 8, W / 8] that the segment begins with, or None. on_step: told
    the step, from 0, and the estimate of the clean latent after each step; what it raises ends the sampling. sparse:
    what guides sparse attention and learns its errors, for a host whose attention is sparse. lock: where the latent is
    held to what was filmed, None where nothing is. check: to be called between the blocks of the network, in
    any thread; raises when nobody waits for the result any more, because the user has cancelled or another lane has
    failed.
    """

    segment: Segment
    inputs: SegmentInputs
    settings: Settings
    replacement: bool
    noise: Tensor
    driving: Tensor
    driving_mask: Tensor
    history: Tensor | None
    on_step: Callable[[int, Tensor], None]
    sparse: SparseRun | None = None
    lock: PlateLock | None = None
    check: Callable[[], None] = lambda: None


class Host(Protocol):
    """Latents are in the scale of the VAE, not normalised."""

    @property
    def key(self) -> str:
        """Of the models, with everything done to them."""
        ...

    @property
    def description(self) -> str:
        """How the models compute, for reports and the file's metadata."""
        ...

    @property
    def sparse(self) -> bool:
        """Whether self-attention is sparse."""
        ...

    @property
    def lanes(self) -> Sequence[Host]:
        """Hosts of the same models that may work at the same time as each other, each in a thread and on GPUs of its
        own, with the same bits; none where there is one only. While they work, this one does not."""
        ...

    def prepare(self, inputs: Sequence[SegmentInputs]) -> None:
        """Do what the lanes would have to do one at a time, such as encoding the prompts; called before they begin.
        inputs: all that they are going to be asked for."""
        ...

    @property
    def place(self) -> str:
        """Where it computes, for a page and a terminal: "GPU 2", or "2 GPUs"; "" where there is one only."""
        ...

    def check_change(self, change: Change, number: int) -> None:
        """Raise ValueError if a change from the plan, for segment `number` from 1, needs a prompt that cannot be
        had."""
        ...

    def encode_text(self, text: str, name: str) -> Any:
        """A prompt, called `name` in errors. ValueError for one that is too long."""
        ...

    def saved_prompt(self, name: str) -> Any:
        """A prompt that was encoded before, from its file."""
        ...

    def prompt_key(self, positive: Any, negative: Any) -> str: ...

    def reference_key(self, reference: Any) -> str: ...

    def encode(self, frames: Tensor, check: Callable[[], None]) -> Tensor:
        """Frames [T, H, W, 3] in 0..1, T = 4n+1 -> latents [1, 16, n + 1, H / 8, W / 8]. check: as in `SampleRequest`,
        for each few frames."""
        ...

    def sample(self, request: SampleRequest) -> Tensor:
        """Latent [1, 16, T', H / 8, W / 8]."""
        ...

    def find_not_finite(self, inputs: SegmentInputs) -> str:
        """What to do about a latent with NaN or infinite numbers, and which model, LoRA, prompt or picture they come
        from: the end of a sentence, see `not_finite.py`."""
        ...

    def decode(self, latent: Tensor, check: Callable[[], None]) -> Tensor:
        """Latent -> frames [T, H, W, 3] in 0..1, on the CPU. check: as in `encode`."""
        ...

    def reset_peak(self) -> None:
        """Begin to measure what `memory` says."""

    def memory(self) -> str:
        """How much memory there was or is, in words, for the log."""
        ...


class Watch(Protocol):
    """Learns what is going on, and ends it, all in the thread that has called the engine. Segments count from 0;
    several may be made at the same time."""

    def at_once(self, lanes: Mapping[str, Sequence[int]]) -> None:
        """Scenes are made at the same time from here on: by place of a lane, the segments that it makes one after the
        other."""

    def placed(self, segment: int, place: str) -> None:
        """Where a segment is made (`Host.place`), if there are several GPUs."""

    def stage(self, segment: int, text: str) -> None: ...

    def step(self, segment: int, step: int, denoised: Tensor) -> None: ...

    def finished(self, segment: int, part: Path, *, kept: bool) -> None:
        """A segment's part is there; often some steps into the next segment, during which it is written. At the same
        time as others it may be there before that of an earlier segment."""

    def tick(self) -> None:
        """Called often. Raises when the user has cancelled."""
