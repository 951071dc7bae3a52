"""A video of any length in ComfyUI: segment after segment, each starting from the decoded end of the one before.

The loop of the official `wan/scail.py`, with its noise (one generator for the whole video) and its history (the last
decoded frames, encoded again) unless asked otherwise; `segments.plan_scenes` says which frames each segment makes. What
is finished lies in a job folder (`jobs.py`) and is not made again; memory holds one segment at a time:

    0003-<key>.latent.safetensors    the sampled latent
    0003-<key>.end.safetensors       what the next segment starts from: the last frames, and the colours
    0003-<key>.mp4                   the segment's new frames, encoded
    sound.m4a, video-<key>.mp4       the driving video's sound; all parts and the sound joined

While a segment is sampled, threads read the driving side of the next one (`driving.py`) and write the part of the last
one, whose latent and end are on the disk before that begins. A part that is missing is made again from its latent.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import comfy.model_management
import comfy.sample
import comfy.utils
import torch
from torch import Tensor

from ..files.content_keys import digest
from ..files.jobs import Job
from ..inputs.conditioning import person_shares
from ..inputs.driving import Reader
from ..media.workers import Cancelled, result
from ..video.colour_match import ColourStats, colour_stats, matched
from ..video.noise import Noises
from ..video.segment_files import KEY, VideoFiles
from . import conditioning
from .conditioning import Motion
from .model import describe
from .sampler import make_sampler
from .work import FIRST, FRAMES, LATENTS, OFF, OVERLAP, Choice, Made, Watch, Work

log = logging.getLogger(__name__)


@dataclass
class _Take:
    """One sampling of a segment. frames: decoded, if they are in memory; `before` is the take that it starts from."""

    index: int
    key: str
    choice: Choice
    before: _Take | None
    first: _Take | None
    frames: Tensor | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def file(self, ending: str) -> str:
        return f"{self.index + 1:04}-{self.key[:KEY]}.{ending}"


@dataclass(frozen=True)
class _Unfinished:
    """A segment of which all is done but that its part is still being written."""

    index: int
    part: str
    writing: Future[None]


def make_video(work: Work, job: Job, watch: Watch) -> Made:
    """Make what is missing of a video and join it.

    The inputs are such that `comfy_preflight.check` finds no error in them. However it ends, what is finished is kept,
    and a file of it can be played. Raises ValueError for NaN in a latent, RuntimeError if the folder cannot be written.
    """
    return _Maker(work, job, watch).make()


class _Maker:
    def __init__(self, work: Work, job: Job, watch: Watch) -> None:
        self.work, self.job, self.watch = work, job, watch
        self.noises = Noises(work.settings.noise, work.settings.seed,
                             [conditioning.latent_shape(choice.reference, segment)
                              for choice, segment in zip(work.choices, work.plan, strict=True)])
        self.files = VideoFiles(job, work.driving, work.rate, work.encoding, watch.tick,
                                f"SCAIL-2, {describe(work.model)}")
        self.reader = Reader(work.driving, work.identities, work.plan, tick=watch.tick,
                             black_background=work.settings.black_background)
        self.unfinished: _Unfinished | None = None

    def make(self) -> Made:
        try:
            kept = self._segments()
        except BaseException as error:
            self.reader.stop()
            self._give_up(error)
            self.files.leave()
            raise
        finally:
            self.reader.stop()
            self.files.stop()
        self.watch.stage(len(self.work.plan) - 1, "joining")
        return Made(self.files.joined(), kept)

    def _segments(self) -> int:
        """Make what is missing; returns how many segments were there."""
        take = self._next(None)
        self._read_ahead(take)
        self.files.prepare_sound()  # first, so that damaged sound is found before hours of sampling
        kept = 0
        while take is not None:
            kept += self._segment(take)
            take.frames = None
            if take.before is not None:
                take.before.before = None  # nothing looks further back
            take = self._next(take)
        self._finish()
        return kept

    # Takes

    def _next(self, take: _Take | None) -> _Take | None:
        """The take of the segment behind, of the first one for None; None if there is none."""
        index = 0 if take is None else take.index + 1
        if index == len(self.work.plan):
            return None
        goes_on = take is not None and self.work.plan[index].overlap
        return self._take(index, self.work.choices[index], *(take, take.first or take) if goes_on else (None, None))

    def _take(self, index: int, choice: Choice, before: _Take | None, first: _Take | None, only: bool = False) -> _Take:
        settings, segment = self.work.settings, self.work.plan[index]
        anchor = first.key if first is not None and settings.colour == FIRST else ""
        key = digest(self.work.key, segment.start, segment.stop, segment.length, segment.overlap, choice.key,
                     self.noises.key(index, choice.seed), before.key if before else "", anchor, only)
        return _Take(index, key, choice, before, first)

    def _segment(self, take: _Take) -> bool:
        """See to it that a segment's files are there; returns whether they were."""
        index, started = take.index, time.monotonic()
        choice = self.work.alone[index]
        other = choice and self._take(index, choice, take.before, take.first, only=True)
        shown = other or take
        part = shown.file(self.files.ending(other and take.key))
        segment = self.work.plan[index]
        complete = self.files.has(part, segment.new_frames)
        kept = complete and (self._ends_scene(index) or self._has_end(take))
        if not kept:
            _reset_peak(self.work.model.load_device)
            self._need_end(take)
        if complete:
            self._finish()
            self._finished(index, part, kept)
        else:
            frames = self._shown(take, other)
            self._finish()
            self.watch.stage(index, "writing")
            self.unfinished = _Unfinished(index, part, self.files.begin(part, frames))
        if not kept:
            self._log(take, other, time.monotonic() - started)
        return kept

    def _finish(self) -> None:
        """Wait until the last part is written. Raises what went wrong in that."""
        unfinished, self.unfinished = self.unfinished, None
        if unfinished is not None:
            try:
                result(unfinished.writing, self.watch.tick)
            except BaseException:
                if not unfinished.writing.done():  # the user has cancelled: it may still be there in time
                    self.unfinished = unfinished
                raise
            self._finished(unfinished.index, unfinished.part, kept=False)

    def _finished(self, index: int, part: str, kept: bool) -> None:
        self.watch.finished(index, self.files.add(part), kept=kept)
        self.job.tell(done=index + 1)

    def _give_up(self, error: BaseException) -> None:
        """Keep the part that is being written if it can be had: at once, or after an error, when nobody is waiting."""
        if not isinstance(error, Exception):
            self.files.stop()
        try:
            self._finish()
        except Cancelled:
            pass
        except BaseException as another:
            log.warning("SCAIL-2: %s", another)

    def _read_ahead(self, take: _Take | None) -> None:
        """Let the driving side of a segment be read, if it will be sampled."""
        if take is not None and not self.job.has(take.file("latent.safetensors")):
            self.reader.begin(take.index, _size(take))

    def _need_end(self, take: _Take) -> None:
        """What the next segment starts from."""
        if self._ends_scene(take.index) or self._has_end(take):
            return
        frames = self._frames(take)
        end = {"frames": frames[-self.work.settings.overlap :]}
        if self.work.settings.colour == FIRST and take.first is None:
            look = colour_stats(frames, self._where(take), self.watch.tick)
            if look is not None:
                end["look"] = look.stacked()
        self.job.save(take.file("end.safetensors"), end)

    def _has_end(self, take: _Take) -> bool:
        needed = ["end.safetensors", *(["latent.safetensors"] if self.work.settings.history == LATENTS else [])]
        return all(self.job.has(take.file(ending)) for ending in needed)

    def _shown(self, take: _Take, other: _Take | None) -> Tensor:
        """The segment's new frames, as they are in the video."""
        new = slice(self.work.plan[take.index].overlap, None)
        if other is None:
            return self._frames(take)[new]
        joins = bool(self.work.plan[take.index].overlap), not self._ends_scene(take.index)
        return blended(self._frames(take)[new], self._frames(other)[new], self.work.settings.overlap, *joins)

    def _frames(self, take: _Take) -> Tensor:
        """All real frames of a take, sampled if need be: [T, H, W, 3] in 0..1."""
        if take.frames is None:
            name = take.file("latent.safetensors")
            if not self.job.has(name):
                self.job.save(name, {"samples": self._sampled(take)})
            self._finish()  # so that no two segments' frames are in memory
            with self._timed(take, "decoding"):
                take.frames = self._decoded(take, self.job.load(name)["samples"])
        return take.frames

    def _sampled(self, take: _Take) -> Tensor:
        work, choice, settings = self.work, take.choice, self.work.settings
        sampler, sigmas = make_sampler(settings.solver, settings.steps, settings.shift, choice.history_strength)
        with self._timed(take, "encoding"):
            motion = self._motion(take)
        if work.alone[take.index] is None:  # else the next segment is there, or this one is sampled twice
            self._read_ahead(self._next(take))
        with self._timed(take, "sampling"):
            return comfy.sample.sample_custom(
                work.model, self.noises.of(take.index, choice.seed), choice.guidance, sampler, sigmas,
                conditioning.with_values(choice.positive, motion.values),
                conditioning.with_values(choice.negative, motion.values),
                motion.latent["samples"], noise_mask=motion.latent.get("noise_mask"),
                callback=self._step_watch(take.index), disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=settings.seed if choice.seed is None else choice.seed)

    def _motion(self, take: _Take) -> Motion:
        work, choice = self.work, take.choice
        self.reader.begin(take.index, _size(take))
        history = self._history(take)
        pixels, mask = self.reader.take(take.index, _size(take))
        latents = conditioning.encode_driving(work.vae, pixels)
        return conditioning.motion(choice.reference, work.identities, work.plan[take.index], latents,
                                         self.reader.waited(mask), history=history,
                                         driving_strength=choice.driving_strength)

    def _history(self, take: _Take) -> Tensor | None:
        """Clean latent frames [1, 16, t, H / 8, W / 8] that a segment begins with."""
        if take.before is None:
            return None
        frames = self._end(take.before)["frames"]
        if self.work.settings.history == FRAMES:
            return self.work.vae.encode(frames)
        # The first latent frame of a video holds one picture, all others four: only these can be taken over.
        latents = self.job.load(take.before.file("latent.safetensors"))["samples"]
        groups = (len(frames) - 1) // 4
        begin = self.work.vae.encode(frames[:1])
        return torch.cat((begin, latents[:, :, latents.shape[2] - groups :]), dim=2) if groups else begin

    def _decoded(self, take: _Take, latent: Tensor) -> Tensor:
        segment = self.work.plan[take.index]
        frames = self.work.vae.decode(latent).cpu()
        frames = frames.reshape(-1, *frames.shape[-3:])[: segment.stop - segment.start]
        if self.work.settings.colour == OFF or take.before is None:
            return frames
        where, overlap, tick = self._where(take), segment.overlap, self.watch.tick
        if self.work.settings.colour == OVERLAP:
            part = None if where is None else where[:overlap]
            now = colour_stats(frames[:overlap], part, tick)
            wanted = colour_stats(self._end(take.before)["frames"], part, tick)
        else:
            now, kept = colour_stats(frames, where, tick), self._end(take.first).get("look")
            wanted = None if kept is None else ColourStats(*kept)
        return frames if now is None or wanted is None else matched(frames, now, wanted, where, tick)

    def _where(self, take: _Take) -> Tensor | None:
        """Whose colours may change: the people's in replacement, because the rest is the driving video's."""
        segment, reference = self.work.plan[take.index], take.choice.reference
        if not self.work.identities.replacement:
            return None
        return person_shares(self.work.identities, segment.start, segment.stop, reference.height, reference.width)

    def _end(self, take: _Take) -> dict[str, Tensor]:
        return self.job.load(take.file("end.safetensors"))

    def _ends_scene(self, index: int) -> bool:
        plan = self.work.plan
        return index + 1 == len(plan) or not plan[index + 1].overlap

    # Signs of life

    @contextlib.contextmanager
    def _timed(self, take: _Take, stage: str) -> Iterator[None]:
        self.watch.stage(take.index, stage)
        started = time.monotonic()
        yield
        take.seconds[stage] = take.seconds.get(stage, 0.0) + time.monotonic() - started

    def _step_watch(self, index: int):
        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            if not torch.isfinite(denoised).all():
                raise ValueError(f"The latent of segment {index + 1} of {len(self.work.plan)} has NaN or infinite "
                                 f"values after step {step + 1} of {total}: use a bf16 model file, or another "
                                 "attention backend.")
            if self.unfinished is not None and self.unfinished.writing.done():
                self._finish()
            self.watch.step(index, step, denoised)

        return callback

    def _log(self, take: _Take, other: _Take | None, seconds: float) -> None:
        segment, parts = self.work.plan[take.index], dict(take.seconds)
        for stage, more in (other.seconds if other else {}).items():
            parts[stage] = parts.get(stage, 0.0) + more
        shares = ", ".join(f"{stage} {spent:.1f}" for stage, spent in parts.items())
        log.info("SCAIL-2: segment %d of %d, frames %d to %d: %.1f s (%s), %s", take.index + 1, len(self.work.plan),
                 segment.start + segment.overlap, segment.stop - 1, seconds, shares,
                 _peak(self.work.model.load_device))


def blended(old: Tensor, new: Tensor, ramp: int, at_start: bool, at_end: bool) -> Tensor:
    """`new` frames [n, H, W, 3] that begin and end as the `old` ones do: over `ramp` frames one goes into the other."""
    shares = torch.ones(len(new))
    ramp = min(ramp, len(new) // 2)
    rising = torch.arange(1, ramp + 1) / (ramp + 1)
    if at_start:
        shares[:ramp] = rising
    if at_end and ramp:
        shares[-ramp:] = rising.flip(0)
    return torch.lerp(old, new, shares[:, None, None, None].to(new.dtype))


def _size(take: _Take) -> tuple[int, int]:
    return take.choice.reference.height, take.choice.reference.width


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> str:
    if device.type != "cuda":
        return f"{comfy.model_management.get_free_memory(device) / 2**30:.1f} GiB of main memory free"
    # weights that ComfyUI's dynamic memory holds are none of PyTorch's
    return f"at most {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of GPU memory in PyTorch"
