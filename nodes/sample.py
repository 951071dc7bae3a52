"""Sample SCAIL-2 Video: everything in one node, for driving videos of any length."""

from __future__ import annotations

import time

from comfy_api.latest import InputImpl, io

from ..scail_model.comfy import preflight
from ..scail_model.comfy.emitted_videos import emitted
from ..scail_model.comfy.gpus import are_hooked
from ..scail_model.comfy.host import ComfyHost
from ..scail_model.comfy.mask_inputs import plate_masks_input, read_plate_masks
from ..scail_model.comfy.plan_facts import measured_coder_pace, measured_pace, plan_facts
from ..scail_model.comfy.progress import VideoProgress, Working, shown, told, waiting
from ..scail_model.comfy.sampler import sigmas_of, with_sampler
from ..scail_model.comfy.schema import CATEGORY, as_clip, jobs_folder, segment_inputs, setting_inputs
from ..scail_model.files import jobs
from ..scail_model.plate.facts import lines as plate_lines
from ..scail_model.preflight.findings import WARNING, of_level, refuse, reported
from ..scail_model.sparse.report import lines as sparse_lines
from ..scail_model.video.comparison import compare
from ..scail_model.video.engine import make_video
from ..scail_model.video.options import VideoOptions, check_seed
from ..scail_model.video.record import write_record
from ..scail_model.video.segment_inputs import Given, ordered_references
from ..scail_model.video.start import make_task, open_job
from ..scail_model.video.task import segments_json


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
                plate_masks_input(),
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
                more_references=None, sampler=None, sigmas=None, plate_masks=None, **options) -> io.NodeOutput:
        started, options, levels = time.monotonic(), with_sampler(VideoOptions(**options), sampler), sigmas_of(sigmas)
        check_seed(seed)
        options.check_values()
        host = ComfyHost(model, vae, clip, sampler, hooked=are_hooked(positive, negative))
        options.check()
        with Working(cls.hidden, "checking the inputs"):
            frames, identities = options.timed(as_clip(driving, told_on=cls.hidden.unique_id), identities)
            references, cuts = ordered_references(reference, more_references), options.cuts(frames)
            sized, people = options.sized(reference), read_plate_masks(plate_masks)
            findings = preflight.check(
                host.model, positive, negative, vae, sized, frames, identities,
                options.settings(seed, cuts, levels, sparse=host.sparse), float(options.result_rate(frames)),
                sampler=sampler, history_strength=options.history_strength, lossless=options.encoding.lossless,
                folder=jobs_folder(), timed=False, full=options.full(reference, levels),
                sparse=options.sparse, plate=options.plate_choice(people))
            refuse(findings)
            given = Given(positive, negative, references, levels, people)
            task, name = make_task(options, seed, cuts, given, frames, identities, host)
        job = open_job(task, jobs_folder() / name)
        with job.locked(waiting(cls.hidden)):
            with VideoProgress(task, host.model, cls.hidden) as progress:
                made = make_video(task, host, job, progress)
                compared = compare(task, made, job, progress)
            emitted.add(made.path)
            removed = jobs.make_room(jobs_folder(), round(options.jobs_limit * jobs.GIB),
                                     emitted.folders_of_this_run(), progress.tick)
            kept = f", {made.kept} of them already finished" if made.kept else ""
            lines = [*(f"warning: {finding.text}" for finding in of_level(findings, WARNING)),
                     *(finding.text for finding in reported(findings)),
                     *(compared.lines if compared else ()),
                     f"job folder: {job.folder}",
                     f"computed with {', '.join(filter(None, (host.description, host.gpus)))}",
                     *(sparse_lines(made.errors) if host.sparse else ()), *plate_lines(made.plate),
                     *(f"removed for jobs_limit: {other.line()}" for other in removed),
                     f"{len(frames)} frames of {task.sizes} in {len(task.plan)} segment(s){kept}, "
                     f"{time.monotonic() - started:.1f} s"]
            write_record(made, task, job.folder, lines, findings, compared)
        times = progress.times
        pace = measured_pace(host, sized, options.guidance, times.sampled, times.sampled_seconds,
                             alone=times.lanes > 1)
        coder_pace = measured_coder_pace(sized, times.decoded, times.decoded_seconds)
        return io.NodeOutput(InputImpl.VideoFromFile(str(made.path)), "\n".join(lines), segments_json(task),
                             ui=told(made.path, lines) | shown(task, compared) | plan_facts(
                                 frames, reference, options.rate, found_cuts=options.found(cuts), host=host,
                                 pace=pace, coder_pace=coder_pace))

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return emitted.lost()
