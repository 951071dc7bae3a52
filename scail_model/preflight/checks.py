"""Checks of a job, made before anything is encoded or sampled.

Errors would stop the run or make it worthless. Warnings are about uses that the model was not made for, compared with
the official settings: 40 steps and guidance 5, or a distilled LoRA with 8 steps and guidance 1; segments of 81 frames
with an overlap of 5; 512x896 to 704x1280 pixels. Memory and time are estimates of `budget`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..geometry import check_frame_count, check_shape
from ..identity.identities import MODES, report
from ..inputs.conditioning import reference_mask
from ..inputs.reference import white_background
from ..kernels.precision import EIGHT_BIT, FAST
from ..plate.choice import OFF
from ..segments import Segment, plan_scenes
from ..sparse.settings import SparseSettings
from . import driving_kinds, gpu_checks, mask_checks, memory_checks, plate_checks, track_checks
from .budget import token_count
from .findings import Finding, attempt, error, fact, warning
from .job import Job, Transformer, work_of
from .memory_checks import gib

if TYPE_CHECKING:
    from ..kernels.attention_choice import Backend

_TRAINED_LENGTH, _TRAINED_OVERLAP = 81, 5  # frames
_TRAINED_RATE = 16  # frames a second
_FASTER, _FAST = 20.0, 31.0  # 24 to 30 are usual, and a fact only
_REPEATED = 1.01
_LARGEST_AREA = 1.25 * 704 * 1280
_ENLARGED = 2.0  # up to here no detail is lost: the model sees the driving video at half the size of the result
_DISTILLED_STEPS, _PLAIN_STEPS = 10, 20
_EMPTY = 1  # tokens of an empty text: where it ends
_MASK_TOLERANCE = 1e-3  # of a cell's share, for rounding


def check(job: Job) -> list[Finding]:
    """All findings about a job. Checks that need a valid plan, or masks that fit the driving video, are skipped without
    them. Raises nothing."""
    mask_errors, plan_errors = driving_errors(job), attempt("segments", _plan, job)
    plan, plate_errors = [] if plan_errors else _plan(job), attempt("plate", plate_checks.made, job)
    findings = [*mask_errors, *plan_errors, *plate_errors,
                *(warning("driving_file", text) for text in job.driving.warnings),
                *references(job), *guidance(job), *steering(job), *size(job)]
    if plan:
        findings += [*segments(job, plan), *rate(job), *driven(job)]
        if job.transformer is not None:
            work = work_of(job, job.transformer, plan)
            findings += gpu_checks.check(job.transformer)
            later = work_of(job.at_full, job.transformer, plan) if job.full else None
            if len(job.cuts) + 1 < work.together.gpus:  # otherwise scenes may be made at the same time
                findings += gpu_checks.more_than_help(work, job.machine, later)
            findings += memory_checks.check(job.machine, work, job.free_disk)
            if later is not None:
                findings += memory_checks.later(job.machine, later, job.free_disk)
    if job.identities.whole_picture:
        findings.append(warning("whole_picture", "There are no masks (whole_picture), but the model was trained with "
                                                 "masks and may not follow the person without: connect masks, for "
                                                 "example from SAM3, if the result is not right."))
    elif not mask_errors:
        people = mask_checks.check(job.identities, plan, job.height, job.width, plate=job.plate.kind != OFF)
        findings += driving_kinds.comparable(people, job.driving, job.identities, whole=job.plate.whole)
        findings += track_checks.check(job.identities, job.driving, plan, job.cuts, job.fps)
        findings += driving_kinds.pose_masks(job.driving, job.identities)
        findings += [] if plate_errors else plate_checks.check(job)
        if not job.identities.replacement and not job.black_background:
            findings += mask_checks.background(job.identities, job.driving)
    findings += job_facts(job)
    return [*findings, *plan_facts(job, plan)] if plan else findings


def driving_errors(job: Job) -> list[Finding]:
    """Masks that do not fit the driving video."""
    masks = job.identities.driving
    return [*attempt("driving_mask_frames", lambda: check_frame_count(
                len(job.driving), len(masks), stored=job.driving.stored, trim=True, rate=job.driving.rate)),
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
    if {white_background(masks[-1]) for masks in (encoded, expected)} == {True, False}:
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
    lora, plain, steps = job.transformer.lora, job.guidance == 1, job.at_full.steps
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


def steering(job: Job) -> Iterator[Finding]:
    """What negative_strength does with this guidance and this negative prompt."""
    strength, tokens = job.negative_strength, job.tokens.get("negative", _EMPTY + 1)  # unknown of a saved prompt
    if strength and tokens <= _EMPTY:
        yield warning("negative_strength", f"negative_strength is {strength:g}, but the negative prompt is empty, so "
                                           "attention is steered away from nothing in particular: write what must not "
                                           'be seen, such as "talking, speaking, mouth moving", or set '
                                           "negative_strength to 0.")
    elif strength and job.guidance > 1:
        yield fact("negative_strength", f"negative_strength {strength:g} acts within the positive prompt's half of "
                                        f"each step, beside guidance {job.guidance:g}; its authors take 9 there.")
    elif not strength and job.guidance == 1 and tokens > _EMPTY and "negative" in job.tokens:
        yield fact("negative_strength", "The negative prompt has no effect at guidance 1; negative_strength gives it "
                                        "one, for a few percent of the time.")


def not_sparse(precision: str, attention: Backend) -> list[Finding]:
    """Precision fast where attention leaves nothing out."""
    if precision != FAST or attention.sparse:
        return []
    return [warning("attention", f"precision is {FAST}, but attention is {attention.name} ({attention.reason}), which "
                                 f"computes all of it, so it is as slow as {EIGHT_BIT}: set attention to automatic.")]


def without_effect(given: SparseSettings, used: SparseSettings | None) -> list[Finding]:
    """Settings of sparse attention where attention is not sparse. used: what the video is sampled with."""
    usual = SparseSettings()
    values = {"sparse_density": (given.density, usual.density), "sparse_error": (given.error_limit, usual.error_limit)}
    return [warning(name, f"{name} is {value:g}, but the model's attention is not sparse, so it has no effect: set "
                          f"precision to {FAST} or attention to sparse, or {name} to {default:g}.")
            for name, (value, default) in values.items() if used is None and value != default]


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


def rate(job: Job) -> list[Finding]:
    """Frames that follow each other much faster than those that the model was trained with, or are repeated."""
    stored = float(job.driving.stored_rate or job.driving.stored * job.fps / len(job.driving))
    # held frames of a variable rate are no reason: nobody asked for more
    if len(job.driving) > _REPEATED * job.driving.stored and job.fps > _REPEATED * stored:
        return [warning("rate", f"rate asks for {job.fps:g} frames a second, but the driving video has {stored:.3g}, "
                                "so frames are repeated and the motion will be jerky: lower rate, or set it to 0.")]
    if job.fps <= _FASTER:
        return []
    length = job.segment_length
    text = (f"The driving video is read at {job.fps:g} frames a second, but the model was trained with "
            f"{_TRAINED_RATE}, so a segment of {length} frames shows only {length / job.fps:.2f} s of it: set rate to "
            f"{_TRAINED_RATE} for {length / _TRAINED_RATE:.2f} s, which makes a result of {_TRAINED_RATE} frames a "
            "second.")
    return [warning("rate", text) if job.fps > _FAST else fact("rate", text)]


def driven(job: Job) -> Iterator[Finding]:
    """In how many steps the driving video is followed, if not in all."""
    if job.driven_steps == 0:
        yield warning("driven", f"No step of the {job.steps} is between driving_start and driving_end, so the driving "
                                "video is not followed at all: widen the range.")
    elif job.driven_steps is not None:
        yield fact("driven", f"the driving video is followed in {job.driven_steps} of {job.steps} steps, by "
                             "driving_start and driving_end")


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


def job_facts(job: Job) -> list[Finding]:
    """Facts that need no plan."""
    summary, *people = report(job.identities).splitlines()
    count, (height, width) = len(job.driving), job.driving.size
    prompts = ", ".join(f"{tokens} tokens in the {name}" for name, tokens in job.tokens.items())
    facts = [fact("mode", summary), *(fact("people", line) for line in people),
             *driving_kinds.animals(job.identities),
             *driving_kinds.poses(job.driving, job.identities, job.width, job.height),
             fact("driving", f"driving video: {count} frames of {width}x{height}, {count / job.fps:.1f} s at "
                             f"{job.fps:g} fps"), *_assumed(job),
             *_picked(job), *_draft(job),
             fact("sampling", f"sampling: {job.solver}, {job.schedule}, guidance {job.guidance:g}"
                             f"{_steered(job)}"),
             fact("prompts", f"prompts: {prompts}")]
    if job.transformer is not None:
        facts.append(fact("model", f"model: {gib(job.transformer.weight_bytes)} of weights, {_lora(job.transformer)}"))
    return facts


def _steered(job: Job) -> str:
    return f", negative_strength {job.negative_strength:g}" if job.negative_strength else ""


def _assumed(job: Job) -> Iterator[Finding]:
    # frames often come from a video that had another rate: the result would play too slowly or too fast
    if not job.driving.rate:
        yield fact("assumed", f"frame rate: {job.fps:g} per second, as fps says, because the driving frames have none "
                              "of their own")


def _picked(job: Job) -> Iterator[Finding]:
    clip = job.driving
    if clip.indices != range(clip.stored):
        yield fact("picked", f"{len(clip)} frames are read of the {clip.stored} in the driving video, {job.fps:g} a "
                             "second")


def _draft(job: Job) -> Iterator[Finding]:
    if full := job.full:
        yield fact("draft", f"draft: {job.width}x{job.height} in {job.steps} steps, for a video of "
                            f"{full.width}x{full.height} in {full.steps}")


def plan_facts(job: Job, plan: list[Segment]) -> Iterator[Finding]:
    """Facts about segments, memory and time."""
    lengths = ", ".join(str(segment.length) for segment in plan)
    lasting = f" ({max(segment.length for segment in plan) / job.fps:.2f} s at the most)"
    scenes = f", {len(job.cuts) + 1} scenes" if job.cuts else ""
    made = f"{job.width}x{job.height}"
    shown = made if job.plate.kind == OFF else f"{job.filmed.width}x{job.filmed.height} with people made at {made}"
    yield fact("segments", f"result: {len(job.driving)} frames of {shown}, in {len(plan)} segment(s) of {lengths} "
                           f"frames{lasting}{scenes}")
    if job.sparse is not None:
        yield fact("sparse", _left_out(job, job.sparse, max(segment.length for segment in plan)))
    if job.transformer is None:
        return
    work = work_of(job, job.transformer, plan)
    yield from memory_checks.facts(job.machine, work, job.free_disk)
    yield from gpu_checks.facts(job.transformer, work, job.machine)
    if job.full:
        yield from memory_checks.later_facts(job.machine, work_of(job.at_full, job.transformer, plan))


def _left_out(job: Job, sparse: SparseSettings, length: int) -> str:
    from ..kernels.sparse_attention import FEWEST_KEYS  # takes longer to import than a batch of checks takes

    tokens = token_count(job.width, job.height, length, len(job.reference_masks) - 1)
    density = sparse.first(tokens)
    if sparse.density == 1:
        return "attention: all of it is computed (sparse_density)"
    if density == 1 or tokens < FEWEST_KEYS:
        return f"attention: all of it is computed, because {tokens} tokens are so few (sparse_density)"
    more = f", and more in layers whose error is above {sparse.error_limit:.1%} (sparse_error)"
    return f"attention: {density:.0%} of it is computed at first (sparse_density){more if sparse.error_limit else ''}"


def _plan(job: Job) -> list[Segment]:
    return plan_scenes(len(job.driving), job.cuts, job.segment_length, job.overlap, job.lengths)


def _lora(transformer: Transformer) -> str:
    if transformer.patched:
        return f"{transformer.patched} tensors patched (LoRA)"
    return "a LoRA that leaves them unchanged" if transformer.lora else "no LoRA"
