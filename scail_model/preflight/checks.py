"""Checks of a job, made before anything is encoded or sampled.

Errors would stop the run or make it worthless. Warnings are about uses that the model was not made for, compared with
the official settings: 40 steps and guidance 5, or a distilled LoRA with 8 steps and guidance 1; segments of 81 frames
with an overlap of 5; 512x896 to 704x1280 pixels. Memory and time are estimates of `budget`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..geometry import check_frame_count, check_shape
from ..identity.identities import MODES, Identities, report
from ..inputs.conditioning import reference_mask
from ..media.clips import Clip
from ..segments import SHORT_LAST, Segment, plan_scenes
from . import budget, capacity, mask_checks
from .budget import DECODING, OFFLOADED, RESIDENT, STREAMED, Coder, Machine, Need, Work
from .capacity import Residence
from .findings import Finding, attempt, error, fact, warning

_TRAINED_LENGTH, _TRAINED_OVERLAP = 81, 5  # frames
_LARGEST_AREA = 1.25 * 704 * 1280
_ENLARGED = 2.0  # up to here no detail is lost: the model sees the driving video at half the size of the result
_DISTILLED_STEPS, _PLAIN_STEPS = 10, 20
_MASK_TOLERANCE = 1e-3  # of a cell's share, for rounding
_WHITE = 0  # mask channel
_GIB = 2**30


@dataclass(frozen=True)
class Transformer:
    """A SCAIL-2 model. weight_bytes: as stored in the file. patched: number of weights that LoRAs or merges change.
    lora: whether there is one, also one that is applied without changing weights. in_chunks: whether blocks compute in
    chunks on a small card. weights, decoder: as in `budget.Work`."""

    config: TransformerConfig
    weight_bytes: int
    patched: int
    lora: bool
    in_chunks: bool = True
    weights: str = STREAMED
    decoder: Coder = DECODING


@dataclass(frozen=True)
class Job:
    """A video to make.

    fps: frames per second of the driving video. width, height: of the result. reference_masks: [n, 28, height / 8,
    width / 8] as encoded, the primary last. tokens: prompt name -> number of tokens. schedule: the noise levels in
    words. transformer: None for a model that is not SCAIL-2. cuts: frames at which scenes begin. free_disk: bytes at
    the job folder, None if unknown.
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


def check(job: Job) -> list[Finding]:
    """All findings about a job. Checks that need a valid plan, or masks that fit the driving video, are skipped without
    them. Raises nothing."""
    mask_errors, plan_errors = driving_errors(job), attempt("segments", _plan, job)
    plan = [] if plan_errors else _plan(job)
    findings = [*mask_errors, *plan_errors, *(warning("driving_file", text) for text in job.driving.warnings),
                *references(job), *guidance(job), *size(job)]
    if plan:
        findings += [*segments(job, plan), *memory(job, plan)]
    if not mask_errors:
        findings += mask_checks.check(job.identities, plan, job.height, job.width)
        if not job.identities.replacement and not job.black_background:
            findings += mask_checks.background(job.identities, job.driving)
    findings += job_facts(job)
    return [*findings, *plan_facts(job, plan)] if plan else findings


def driving_errors(job: Job) -> list[Finding]:
    """Masks that do not fit the driving video."""
    masks = job.identities.driving
    return [*attempt("driving_mask_frames", check_frame_count, len(job.driving), len(masks)),
            *attempt("driving_mask_shape", check_shape, "driving mask", masks.size, "driving video",
                     job.driving.size)]


def references(job: Job) -> list[Finding]:
    """References that were encoded with other identities than the driving masks."""
    encoded, count = job.reference_masks, len(job.identities.references)
    if len(encoded) != count:
        return [error("reference_count", f"{len(encoded)} reference(s) were encoded, but the identities have masks for "
                                         f"{count}: connect the same identities to Encode SCAIL-2 Reference.")]
    order = [*range(1, count), 0]
    expected = torch.cat([reference_mask(job.identities, index, job.height, job.width) for index in order], dim=1)
    expected = expected.movedim(1, 0)
    # a white background of the primary means animation
    if encoded[-1, _WHITE].any() != expected[-1, _WHITE].any():
        mode = job.identities.mode
        other = next(name for name in MODES if name != mode)
        return [error("reference_mode", f"The reference was encoded for {other}, but the identities are for {mode}: "
                                        "connect the same identities to Encode SCAIL-2 Reference.")]
    if (encoded - expected).abs().max() > _MASK_TOLERANCE:
        return [warning("reference_masks", f"The masks of the {count} encoded reference(s) differ from those of the "
                                           "identities: connect the same identities to Encode SCAIL-2 Reference.")]
    return []


