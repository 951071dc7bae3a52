"""`scail2 generate` and `scail2 check`: check everything, say what will be done, make the video.

The order is the point: files, sizes, colours, the output and the checkpoint's header are looked at before the first
large thing is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..files import jobs
from ..files.content_keys import digest
from ..inputs.reference import STILL_VIDEO, Pictures
from ..plate.facts import lines as plate_lines
from ..preflight import findings
from ..preflight.budget import kept_bytes
from ..sparse.report import lines as sparse_lines
from ..video.comparison import compare, draft_seed
from ..video.engine import make_video
from ..video.options import VideoOptions
from ..video.record import write_record
from ..video.segment_inputs import Given
from ..video.start import make_task, open_job
from ..video.task import VideoTask
from .arguments import check_arguments, opened_loras, transformer_file
from .checks import check_inputs
from .cropping import cropped, crops
from .device import usual_device
from .encoders import find_encoders
from .host import HeadlessHost
from .inputs import Files, Inputs, read_inputs
from .kept_models import KeptModels
from .options import flag_of
from .output import check_name, check_space, compare_name, default_name, draft_name, reserved
from .plate_preview import check_preview, write_preview
from .terminal import Terminal
from .weights import open_weights

_SEED_BITS = 63  # the official range, 0..sys.maxsize


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before something large is loaded."""

    options: VideoOptions
    inputs: Inputs
    cuts: tuple[int, ...]
    host: HeadlessHost
    given: Given
    findings: Sequence[findings.Finding]


def run(arguments: argparse.Namespace, terminal: Terminal | None = None, models: KeptModels | None = None) -> Path:
    """Make the video that the command line asks for, and return its file. terminal: told what goes on. models: of the
    run before, and for the next. ValueError or RuntimeError, in one sentence, for bad input."""
    _name_draft(arguments)
    written = _written_by(_jobs_folder(arguments), arguments.save_file)
    with _output(arguments, written), terminal or Terminal() as terminal, contextlib.ExitStack() as held:
        prepared = _prepare(arguments, terminal, timed=False, models=models)
        findings.refuse(prepared.findings, "scail2 check")
        target = Path(arguments.save_file or _default_name(arguments, prepared.inputs))
        if not arguments.save_file:
            held.enter_context(reserved(target, replace=False))
        with torch.inference_mode():
            _make(arguments, prepared, target, terminal, written)
    sys.stdout.write(f"wrote {target}\n")
    return target


def check(arguments: argparse.Namespace) -> bool:
    """Print everything there is to say of the inputs; returns whether there are no errors. RuntimeError for an output
    that cannot be written."""
    _name_draft(arguments)
    picture = Path(arguments.preview) if arguments.preview else None
    if picture:
        check_preview(picture, arguments.image, *arguments.additional_ref_image, *arguments.plan_image,
                      arguments.mask_image, *arguments.additional_ref_mask_image, *arguments.plan_mask_image)
        if not arguments.replace_flag:
            raise ValueError("--preview shows what is kept of the driving video, but the mode is animation, which "
                             "keeps nothing of it: add --replace_flag, or leave --preview out.")
    with _output(arguments, _written_by(_jobs_folder(arguments), arguments.save_file)), Terminal() as terminal:
        prepared = _prepare(arguments, terminal, timed=True)
        found = list(prepared.findings)
        if picture and not findings.of_level(found, findings.ERROR):
            terminal.say("drawing the preview")
            reference = prepared.given.references[0]
            sized = prepared.options.sized(reference)
            write_preview(picture, prepared.inputs.driving, prepared.inputs.identities, (sized.height, sized.width),
                          prepared.options.plate_choice(prepared.inputs.plate_masks, prepared.inputs.crop),
                          (reference.height, reference.width))
        elif picture:
            found.append(findings.warning("preview", f"{picture} (--preview) is not drawn, because there are errors: "
                                                     "mend them first."))
    sys.stdout.write(f"{findings.as_json(found) if arguments.json else findings.report(found)}\n")
    return not findings.of_level(found, findings.ERROR)


