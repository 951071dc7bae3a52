"""`scail2 prompt`: a model that sees pictures writes the prompt of a video, as the official prompt enhancer has it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..files.atomic import explained, writing
from ..media.pictures import read_picture
from ..media.video_file import FileClip
from ..prompting.examples import own_examples, read_examples
from ..prompting.frames import MOST_FRAMES, frame_indices
from ..prompting.instructions import Request
from ..prompting.writing import Writer
from .prompt_asking import PatientAsker
from .prompt_backends import open_backend
from .terminal import Terminal

_HOTTEST = 2.0


def run(arguments: argparse.Namespace) -> None:
    """Print the prompt, and write the files that are asked for. Raises ValueError or RuntimeError in one sentence."""
    _check(arguments)
    outputs = {flag: Path(path) for flag, path in (("--output", arguments.output),
                                                  ("--caption_out", arguments.caption_out)) if path is not None}
    _check_outputs(outputs, replace=arguments.overwrite)
    examples = own_examples(arguments.mode) if arguments.examples is None else read_examples(Path(arguments.examples))
    backend = open_backend(arguments.backend, arguments.model, arguments.base_url, arguments.temperature,
                           arguments.timeout)
    tokens = _token_counter(arguments.ckpt_dir)
    with Terminal() as terminal:
        def say(text: str) -> None:
            terminal.say(text)  # repeated while nothing else is heard
            terminal.tell(text)

        terminal.say("reading the driving video")
        frames, references = _pictures(arguments)
        request = Request(arguments.mode, len(frames), len(references), arguments.instruction, examples,
                          arguments.max_example_chars)
        writer = Writer(PatientAsker(backend, say, arguments.timeout), backend.model, say, tokens)
        caption = writer.caption(request, frames)
        if "--caption_out" in outputs:  # it is paid for, whatever becomes of the prompt
            _write(outputs["--caption_out"], caption, "--caption_out")
        written = writer.prompt(request, references, caption)
        terminal.tell(f"For {arguments.mode}: {written.size()}")
    sys.stdout.write(f"{written.prompt}\n")
    sys.stdout.flush()
    if "--output" in outputs:
        _write(outputs["--output"], written.prompt, "--output")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.api_key is not None:
        raise ValueError("A key on the command line (--api_key) can be read by every user of the machine: set "
                         "GEMINI_API_KEY or OPENAI_API_KEY in the environment.")
    if not 0 <= arguments.temperature <= _HOTTEST:
        raise ValueError(f"The temperature is {arguments.temperature:g} (--temperature): give 0 to {_HOTTEST:g}.")
    if not 0 < arguments.timeout < float("inf"):
        raise ValueError(f"The longest wait is {arguments.timeout:g} s (--timeout): give a positive number of seconds.")
    if not 1 <= arguments.num_frames <= MOST_FRAMES:
        raise ValueError(f"The number of frames is {arguments.num_frames} (--num_frames): give 1 to {MOST_FRAMES}.")
    if arguments.max_example_chars < 0:
        raise ValueError(f"The number of characters is {arguments.max_example_chars} (--max_example_chars): give 0 or "
                         "more.")
    for flag, text in (("--instruction", arguments.instruction), ("--model", arguments.model or "")):
        if re.search("[\ud800-\udfff]", text):  # bytes of another encoding, as Python reads them
            raise ValueError(f"The text of {flag} is not in the encoding of this machine: save the script as UTF-8.")
    for name, path in (("driving video", arguments.video), *(("reference", path) for path in arguments.image)):
        if not os.path.isfile(path):
            wrong = "is not a file" if os.path.exists(path) else "does not exist"
            raise RuntimeError(f"The {name} {path} {wrong}: check the path.")


def _check_outputs(outputs: dict[str, Path], *, replace: bool) -> None:
    if len({path.absolute() for path in outputs.values()}) < len(outputs):
        raise RuntimeError(f"{outputs['--output']} is named for the prompt and the description: choose two names.")
    for flag, path in outputs.items():
        if not path.parent.is_dir():
            raise RuntimeError(f"The folder {path.parent} ({flag}) does not exist: make it first.")
        if path.is_dir():
            raise RuntimeError(f"{path} ({flag}) is a folder: name a file, such as {path / 'prompt.txt'}.")
        if os.path.lexists(path) and not (replace and path.is_file()):
            raise RuntimeError(f"{path} ({flag}) exists: choose another name, or add --overwrite.")
        if not os.access(path.parent, os.W_OK):
            raise RuntimeError(f"{path} ({flag}) may not be written: choose another folder.")


def _pictures(arguments: argparse.Namespace) -> tuple[list[Tensor], list[Tensor]]:
    """Frames of the driving video and the references, each uint8 [h, w, 3]."""
    references = [read_picture(Path(path), "reference") for path in arguments.image]
    video = FileClip(arguments.video)
    try:
        return list(video.at(frame_indices(len(video), arguments.num_frames))), references
    finally:
        video.close()


def _token_counter(folder: str | None) -> Callable[[str], int] | None:
    if folder is None:
        return None
    from .encoders import token_counter  # diffusers and transformers take seconds

    return token_counter(Path(folder))


def _write(path: Path, text: str, flag: str) -> None:
    with explained(f"{path} ({flag})", "or choose another name"), writing(path) as part:
        part.write_text(f"{text}\n", encoding="utf-8")
