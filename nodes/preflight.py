"""Check SCAIL-2 Inputs: what is wrong or doubtful about a video, before a second of sampling."""

from pathlib import Path
from tempfile import NamedTemporaryFile

import folder_paths
from comfy_api.latest import io, ui

from ..scail_model.comfy import preflight
from ..scail_model.comfy.gpus import are_hooked
from ..scail_model.comfy.host import ComfyHost
from ..scail_model.comfy.mask_inputs import plate_masks_input, read_plate_masks
from ..scail_model.comfy.plan_facts import plan_facts
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.sampler import sigmas_of, with_sampler
from ..scail_model.comfy.schema import CATEGORY, as_clip, jobs_folder, segment_inputs, setting_inputs
from ..scail_model.identity.mask_set import MaskSet
from ..scail_model.media.clips import Clip
from ..scail_model.preflight import findings
from ..scail_model.preflight.budget import H200_TFLOPS
from ..scail_model.segments import Segment
from ..scail_model.video import at_once
from ..scail_model.video.options import VideoOptions
from ..scail_model.video.segment_inputs import check_changes, ordered_references


class SCAIL2Preflight(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Preflight",
            display_name="Check SCAIL-2 Inputs",
            category=CATEGORY,
            description="Takes what Sample SCAIL-2 Video takes and samples nothing: lists all errors and warnings, and "
                        "estimates memory and time.",
            search_aliases=["preflight", "validate", "estimate", "vram", "debug", "dry run"],
            inputs=[
                io.Model.Input("model", tooltip="The SCAIL-2 transformer, with LoRAs and patches as you like."),
                *segment_inputs(),
                *setting_inputs(),
                plate_masks_input(),
            ],
            outputs=[
                io.String.Output("report", tooltip="Errors, warnings and facts, one line each."),
                io.String.Output("json", tooltip="The same for programs: ok, errors, warnings, facts; each has a code "
                                                 "and a text."),
                io.Boolean.Output("ok", tooltip="Whether there are no errors."),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("checking the inputs")
    def execute(cls, model, positive, negative, vae, reference, driving, identities, clip=None, more_references=None,
                sampler=None, sigmas=None, plate_masks=None, **options) -> io.NodeOutput:
        options = with_sampler(VideoOptions(**options), sampler)
        options.check_values()
        frames, identities = options.timed(as_clip(driving), identities)
        host = ComfyHost(model, vae, clip, sampler, hooked=are_hooked(positive, negative))
        cuts, plan, wrong = _plan_errors(options, frames, reference, more_references, host)
        people, unread = _plate_masks(plate_masks)
        found = wrong + unread + preflight.check(
            host.model, positive, negative, vae, options.sized(reference), frames, identities,
            options.settings(0, cuts, sigmas_of(sigmas), sparse=host.sparse), float(options.result_rate(frames)),
            sampler=sampler, history_strength=options.history_strength, lossless=options.encoding.lossless,
            folder=jobs_folder(), timed=True, full=options.full(reference, sigmas_of(sigmas)),
            sparse=options.sparse, plate=options.plate_choice(people)) + at_once.findings(plan, host.lane_count)
        report = findings.report(found)
        facts = plan_facts(frames, reference, options.rate, found_cuts=options.found(cuts), host=host,
                           pace=_pace(model))
        values = findings.as_json(found)
        return io.NodeOutput(report, values, not findings.of_level(found, findings.ERROR),
                             ui={**ui.PreviewText(report).as_dict(), "scail2_findings": findings.as_rows(found),
                                 "files": [_file(values)], **facts})


def _file(values: str) -> dict[str, str]:
    """The findings as a file in ComfyUI's temporary folder, for programs that are given files alone."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=folder, prefix="scail2_check_", suffix=".json", delete=False,
                            encoding="utf-8") as file:
        file.write(values)
    return {"filename": Path(file.name).name, "subfolder": "", "type": "temp"}


def _pace(model) -> float | None:
    """Seconds here for one on an NVIDIA H200, by the matrix product that the check has timed."""
    tflops = preflight.machine(model.load_device, timed=True).matmul_tflops
    return None if tflops is None else H200_TFLOPS / tflops


def _plate_masks(masks) -> tuple[MaskSet | None, list[findings.Finding]]:
    """The people of plate_masks; and what is wrong with the masks."""
    try:
        return read_plate_masks(masks), []
    except ValueError as error:
        return None, [findings.error("plate_masks", str(error))]


def _plan_errors(options: VideoOptions, frames: Clip, reference, more, host: ComfyHost
                 ) -> tuple[tuple[int, ...], list[Segment], list[findings.Finding]]:
    """Cuts and segments, none if they are wrong; and what is wrong with cuts, plan and further references."""
    cuts: tuple[int, ...] = ()
    try:
        options.check()
        cuts = options.cuts(frames)
        plan = options.segments(frames, cuts)
    except (ValueError, RuntimeError) as error:
        # wrong lengths are found by the check itself
        wrong = [] if not options.scene_cuts.strip() else [findings.error("scene_cuts", str(error))]
        return (), [], wrong
    try:
        references = ordered_references(reference, more)
        check_changes(options.changes(frames, plan), len(references), host)
    except ValueError as error:
        return cuts, plan, [findings.error("plan", str(error))]
    return cuts, plan, []