def guidance(job: Job) -> Iterator[Finding]:
    """Steps and guidance that do not fit a distilled LoRA, or a model without one."""
    if job.transformer is None:
        return
    lora, plain, steps = job.transformer.lora, job.guidance == 1, job.steps
    if lora and not plain and steps <= _DISTILLED_STEPS:
        yield warning("guidance", f"guidance is {job.guidance:g} with {steps} steps and a LoRA, but distilled LoRAs "
                                  "are made for guidance 1: set guidance to 1, or take 40 steps if the LoRA is not "
                                  "distilled.")
    if plain and not lora:
        yield warning("guidance", "guidance is 1 and there is no LoRA, but the model itself is not distilled: set "
                                  "guidance to 5, or load a distilled LoRA, unless one is merged into the file.")
    if steps < _PLAIN_STEPS and not lora:
        yield warning("steps", f"There are {steps} steps and no LoRA, but the model itself is not distilled: take 40 "
                               "steps, or load a distilled LoRA, unless one is merged into the file.")
    if steps >= _PLAIN_STEPS and plain and lora:
        yield fact("steps", f"There are {steps} steps at guidance 1 with a LoRA; distilled LoRAs need 4 to 8.")


def segments(job: Job, plan: list[Segment]) -> Iterator[Finding]:
    """Segment lengths and overlaps that the model was not trained with."""
    longest = max(segment.length for segment in plan)
    if longest > _TRAINED_LENGTH:
        yield warning("segment_length", f"The longest segment has {longest} frames, but the model was trained with "
                                        f"at most {_TRAINED_LENGTH}: set segment_length to {_TRAINED_LENGTH}.")
    if len(plan) > 1 and job.overlap != _TRAINED_OVERLAP:
        yield fact("overlap", f"The overlap is {job.overlap}; the model was trained with {_TRAINED_OVERLAP}.")
    if job.later_colours and job.latent_history and len(plan) > 1:
        yield warning("colour_match", "colour_match changes the frames, but with history set to latents the next "
                                      "segment starts from the unchanged latents: set history to frames.")


def size(job: Job) -> Iterator[Finding]:
    """A result that is too large for the model, or a driving video that is too small for the result."""
    height, width = job.driving.size
    enlarged = max(job.width / width, job.height / height)
    if enlarged > _ENLARGED:
        yield warning("driving_size", f"The driving video has {width}x{height} pixels and is enlarged {enlarged:.1f} "
                                      f"times to cover {job.width}x{job.height}: use a larger one, or a smaller "
                                      "result.")
    if job.width * job.height > _LARGEST_AREA:
        yield warning("result_size", f"The result is {job.width}x{job.height}, but the model is made for 512x896 to "
                                     "704x1280: use such a size, and enlarge the video afterwards.")


def memory(job: Job, plan: list[Segment]) -> Iterator[Finding]:
    """A run that does not fit into the machine; optional needs are not counted."""
    if job.transformer is None:
        return
    work = _work(job, job.transformer, plan)
    machine = job.machine
    need = budget.estimate(work, machine.total_vram)
    if machine.total_vram and need.least > machine.free_vram:
        yield _too_little_vram(work, need, machine)
    if need.ram > machine.free_ram:
        yield error("ram", f"The frames of a segment need {_gib(need.ram)} of main memory, but "
                           f"{_gib(machine.free_ram)} are free: lower segment_length, or make the video smaller.")
    if job.free_disk is not None and need.disk > job.free_disk:
        # only a warning: some segments may exist already, and a full disk loses nothing
        yield warning("disk", f"The job folder will grow to about {_gib(need.disk)}, but {_gib(job.free_disk)} are "
                              "free on its disk: clear old jobs with Manage SCAIL-2 Jobs, or free space.")


def job_facts(job: Job) -> list[Finding]:
    """Facts that need no plan."""
    summary, *people = report(job.identities).splitlines()
    count, (height, width) = len(job.driving), job.driving.size
    prompts = ", ".join(f"{tokens} tokens in the {name}" for name, tokens in job.tokens.items())
    facts = [fact("mode", summary), *(fact("people", line) for line in people),
             fact("driving", f"driving video: {count} frames of {width}x{height}, {count / job.fps:.1f} s at "
                             f"{job.fps:g} fps"),
             fact("sampling", f"sampling: {job.solver}, {job.schedule}, guidance {job.guidance:g}"),
             fact("prompts", f"prompts: {prompts}")]
    if job.transformer is not None:
        facts.append(fact("model", f"model: {_gib(job.transformer.weight_bytes)} of weights, {_lora(job.transformer)}"))
    return facts