def _name_draft(arguments: argparse.Namespace) -> None:
    """Give a draft a name of its own, so that one command line makes the draft and, without --draft, the video."""
    if arguments.draft and arguments.save_file:
        arguments.save_file = str(draft_name(Path(arguments.save_file)))


def _default_name(arguments: argparse.Namespace, inputs: Inputs) -> Path:
    name = Path(default_name(inputs.width, inputs.height, arguments.prompt))
    return draft_name(name) if arguments.draft else name


def _output(arguments: argparse.Namespace, written: str) -> contextlib.AbstractContextManager[None]:
    """Hold the output if it has a name already. written: the job that wrote it and was killed before it said so."""
    if not arguments.save_file:
        return contextlib.nullcontext()
    replace = arguments.overwrite or bool(written)
    check_name(Path(arguments.save_file), replace=replace)
    return reserved(Path(arguments.save_file), replace=replace)


def _prepare(arguments: argparse.Namespace, terminal: Terminal, *, timed: bool, models: KeptModels | None = None
             ) -> Prepared:
    """Open and check all inputs, the cheap ones first."""
    options, sigmas = check_arguments(arguments)
    options.check()
    weights = open_weights(transformer_file(arguments))
    device, dtype = usual_device()
    host = HeadlessHost(find_encoders(Path(arguments.ckpt_dir)), weights, device, dtype,
                        offload=arguments.offload_model, stage=terminal.say, precision=arguments.precision,
                        attention=arguments.attention, models=models)
    prompts = host.encode_text(arguments.prompt, ""), host.encode_text(arguments.negative_prompt, "negative")
    weights.loras = opened_loras(arguments, weights)
    terminal.say("reading pictures, videos and masks")
    inputs = read_inputs(_files(arguments), arguments.target_w, arguments.target_h, arguments.replace_flag, options,
                         turned=not crops(arguments))
    cuts = options.cuts(inputs.driving)
    inputs = cropped(arguments, inputs, cuts)
    references = [Pictures(inputs.width, inputs.height, pictures, identities,
                           cut_out=arguments.replace_flag and not arguments.keep_reference_background,
                           as_video=arguments.additional_pictures == STILL_VIDEO)
                  for pictures, identities in ((inputs.references, inputs.identities),
                                               *(([picture], bound) for picture, bound in inputs.plan_references))]
    found = check_inputs(inputs, options.sized(references[0]), options,
                         options.settings(0, cuts, sigmas, sparse=host.sparse), host, prompts, _jobs_folder(arguments),
                         gpus=arguments.gpus, full=options.full(references[0], sigmas), timed=timed)
    return Prepared(options, inputs, cuts, host, Given(*prompts, references, sigmas, inputs.plate_masks,
                                                          inputs.crop), found)


def _make(arguments: argparse.Namespace, prepared: Prepared, target: Path, terminal: Terminal, written: str) -> None:
    """written: name of the job that `target` is the output of, if it is there already."""
    options, folder = prepared.options, _jobs_folder(arguments)
    seed, unfinished = arguments.base_seed, None
    if seed < 0:
        task, name = _task(prepared, 0)
        unfinished = digest(name, [inputs.key for inputs in task.inputs])
        seed = _left_seed(folder, unfinished, task)
    task, name = _task(prepared, seed)
    check_name(target, replace=arguments.overwrite or written == name)
    _check_room(task, folder / name)
    report = _plan_lines(arguments, prepared, task, target)
    sys.stdout.write("".join(f"{line}\n" for line in report))
    sys.stdout.flush()
    there = folder.exists()
    job = open_job(task, folder / name, unseeded=unfinished, output=str(target.absolute()))
    try:
        with job.locked():
            terminal.begin(task, job.folder)
            made = make_video(task, prepared.host, job, terminal, target)
            compared = compare(task, made, job, terminal, compare_name(target))
            found = [*(sparse_lines(made.errors) if prepared.host.sparse else ()), *plate_lines(made.plate)]
            write_record(made, task, job.folder, [*report, *found], prepared.findings, compared)
        jobs.make_room(folder, round(options.jobs_limit * jobs.GIB), {job.folder})
    finally:
        if not there:
            with contextlib.suppress(OSError):  # not empty: something is finished
                folder.rmdir()
    sys.stdout.write("".join(f"{line}\n" for line in (*found, *(compared.lines if compared else ()))))
    if made.kept:
        sys.stdout.write(f"{made.kept} of {len(task.plan)} segments were already finished\n")


