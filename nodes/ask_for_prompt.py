"""Ask for SCAIL-2 Prompt, and Check SCAIL-2 Prompt: question and answer of any other node that sees pictures."""

from __future__ import annotations

from comfy_api.latest import io

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.prompt_inputs import prompt_inputs, read_request
from ..scail_model.comfy.schema import CATEGORY
from ..scail_model.comfy.text_model import token_counter
from ..scail_model.prompting.pictures import batch
from ..scail_model.prompting.writing import checked


class SCAIL2AskForPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2AskForPrompt",
            display_name="Ask for SCAIL-2 Prompt",
            category=CATEGORY,
            description="Pictures and a question for any node with a language model that sees pictures: frames of the "
                        "driving video and then the reference in one batch, and the text that asks for the prompt.",
            search_aliases=["prompt enhancer", "caption", "gemini", "chatgpt", "ollama", "llm", "vlm"],
            inputs=prompt_inputs(),
            outputs=[
                io.Image.Output("images", tooltip="The frames and then the reference pictures, all of one size."),
                io.String.Output("text", tooltip="The question; it says which picture is which."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("choosing frames")
    def execute(cls, reference, driving, mode: str, instruction: str = "", identities=None, frames: int = 8,
                examples: str = "") -> io.NodeOutput:
        asked = read_request(reference, driving, mode, instruction, identities, frames, examples, cls.hidden.unique_id)
        return io.NodeOutput(batch([*asked.frames, *asked.references]), asked.request.both())


class SCAIL2CheckPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2CheckPrompt",
            display_name="Check SCAIL-2 Prompt",
            category=CATEGORY,
            description="Takes the answer of a language model and gives a prompt: without quotes, headings and remarks "
                        "around it. Stops the graph, before anything is sampled, if the answer is a refusal, is cut "
                        "off, speaks of an edit, or is too long for the model.",
            search_aliases=["prompt", "clean text", "llm answer", "count tokens"],
            inputs=[
                io.String.Input("answer", force_input=True, tooltip="The text that the other node has given."),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder of the prompt (UMT5), to count its "
                                                             "tokens exactly. Without it they are estimated."),
            ],
            outputs=[
                io.String.Output("prompt", tooltip="For CLIP Text Encode."),
                io.String.Output("report", tooltip="Its words and tokens."),
            ],
        )

    @classmethod
    def execute(cls, answer: str, clip=None) -> io.NodeOutput:
        if not isinstance(answer, str):  # of nodes whose output may be anything
            raise ValueError(f"The answer is {type(answer).__name__} and not text: connect the output that has the "
                             "text.")
        written = checked(answer, None if clip is None else token_counter(clip))
        return io.NodeOutput(written.prompt, written.size())