def plan_facts(job: Job, plan: list[Segment]) -> Iterator[Finding]:
    """Facts about segments, memory and time."""
    lengths = ", ".join(str(segment.length) for segment in plan)
    scenes = f", {len(job.cuts) + 1} scenes" if job.cuts else ""
    yield fact("segments", f"result: {len(job.driving)} frames of {job.width}x{job.height}, in {len(plan)} segment(s) "
                           f"of {lengths} frames{scenes}")
    if job.transformer is None:
        return
    work, machine = _work(job, job.transformer, plan), job.machine
    need, seconds = budget.estimate(work, machine.total_vram), budget.seconds(work, machine)
    yield fact("ram", f"main memory: about {_gib(need.ram)} for the frames of a segment; {_gib(machine.free_ram)} are "
                      "free")
    free = "" if job.free_disk is None else f"; {_gib(job.free_disk)} are free"
    yield fact("disk", f"job folder: about {_gib(need.disk)}{free}")
    yield fact("vram", _vram(work, need, machine))
    if machine.total_vram:
        yield fact("longest", _longest(work, need, machine))
    if work.weights == STREAMED and (where := capacity.residence(work, machine)) is not None:
        yield fact("weights", _weights(where))
    if seconds is not None:
        yield fact("time", f"time: about {budget.duration(seconds)}, from measurements on an NVIDIA H200 and the speed "
                           "of this GPU")


def _plan(job: Job) -> list[Segment]:
    return plan_scenes(len(job.driving), job.cuts, job.segment_length, job.overlap, job.lengths)


def _work(job: Job, transformer: Transformer, plan: list[Segment]) -> Work:
    height, width = job.driving.size
    return Work(transformer.config, job.width, job.height, tuple(segment.length for segment in plan),
                len(job.reference_masks) - 1, job.steps, job.guidance, transformer.weight_bytes, width, height,
                job.overlap, job.lossless, transformer.in_chunks, transformer.weights, transformer.decoder)


def _too_little_vram(work: Work, need: Need, machine: Machine) -> Finding:
    free, streamed = machine.free_vram, work.weights == STREAMED
    if streamed and need.sampling <= free:
        return warning("vae_vram", f"The VAE needs about {_gib(need.vae)} of GPU memory in one piece, but {_gib(free)} "
                                   "can be free: use a smaller size, or let ComfyUI use tiles, which is slower.")
    advice = capacity.smaller(work, free, machine.total_vram)
    if work.weights == RESIDENT and budget.estimate(replace(work, weights=OFFLOADED)).least <= free:
        advice = "offload_model, which keeps the weights in main memory while the VAE works"
    elsewhere = "use a much smaller size, or another GPU" if streamed else (
        "run it with the ComfyUI nodes, which load the weights piece by piece")
    remedy = f"use {advice}" if advice else elsewhere
    needed = need.sampling if streamed else need.least
    return error("vram", f"{work.width}x{work.height} in segments of {max(work.lengths)} frames needs at least about "
                         f"{_gib(needed)} of GPU memory, but {_gib(free)} can be free: {remedy}.")


def _longest(work: Work, need: Need, machine: Machine) -> str:
    frames = capacity.longest_segment(work, machine.free_vram, machine.total_vram,
                                      tiles=work.weights == STREAMED and need.vae > machine.free_vram)
    if frames is None:
        return f"longest segment: no frame of {work.width}x{work.height} fits on this GPU"
    more = " or more" if frames == capacity.MOST_FRAMES else ""
    return f"longest segment: {frames} frames{more} of {work.width}x{work.height} fit on this GPU"


def _weights(where: Residence) -> str:
    streamed = sum(where.streamed)
    if not streamed:
        return "weights: all can stay on the GPU"
    return (f"weights: about {_gib(where.resident)} can stay on the GPU and {_gib(streamed)} are streamed in every "
            f"forward, which costs no time if main memory delivers {where.needed_rate() / 1e9:.1f} GB/s")


def _vram(work: Work, need: Need, machine: Machine) -> str:
    if not machine.total_vram:
        return "GPU memory and time are not estimated, because the model does not run on a CUDA or ROCm GPU"
    if work.weights != STREAMED:
        return (f"GPU memory: about {_gib(need.least)} at the peak; {_gib(machine.free_vram)} of "
                f"{_gib(machine.total_vram)} can be free")
    both = need.activations_together - need.activations
    more = f" ({_gib(both)} more with both prompts in one batch)" if both else ""
    return (f"GPU memory: about {_gib(need.whole)} if all weights stay there{more}, {_gib(need.least)} if they are "
            f"streamed; {_gib(machine.free_vram)} of {_gib(machine.total_vram)} can be free")


def _lora(transformer: Transformer) -> str:
    if transformer.patched:
        return f"{transformer.patched} tensors patched (LoRA)"
    return "a LoRA that leaves them unchanged" if transformer.lora else "no LoRA"


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
