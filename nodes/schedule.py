"""SCAIL-2 Schedule: the official solvers as SAMPLER and SIGMAS."""

from comfy_api.latest import io

from ..scail_model.comfy import sampler
from ..scail_model.comfy.schema import CATEGORY, option_inputs


class SCAIL2Schedule(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Schedule",
            display_name="SCAIL-2 Schedule",
            category=CATEGORY,
            description="The official solvers and noise levels, for SamplerCustom. Gives the same numbers as the "
                        "official scripts; ComfyUI's own uni_pc and schedulers do not.",
            search_aliases=["unipc", "dpm++", "flow", "scheduler", "sigmas"],
            inputs=option_inputs("solver", "steps", "shift"),
            outputs=[
                io.Sampler.Output(tooltip="The solver, for SamplerCustom."),
                io.Sigmas.Output(tooltip="Noise levels, one more than steps."),
            ],
        )

    @classmethod
    def execute(cls, solver: str, steps: int, shift: float) -> io.NodeOutput:
        return io.NodeOutput(*sampler.make_sampler(solver, steps, shift))
