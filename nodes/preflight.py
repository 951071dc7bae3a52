"""Check SCAIL-2 Inputs: what is wrong or doubtful about a video, before a second of sampling."""

from comfy_api.latest import io, ui

from ..scail_model import comfy_preflight, findings
from ..scail_model.comfy_video import Settings
from .sample import setting_inputs
from .types import CATEGORY, driving_frames, segment_inputs


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
            ],
            outputs=[
                io.String.Output("report", tooltip="Errors, warnings and facts, one line each."),
                io.String.Output("json", tooltip="The same for programs: ok, errors, warnings, facts; each has a code "
                                                 "and a text."),
                io.Boolean.Output("ok", tooltip="Whether there are no errors."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, positive, negative, vae, reference, driving, identities, solver: str, steps: int,
                shift: float, guidance: float, segment_length: int = 81, overlap: int = 5,
                driving_background: str = "keep", fps: float = 16.0) -> io.NodeOutput:
        frames, frame_rate, _ = driving_frames(driving)
        settings = Settings(solver, steps, shift, guidance, 0, segment_length, overlap, driving_background == "black")
        found = comfy_preflight.check(model, positive, negative, vae, reference, frames, identities, settings,
                                      float(frame_rate or fps), timed=True)
        report = findings.report(found)
        return io.NodeOutput(report, findings.as_json(found), not findings.of_level(found, findings.ERROR),
                             ui=ui.PreviewText(report))
