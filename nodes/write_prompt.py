"""Write SCAIL-2 Prompt: core's text generation models look at reference and driving video, and write the prompt."""

from __future__ import annotations

from comfy_api.latest import io

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.prompt_inputs import prompt_inputs, read_request
from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.comfy.shown_node import say
from ..scail_model.comfy.text_model import TextModel
from ..scail_model.prompting.writing import Writer

_WHO = "the text model"


class SCAIL2WritePrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2WritePrompt",
            display_name="Write SCAIL-2 Prompt",
            category=CATEGORY,
            description="A text generation model looks at the driving video and at the reference picture, and writes "
                        "the prompt: one paragraph that describes the finished video. Runs on this machine, without a "
                        "network.",
            search_aliases=["prompt enhancer", "caption", "describe video", "llm", "vlm", "qwen", "gemma"],
            inputs=[
                io.Clip.Input("clip", tooltip="A text generation model that sees pictures, such as Qwen3-VL or Gemma "
                                              "4, from Load CLIP."),
                *prompt_inputs(),
                io.Float.Input("temperature", default=0.4, min=0.0, max=2.0, step=0.05, optional=True,
                               tooltip="How freely it writes. 0 always takes the likeliest word."),
                io.Int.Input("max_length", default=1024, min=64, max=32768, optional=True,
                             tooltip="The most tokens of an answer, with the thoughts of models that think."),
                io.Int.Input("seed", default=0, min=0, max=2**63 - 1, optional=True,
                             control_after_generate=io.ControlAfterGenerate.fixed,  # another prompt is another video
                             tooltip="Another seed, another prompt."),
            ],
            outputs=[
                io.String.Output("prompt", tooltip="For CLIP Text Encode."),
                io.String.Output("caption", tooltip="What the model has seen in the driving video."),
                io.String.Output("report", tooltip="Words and tokens, and what had to be asked again."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("writing the prompt")
    def execute(cls, clip, reference, driving, mode: str, instruction: str = "", identities=None, frames: int = 8,
                examples: str = "", temperature: float = 0.4, max_length: int = 1024,
                seed: int = 0) -> io.NodeOutput:
        model = TextModel(clip, temperature, max_length, seed)
        told: list[str] = []

        def tell(text: str) -> None:
            told.append(text)
            say(text, cls.hidden.unique_id)

        asked = read_request(reference, driving, mode, instruction, identities, frames, examples, cls.hidden.unique_id)
        writer = Writer(model, _WHO, tell)
        caption = writer.caption(asked.request, asked.frames)
        written = writer.prompt(asked.request, asked.references, caption)
        say(written.prompt, cls.hidden.unique_id)
        report = "\n".join([f"For {asked.request.mode}: {written.size()}", *told])
        return io.NodeOutput(written.prompt, caption, report)
