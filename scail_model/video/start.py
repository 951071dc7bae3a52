"""From checked inputs to a task and its job folder: the steps before the engine runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..files.content_keys import digest
from ..files.jobs import Job
from ..identity.identities import Identities
from ..media.clips import Clip
from .comparison import made_from
from .host import Host
from .options import VideoOptions
from .segment_inputs import Given, check_changes, segment_inputs
from .task import SegmentInputs, VideoTask

log = logging.getLogger(__name__)
# of the settings, what the plan or a segment's own inputs decide
_BY_SEGMENT = {"cuts": (), "guidance": 0.0}
_KEY = 12  # letters in a folder's name


def make_task(options: VideoOptions, seed: int, cuts: tuple[int, ...], given: Given, driving: Clip,
              identities: Identities, host: Host) -> tuple[VideoTask, str]:
    """The task, and the name of its job folder. Raises ValueError for a plan, remake or plate that cannot be done."""
    settings = options.settings(seed, cuts, given.sigmas, sparse=host.sparse)
    plan = options.segments(driving, cuts)
    changes = options.changes(driving, plan)
    check_changes(changes, len(given.references), host)
    full = given.references[0]
    sized = replace(given, references=[options.sized(reference) for reference in given.references])
    usual, inputs, solo = segment_inputs(options, changes, sized, host)
    driving_key = driving.digest()
    plate = options.plate_choice(given.plate_masks, given.crop).plate(
        driving, identities, inputs[0].size, halved_colours=not options.encoding.lossless,
        full=(full.height, full.width) if options.draft else None)
    held = [plate.key] if plate is not None and settings.lock else []
    key = digest(host.key, driving_key, identities.digest(), replace(settings, **_BY_SEGMENT).key_values, *held)
    task = VideoTask(driving, identities, settings, plan, inputs, solo, options.result_rate(driving), options.encoding,
                     key, draft_of=(full.height, full.width) if options.draft else None, plate=plate)
    values = made_from(options, task, given, driving=driving_key, model=host.key, prompts=usual.prompt_key)
    return replace(task, made_from=values), _folder_name(task, usual)


def open_job(task: VideoTask, folder: Path, **about: object) -> Job:
    """The job's folder, made if it is not there, with what is told of it to people. Raises RuntimeError if it cannot be
    written."""
    height, width = task.shown_size
    job = Job(folder, {"frames": len(task.driving), "size": f"{width}x{height}", "fps": str(task.rate),
                       "segments": len(task.plan), "done": 0, "mode": task.identities.mode,
                       "seed": task.settings.seed, "finished": None, "draft": task.draft_of is not None,
                       "made_from": task.made_from, **about})
    log.info("SCAIL-2: %d segment(s), job folder %s", len(task.plan), job.folder)
    return job


def _folder_name(task: VideoTask, usual: SegmentInputs) -> str:
    """By everything that decides the result, but for the plan and the encoding."""
    height, width = task.size
    draft = "draft_" if task.draft_of else ""
    return f"{len(task.driving)}f_{width}x{height}_{draft}{digest(task.key, usual.key)[:_KEY]}"
