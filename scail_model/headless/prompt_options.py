"""The arguments of `scail2 prompt`: names and defaults of the official `prompt_enhancer.py` where it has them."""

from __future__ import annotations

import argparse

from ..identity.identities import ANIMATION, REPLACEMENT
from ..prompting.examples import MOST_CHARACTERS
from ..prompting.frames import USUAL_FRAMES
from .prompt_backends import GEMINI, GEMINI_MODEL, OPENAI

TEMPERATURE = 0.4  # official
SECONDS = 600.0


def add_prompt(command: argparse.ArgumentParser) -> None:
    """Add them to its parser."""
    job = command.add_argument_group("what is shown")
    job.add_argument("--video", required=True, metavar="FILE", help="driving video")
    job.add_argument("--image", required=True, nargs="+", metavar="FILE",
                     help="reference picture of the character; several show the same one or several characters")
    job.add_argument("--num_frames", type=int, default=USUAL_FRAMES, metavar="N",
                     help=f"frames of the video that are shown (default: {USUAL_FRAMES})")
    asked = command.add_argument_group("what is asked")
    mode = asked.add_mutually_exclusive_group()
    mode.add_argument("--mode", choices=(REPLACEMENT, ANIMATION), default=REPLACEMENT,
                      help="replacement keeps the video's scene, animation the picture's (default: replacement, the "
                           "only one that the official enhancer knows)")
    mode.add_argument("--replace_flag", dest="mode", action="store_const", const=REPLACEMENT,
                      default=REPLACEMENT,
                      help="the same as --mode replacement, as generate takes it")
    asked.add_argument("--instruction", default="", metavar="TEXT",
                       help="what the video should show, in your own words (default: the character takes part)")
    asked.add_argument("--examples", metavar="FILE",
                       help="plain text that shows the style of a prompt (default: examples of the pack)")
    asked.add_argument("--max_example_chars", type=int, default=MOST_CHARACTERS, metavar="N",
                       help=f"characters of the examples that are sent (default: {MOST_CHARACTERS})")
    _add_model(command.add_argument_group("the model"))
    output = command.add_argument_group("output")
    output.add_argument("--output", metavar="FILE", help="write the prompt to this file too")
    output.add_argument("--caption_out", metavar="FILE", help="write the description of the driving video to this file")
    output.add_argument("--overwrite", action="store_true", help="replace these files if they exist")
    output.add_argument("--ckpt_dir", metavar="FOLDER",
                        help="folder with the tokenizer of generate, to count the prompt's tokens exactly (default: "
                             "they are estimated)")


def _add_model(model: argparse._ArgumentGroup) -> None:
    model.add_argument("--backend", choices=(GEMINI, OPENAI), default=GEMINI,
                       help="protocol of the server. openai: OpenAI, vLLM, Ollama, llama.cpp and others (default: "
                            "gemini)")
    model.add_argument("--model", metavar="NAME", help=f"the model (default: {GEMINI_MODEL} with Gemini, none with "
                                                       "openai)")
    model.add_argument("--base_url", metavar="URL",
                       help="address of the server (default: GEMINI_BASE_URL or OPENAI_BASE_URL, else the public one)")
    model.add_argument("--temperature", type=float, default=TEMPERATURE, metavar="X",
                       help=f"how freely it writes, 0 to 2 (default: {TEMPERATURE})")
    model.add_argument("--timeout", type=float, default=SECONDS, metavar="SECONDS",
                       help=f"the longest wait for one answer (default: {SECONDS:g})")
    model.add_argument("--api_key", nargs="?", const="", help=argparse.SUPPRESS)
