"""Sample SCAIL-2 Video: everything in one node, for driving videos of any length."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace

from comfy_api.latest import InputImpl, io

from ..scail_model.comfy import keys, preflight, video
from ..scail_model.comfy.choices import check_changes, choices, references
from ..scail_model.comfy.emitted_videos import emitted
from ..scail_model.comfy.model import describe
from ..scail_model.comfy.plan_facts import measured_coder_pace, measured_pace, plan_facts
from ..scail_model.comfy.progress import VideoProgress
from ..scail_model.comfy.schema import CATEGORY, as_clip, segment_inputs
from ..scail_model.comfy.video_options import VideoOptions, jobs_folder, setting_inputs
from ..scail_model.comfy.work import Choice, Work
from ..scail_model.files import jobs
from ..scail_model.files.content_keys import digest
from ..scail_model.preflight import findings

log = logging.getLogger(__name__)
# of the settings, what the plan or a segment's own choice decides
_BY_SEGMENT = {"cuts": (), "guidance": 0.0}
_KEY = 12  # letters in a folder's name


class SCAIL2SampleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2SampleVideo",
            display_name="Sample SCAIL-2 Video",
            category=CATEGORY,
            description="Makes the whole video: plans segments, samples and decodes one after the other, and gives "
                        "back exactly as many frames as the driving video has, at its frame rate and with its sound. "
                        "Finished segments are kept on disk: a run that was broken off goes on where it stopped.",
            search_aliases=["long video", "extend", "scail sampler", "loop", "resume"],
            inputs=[
                io.Model.Input("model", tooltip="The SCAIL-2 transformer, with LoRAs and patches as you like."),
                *segment_inputs(),
                # fixed, because a run that was broken off goes on only with the seed that it had
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF,
                             control_after_generate=io.ControlAfterGenerate.fixed,
                             tooltip="One seed for the whole video; each segment draws on from the one before. A run "
                                     "that was broken off goes on only with the same seed."),
                *setting_inputs(),
            ],
            outputs=[
                io.Video.Output(tooltip="The finished video, a file in the job folder."),
                io.String.Output("report", tooltip="Warnings, the job folder, then size, number of segments and "
                                                   "seconds."),
                io.String.Output("segments", tooltip="The segments as JSON, for Measure Video Drift and for programs."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            has_intermediate_output=True,  # a page that was opened anew hears it again
        )

    @classmethod
    def execute(cls, model, positive, negative, vae, reference, driving, identities, seed: int, clip=None,
                more_references=None, **options) -> io.NodeOutput:
        started, options = time.monotonic(), VideoOptions(**options)
        options.check()
        frames, given = as_clip(driving, told_on=cls.hidden.unique_id), references(reference, more_references)
        cuts = options.cuts(frames)
        settings, rate = options.settings(seed, cuts), options.rate(frames)
        found = preflight.check(model, positive, negative, vae, reference, frames, identities, settings,
                                      float(rate), lossless=options.encoding.lossless, folder=jobs_folder(),
                                      timed=False)
        findings.refuse(found)
        plan = options.segments(frames, cuts)
        changes = options.changes(frames, plan)
        check_changes(changes, len(given), clip)
        usual, chosen, alone = choices(options, changes, positive, negative, clip, given)
        work = Work(model, vae, frames, identities, settings, plan, chosen, alone, rate, options.encoding,
                    digest(keys.model_key(model), keys.vae_key(vae), frames.digest(),
                           identities.digest(), asdict(replace(settings, **_BY_SEGMENT))))
        job = _job(work, usual)
        with VideoProgress(work, cls.hidden) as progress:
            made = video.make_video(work, job, progress)
        emitted.add(made.path)
        removed = jobs.make_room(jobs_folder(), round(options.jobs_limit * jobs.GIB),
                                 emitted.folders_of_this_run())
        kept = f", {made.kept} of them found finished" if made.kept else ""
        lines = [*(f"warning: {finding.text}" for finding in findings.of_level(found, findings.WARNING)),
                 f"job folder: {job.folder}", f"computed with {describe(model)}",
                 *(f"removed for jobs_limit: {other.line()}" for other in removed),
                 f"{len(frames)} frames of {reference.width}x{reference.height} in {len(plan)} segment(s){kept}, "
                 f"{time.monotonic() - started:.1f} s"]
        times = progress.times
        pace = measured_pace(model, reference, settings.guidance, times.sampled, times.sampled_seconds)
        coder_pace = measured_coder_pace(reference, times.decoded, times.decoded_seconds)
        return io.NodeOutput(InputImpl.VideoFromFile(str(made.path)), "\n".join(lines), _segments_json(work),
                             ui=plan_facts(frames, reference, found_cuts=options.found(cuts), model=model, pace=pace,
                                           coder_pace=coder_pace))

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return emitted.lost()


def _job(work: Work, usual: Choice) -> jobs.Job:
    """The job's folder, named by everything that decides the result, but for the plan and the encoding."""
    size = f"{usual.reference.width}x{usual.reference.height}"
    key = digest(work.key, usual.key)
    job = jobs.Job(jobs_folder() / f"{len(work.driving)}f_{size}_{key[:_KEY]}", {
        "frames": len(work.driving), "size": size, "fps": str(work.rate), "segments": len(work.plan), "done": 0,
        "mode": work.identities.mode, "seed": work.settings.seed, "finished": None})
    job.tell()
    log.info("SCAIL-2: %d segment(s), job folder %s", len(work.plan), job.folder)
    return job


def _segments_json(work: Work) -> str:
    return json.dumps({
        "frames": len(work.driving), "fps": str(work.rate),
        "segments": [{"start": segment.start, "stop": segment.stop, "overlap": segment.overlap,
                      "cut": segment.start in work.settings.cuts and not segment.overlap}
                     for segment in work.plan]})
