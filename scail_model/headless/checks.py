"""The command line's inputs -> the check that the nodes make too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from ..gpus.choice import all_gpus, choose_here, no_need
from ..inputs.reference import Pictures, Reference
from ..kernels.precision import int8_storage
from ..preflight import checks
from ..preflight.budget import OFFLOADED, RESIDENT, stored_bytes
from ..preflight.findings import Finding, attempt, error, fact, warning
from ..preflight.job import Full, Job, Transformer, work_of
from ..preflight.memory_checks import check_folder, needed_on_each
from ..segments import Segment
from ..video import at_once
from ..video.colour_match import OFF
from ..video.denoising import driven_steps
from ..video.options import VideoOptions
from ..video.segment_files import check_sound
from ..video.segment_inputs import check_changes
from ..video.task import LATENTS, Settings
from .device import DECODER, free_memory, machine
from .host import HeadlessHost, Prompt
from .inputs import Inputs


def check_inputs(inputs: Inputs, reference: Pictures | Reference, options: VideoOptions, settings: Settings,
                 host: HeadlessHost, prompts: tuple[Prompt, Prompt], folder: Path, *, gpus: int | None,
                 full: Full | None, timed: bool) -> list[Finding]:
    """Everything there is to say of a video. reference: the usual one, at the size of the result. folder: where
    the job folder will be. gpus: how many the host shall use, None for all; it gets as many as work together and have
    room. full: as in `Job`. timed: measure the GPUs' speed."""
    disk = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    job = Job(
        inputs.identities, inputs.driving, float(options.result_rate(inputs.driving)), reference.width,
        reference.height, reference.masks[0],
        {name: prompt.tokens.shape[1] for name, prompt in zip(("positive", "negative"), prompts, strict=True)
         if prompt.tokens is not None},
        settings.solver, settings.steps, settings.schedule, settings.guidance, options.segment_length, options.overlap,
        settings.black_background, _transformer(host),
        machine(host.devices, host.models, timed=False), options.lengths,
        settings.cuts, options.colour_match != OFF, options.history == LATENTS, options.encoding.lossless,
        shutil.disk_usage(disk).free,
        None if settings.always_driven else driven_steps(settings, settings.driving_levels),
        full, settings.sparse, options.plate_choice(inputs.plate_masks, inputs.crop), settings.negative_strength)
    segments = _segments(inputs, options, settings.cuts)
    found = checks.check(_on_gpus(job, segments, host, gpus, timed=timed))
    read = [*(warning("reference_file", text) for text in inputs.warnings),
            *(fact("crop", text) for text in inputs.crop_report),
            *(warning("crop", text) for text in inputs.crop_doubts),
            *checks.not_sparse(host.precision, host.attention),
            *checks.without_effect(options.sparse, settings.sparse)]
    return [*read, *attempt("disk", check_folder, folder), *_plan_errors(inputs, options, segments, host),
            *_sound_errors(inputs, options), *found, *at_once.findings(segments, len(host.lanes))]


def _segments(inputs: Inputs, options: VideoOptions, cuts: tuple[int, ...]) -> list[Segment]:
    try:
        return options.segments(inputs.driving, cuts)
    except ValueError:
        return []  # the check of the segments says it


def _on_gpus(job: Job, segments: list[Segment], host: HeadlessHost, wanted: int | None, *, timed: bool) -> Job:
    """The same on several GPUs, which the host uses from now on."""
    assert job.transformer is not None
    needed = no_need
    if segments:
        needed = needed_on_each(work_of(job, job.transformer, segments), job.machine.total_vram)
    choice = choose_here(wanted, job.transformer.config.num_heads, all_gpus(host.device), needed,
                         lambda gpu: free_memory(gpu, host.models))
    room = machine(choice.devices, host.models, timed=timed)
    host.use(choice, alone=not room.total_vram or needed(1) <= room.free_vram)
    return replace(job, transformer=_transformer(host), machine=room)


def _plan_errors(inputs: Inputs, options: VideoOptions, segments: list[Segment], host: HeadlessHost
                 ) -> list[Finding]:
    if not segments:
        return []
    try:
        check_changes(options.changes(inputs.driving, segments), 1 + len(inputs.plan_references), host)
    except ValueError as refusal:
        return [error("plan", str(refusal))]
    return []


def _sound_errors(inputs: Inputs, options: VideoOptions) -> list[Finding]:
    try:
        check_sound(inputs.driving, options.result_rate(inputs.driving))
    except RuntimeError as refusal:
        return [error("driving_file", str(refusal))]
    return []


def _transformer(host: HeadlessHost) -> Transformer:
    weights = host.weights
    patched = sum(len(lora.report.applied) for lora in weights.loras)
    return Transformer(weights.config, stored_bytes(weights.config, host.dtype, host.precision), patched,
                       bool(weights.loras), in_chunks=False, weights=OFFLOADED if host.offload else RESIDENT,
                       decoder=DECODER, int8=int8_storage(host.precision), gpus=host.choice.devices,
                       fewer=host.choice.fewer)