def _written_by(folder: Path, save_file: str | None) -> str:
    """The job whose run was killed after it had written this output and before it said so; "" if there is none."""
    output = str(Path(save_file).absolute()) if save_file and os.path.isfile(save_file) else None
    return next((job.folder.name for job in jobs.found_jobs(folder)
                 if output is not None and job.about.get("output") == output and not job.finished), "")


def _task(prepared: Prepared, seed: int) -> tuple[VideoTask, str]:
    return make_task(prepared.options, seed, prepared.cuts, prepared.given, prepared.inputs.driving,
                     prepared.inputs.identities, prepared.host)


def _left_seed(folder: Path, key: str, task: VideoTask) -> int:
    """The seed that the unfinished run of a video has drawn, or a new one; for the first one after a draft, the
    draft's. key: of everything but the seed; task: with any."""
    runs = [job for job in jobs.found_jobs(folder) if job.about.get("unseeded") == key]
    left = [job.about["seed"] for job in runs if not job.finished]
    if not runs and not task.draft_of:
        left = [seed for seed in (draft_seed(folder, task.made_from),) if seed is not None]
    return left[-1] if left else secrets.randbits(_SEED_BITS)


def _check_room(task: VideoTask, folder: Path) -> None:
    height, width = task.size
    needed = sum(kept_bytes(width, height, segment.length, task.settings.overlap) for segment in task.plan)
    check_space(folder, needed, sum(path.stat().st_size for path in folder.glob("*.safetensors")))


def _jobs_folder(arguments: argparse.Namespace) -> Path:
    beside = Path(arguments.save_file or ".").parent
    return Path(arguments.job_dir) if arguments.job_dir else beside / jobs.FOLDER


def _files(arguments: argparse.Namespace) -> Files:
    images = [arguments.image, *arguments.additional_ref_image]
    masks = [] if arguments.whole_picture else [arguments.mask_image, *arguments.additional_ref_mask_image]
    return Files(list(map(Path, images)), list(map(Path, masks)), Path(arguments.pose),
                 None if arguments.whole_picture else Path(arguments.mask_video or arguments.pose),
                 list(map(Path, arguments.plan_image)), list(map(Path, arguments.plan_mask_image)),
                 Path(arguments.plate_mask) if arguments.plate_mask else None)


def _plan_lines(arguments: argparse.Namespace, prepared: Prepared, task: VideoTask, target: Path) -> list[str]:
    """What will be done, and what is doubtful about it."""
    inputs, settings, count = prepared.inputs, task.settings, len(task.plan)
    lines = [f"{inputs.identities.mode}, {task.sizes}, {len(task.driving)} frames at "
             f"{float(task.rate):g} per second, {count} segment{'s' * (count > 1)}"]
    if inputs.swapped:
        lines.append(f"width and height are swapped ({arguments.target_w}x{arguments.target_h} was asked for), because "
                     "the reference has the other orientation")
    lines += map(str, prepared.host.weights.loras)
    lines += [finding.text for finding in findings.reported(prepared.findings)]
    for finding in findings.of_level(prepared.findings, findings.WARNING):
        where = flag_of(finding.input)
        lines.append(f"warning: {finding.text}{f' ({where})' if where else ''}")
    lines.append(f"{settings.solver}, {settings.schedule}, "
                 f"guidance {settings.guidance:g}, seed {settings.seed}"
                 f"{f', negative_strength {settings.negative_strength:g}' if settings.negative_strength else ''}")
    host = prepared.host  # its description goes into the file, which does not depend on the GPUs
    where = host.place and f", on {host.place} ({', '.join(map(str, host.devices))})"
    return [*lines, f"computed with {host.description}{where}", f"into {target}"]
