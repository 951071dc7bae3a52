"""One sampling of one segment, and everything that its frames come from.

A take's files in the job folder carry its key, which stands for all that decides its content:

    0003-<key>.latent.safetensors    the sampled latent
    0003-<key>.end.safetensors       what the next segment starts from: the last frames, and the colours
    0003-<key>.sparse.json           how sparse attention was calibrated, and its errors

Sparse attention is calibrated in the first take of a scene. Every other take begins with what that one has found, as
the file holds it, and what it finds itself counts for nobody else: so it is the same when it is made later or again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..files.content_keys import digest
from ..files.jobs import Job
from ..inputs.conditioning import person_shares
from ..inputs.driving import Reader
from ..plate.lock import Filmed, PlateLock, on_filmed, read_filmed
from ..sparse import report as sparse_report
from ..sparse.calibration import Calibration
from ..sparse.run import LayerError, SparseRun
from . import colour_match, not_finite
from .draft import draft_noise
from .host import Host, SampleRequest, Watch
from .noise import Noise
from .segment_files import KEY
from .task import FRAMES, LATENTS, SegmentInputs, VideoTask

LATENT, END, SPARSE = "latent.safetensors", "end.safetensors", "sparse.json"


@dataclass
class Take:
    """inputs: what it is made with. before: the take that it continues, None at the start of a scene; first: the first
    one of its scene, None for that one itself. calibrated_by: the one whose calibration of sparse attention it begins
    with, None if it calibrates. frames: decoded, while they are in memory. seconds: spent, by stage."""

    index: int
    key: str
    inputs: SegmentInputs
    before: Take | None
    first: Take | None
    calibrated_by: Take | None
    frames: Tensor | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def file(self, ending: str) -> str:
        return f"{self.index + 1:04}-{self.key[:KEY]}.{ending}"


class Takes:
    """Names the takes of a task, and makes their latents, frames and ends where these are not in the job folder.

    order: the segments that are made here, one after the other; whole scenes. free_memory: called before a take is
    decoded, so that no two segments' frames are in memory. after_step: called after each step of the sampler.
    """

    def __init__(self, task: VideoTask, host: Host, job: Job, watch: Watch, order: Sequence[int], *,
                 free_memory: Callable[[], None], after_step: Callable[[], None]) -> None:
        self.task, self.host, self.job, self.watch, self.order = task, host, job, watch, order
        self.free_memory, self.after_step = free_memory, after_step
        self.noise = Noise(task.settings.noise, task.settings.seed, [
            (1, 16, (segment.length - 1) // 4 + 1, *(side // 8 for side in task.draft_of or inputs.size))
            for inputs, segment in zip(task.inputs, task.plan, strict=True)])
        self.reader = Reader(task.driving, task.identities, task.plan, crop=task.settings.crop, tick=watch.tick,
                             more=None if task.lock is None else partial(read_filmed, task.lock))

    def after(self, take: Take | None) -> Take | None:
        """The take of the next segment, of the first one for None; None after the last one."""
        position = 0 if take is None else self.order.index(take.index) + 1
        if position == len(self.order):
            return None
        index = self.order[position]
        if take is None or not self.task.plan[index].overlap:
            return self._take(index, self.task.inputs[index], None, None)
        return self._take(index, self.task.inputs[index], take, take.first or take)

    def solo(self, take: Take) -> Take | None:
        """The same segment made with inputs of its own, which later segments do not see."""
        inputs = self.task.solo[take.index]
        return inputs and self._take(take.index, inputs, take.before, take.first, usual=take)

    def _take(self, index: int, inputs: SegmentInputs, before: Take | None, first: Take | None,
              usual: Take | None = None) -> Take:
        """usual: the take of the same segment that later ones see, for a solo one."""
        settings, segment = self.task.settings, self.task.plan[index]
        anchor = first.key if first is not None and colour_match.from_first(settings.colour_match) else ""
        key = digest(self.task.key, segment.start, segment.stop, segment.length, segment.overlap, inputs.key,
                     self.noise.key(index, inputs.seed), before.key if before else "", anchor, usual is not None)
        return Take(index, key, inputs, before, first, first or usual)

    def ends_scene(self, take: Take) -> bool:
        plan, index = self.task.plan, take.index
        return index + 1 == len(plan) or not plan[index + 1].overlap

    def read_ahead(self, take: Take | None) -> None:
        """Begin to read the driving side of a take, if it will be sampled."""
        if take is not None and not self._is_sampled(take):
            self.reader.begin(take.index, take.inputs.size)

    def stop(self) -> None:
        self.reader.stop()

    # What the next segment starts from

    def has_end(self, take: Take) -> bool:
        needed = [] if self.ends_scene(take) else [END, *([LATENT] if self.task.settings.history == LATENTS else [])]
        return all(self.job.has(take.file(ending)) for ending in [*needed, *self._calibration_file(take)])

    def need_end(self, take: Take) -> None:
        """Make a take's end unless it is there."""
        if self.has_end(take):
            return
        frames, settings = self.frames(take), self.task.settings
        if self.ends_scene(take):
            return
        colours = colour_match.remember(settings.colour_match, frames, self._changeable(take),
                                        first=take.first is None, tick=self.watch.tick)
        end, segment = frames[-settings.overlap :], self.task.plan[take.index]
        if self.task.lock is not None:
            end = on_filmed(self.task.lock, segment.stop - len(end), end)
        self.job.save(take.file(END), {"frames": end, **colours})

    def _end(self, take: Take) -> dict[str, Tensor]:
        return self.job.load(take.file(END))

    # Sparse attention

    def errors(self, take: Take) -> Sequence[LayerError]:
        """Of sparse attention in a take that is there; none if they are not kept any more."""
        name = take.file(SPARSE)
        kept = self.task.settings.sparse is not None and self.job.has(name)
        return self.job.load_values(name, lambda values: sparse_report.errors_of(values["errors"])) if kept else []

    def _calibration_file(self, take: Take) -> list[str]:
        """The ending of what later takes begin with, if this one calibrates."""
        return [SPARSE] if self.task.settings.sparse is not None and take.calibrated_by is None else []

    def _sparse_run(self, take: Take) -> SparseRun | None:
        settings, before = self.task.settings.sparse, take.calibrated_by
        if settings is None or before is None:
            return settings and SparseRun(settings)
        return SparseRun(settings, self.job.load_values(before.file(SPARSE),
                                                        lambda values: Calibration.of(values["calibration"])))

    # Latents and frames

    def frames(self, take: Take) -> Tensor:
        """All real frames of a take, sampled if need be: [T, H, W, 3] in 0..1."""
        if take.frames is None:
            name = take.file(LATENT)
            if not self._is_sampled(take):
                self.job.save(name, {"samples": self._sampled(take)})
            self.free_memory()
            with self._timed(take, "decoding"):
                take.frames = self._decoded(take, self.job.load(name)["samples"])
        return take.frames

    def _is_sampled(self, take: Take) -> bool:
        return all(self.job.has(take.file(ending)) for ending in [LATENT, *self._calibration_file(take)])

    def _sampled(self, take: Take) -> Tensor:
        task, index = self.task, take.index
        with self._timed(take, "encoding"):
            self.reader.begin(index, take.inputs.size)
            history = self._history(take)
            pixels, mask, filmed = self.reader.take(index, take.inputs.size)
            driving = self._encoded(pixels.movedim(1, -1))  # [1, 16, T', H / 16, W / 16]
            self._check_latents(index, driving, history)
            lock = None if filmed is None else self._lock(index, filmed, history)
            del filmed  # with all of its frames
            mask = self.reader.waited(mask)
        if task.solo[index] is None:  # else the next segment is there, or this one is sampled twice
            self.read_ahead(self.after(take))
        sparse = self._sparse_run(take)
        with self._timed(take, "sampling"):
            latent = self.host.sample(SampleRequest(
                task.plan[index], take.inputs, task.settings, task.identities.replacement,
                self._noise(take), driving, mask, history, self._step_watch(index, take.inputs), sparse,
                lock, self.watch.tick))
        if sparse is not None:
            self.job.save_values(take.file(SPARSE), {"calibration": sparse.calibration().values(),
                                                     "errors": sparse_report.values(sparse.errors)})
        return latent

    def _encoded(self, frames: Tensor) -> Tensor:
        return self.host.encode(frames, self.watch.tick)

    def _lock(self, index: int, reading: Future[Filmed], history: Tensor | None) -> PlateLock:
        filmed = self.reader.waited(reading)
        plate = self._encoded(filmed.frames)
        self._check_latents(index, plate, None)
        return filmed.locked(plate, history)

    def _noise(self, take: Take) -> Tensor:
        noise = self.noise.of(take.index, take.inputs.seed)
        return draft_noise(noise, *(side // 8 for side in take.inputs.size)) if self.task.draft_of else noise

    def _history(self, take: Take) -> Tensor | None:
        """Clean latent frames [1, 16, t, H / 8, W / 8] that a segment begins with."""
        if take.before is None:
            return None
        frames = self._end(take.before)["frames"]
        if self.task.settings.history == FRAMES:
            return self._encoded(frames)
        # The first latent frame of a video holds one picture, all others four: only these can be taken over.
        latents = self.job.load(take.before.file(LATENT))["samples"]
        groups = (len(frames) - 1) // 4
        begin = self._encoded(frames[:1])
        return torch.cat((begin, latents[:, :, latents.shape[2] - groups :].to(begin)), dim=2) if groups else begin

    def _decoded(self, take: Take, latent: Tensor) -> Tensor:
        segment = self.task.plan[take.index]
        frames = self.host.decode(latent, self.watch.tick)[: segment.stop - segment.start]
        if take.before is None or self.task.settings.colour_match == colour_match.OFF:
            return frames
        return colour_match.correct(self.task.settings.colour_match, frames, self._changeable(take), segment.overlap,
                                    self._end(take.before), self._end(take.first or take.before), self.watch.tick)

    def _changeable(self, take: Take) -> Tensor | None:
        """Whose colours may change: the people's in replacement, because the rest is the driving video's."""
        segment = self.task.plan[take.index]
        if not self.task.identities.replacement or self.task.settings.colour_match == colour_match.OFF:
            return None
        return person_shares(self.task.identities, segment.start, segment.stop, *take.inputs.size)

    def _check_latents(self, index: int, driving: Tensor, history: Tensor | None) -> None:
        for what, latents in (("driving video", driving), ("history", history)):
            if latents is not None and not latents.isfinite().all():
                raise ValueError(not_finite.in_latents(what, self._name(index)))

    def _name(self, index: int) -> str:
        return f"segment {index + 1} of {len(self.task.plan)}"

    def _step_watch(self, index: int, inputs: SegmentInputs) -> Callable[[int, Tensor], None]:
        def on_step(step: int, denoised: Tensor) -> None:
            if not torch.isfinite(denoised).all():
                raise ValueError(f"The latent of {self._name(index)} has NaN or infinite values after step {step + 1} "
                                 f"of {self.task.settings.steps}: {self.host.find_not_finite(inputs)}.")
            self.after_step()
            self.watch.step(index, step, denoised)

        return on_step

    @contextlib.contextmanager
    def _timed(self, take: Take, stage: str) -> Iterator[None]:
        self.watch.stage(take.index, stage)
        started = time.monotonic()
        yield
        take.seconds[stage] = take.seconds.get(stage, 0.0) + time.monotonic() - started
