"""The command line: `scail2 <command>`.

Parsing and messages only. The commands import what they need when they run, so that `--help` answers at once and a
missing package gives one sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NoReturn

# by the package that is missing
_EXTRAS = {"ray": "batch", "websocket": "batch", "yaml": "batch", "google": "prompt", "openai": "prompt"}
_MODEL_FILES = "official SAT folder or .pt file, or a .safetensors file"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 after an error (one line on stderr), 130 after Ctrl-C.

    Wrong usage leaves with SystemExit 2, as argparse does.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what no encoding has
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with _ended_politely():
        return _run(argv)


def _run(argv: list[str]) -> int:
    try:
        parser = _parser(argv[:1])
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.prog = " ".join(("scail2", *takewhile(lambda word: not word.startswith("-"), argv)))
            flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]  # a value may be a key
            parser.error(f"unrecognized arguments: {' '.join(flags or unknown)}")
        fine = arguments.run(arguments)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0], "headless")
        return _fail(f'{error.name} is not installed; run: pip install "scail2[{extra}]"')
    except (OSError, RuntimeError, ValueError, EOFError, MemoryError) as error:
        return _fail(_sentence(error))
    except KeyboardInterrupt:
        goes_on = argv[:1] in (["generate"], ["batch"])
        kept = "; finished segments are kept: the same command goes on from there" if goes_on else ""
        _fail(f"interrupted{kept}")
        return 130
    return 1 if fine is False else 0


@contextlib.contextmanager
def _ended_politely() -> Iterator[None]:
    """Let SIGTERM, as job schedulers send it, end a run like Ctrl-C. Only the main thread may ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage, which is long."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"scail2: {message}: see {self.prog} --help.\n")


def _parser(command: Sequence[str]) -> argparse.ArgumentParser:
    """command: the first word; the settings of a video are read, with the libraries behind them, only if it needs
    them."""
    parser = _Parser(prog="scail2", description="SCAIL-2 on the command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_convert(commands, "convert", "model", f"write a model ({_MODEL_FILES}) as one .safetensors file")
    _add_convert(commands, "convert-lora", "lora", "write a LoRA of the SCAIL-2 authors (.pt) in ComfyUI form")
    for name, summary, run in (
            ("generate", "make a video: a reference picture performs, or takes part in, a driving video", _generate),
            ("check", "check the inputs of generate, and estimate memory and time, without loading a model", _check),
            ("prepare", "make the inputs of generate, masks and driving video, by their official names", _prepare),
            ("doctor", "examine this machine and the model files, and measure a forward of each precision", _doctor),
            ("prompt", "let a model that sees pictures write the prompt for generate", _prompt),
            ("batch", "make many videos from a manifest, on one machine or many", None)):
        described = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        described.set_defaults(run=run)
        if name in command:
            _add_arguments(name, described)
    return parser


def _add_arguments(name: str, command: argparse.ArgumentParser) -> None:
    if name == "doctor":
        from .doctor import add_doctor

        add_doctor(command)
        return
    if name == "batch":
        from .batch_options import add_batch

        add_batch(command)
        return
    if name == "prompt":
        from .prompt_options import add_prompt

        add_prompt(command)
        return
    from .options import add_check, add_generate
    from .prepare_options import add_prepare

    {"generate": add_generate, "check": add_check, "prepare": add_prepare}[name](command)


def _add_convert(commands: argparse._SubParsersAction, name: str, kind: str, summary: str) -> None:
    command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    command.add_argument("source", metavar="IN", help=_MODEL_FILES if kind == "model" else "LoRA file")
    command.add_argument("target", metavar="OUT", help="file to write; the name ends with .safetensors")
    command.add_argument("--dtype", choices=("keep", "bf16", "fp16"), default="keep",
                         help="type of the 16- and 32-bit float tensors (default: as stored)")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    command.set_defaults(run=_convert, kind=kind)


def _convert(arguments: argparse.Namespace) -> None:
    from .convert import DTYPES, convert

    size = convert(arguments.source, arguments.target, kind=arguments.kind, dtype=DTYPES[arguments.dtype],
                   overwrite=arguments.overwrite)
    sys.stdout.write(f"wrote {arguments.target}, {size / 1e9:.3g} GB\n")


def _generate(arguments: argparse.Namespace) -> None:
    from .generate import run

    run(arguments)


def _check(arguments: argparse.Namespace) -> bool:
    from .generate import check

    return check(arguments)


def _prepare(arguments: argparse.Namespace) -> bool:
    from .prepare import run

    return run(arguments, _sentence)


def _doctor(arguments: argparse.Namespace) -> bool:
    from .doctor import run

    return run(arguments)


def _prompt(arguments: argparse.Namespace) -> None:
    from .prompt import run

    run(arguments)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return (f"{os.fsdecode(error.filename)} cannot be read or written ({error.strerror}): check the path and its "
                "permissions.")
    if isinstance(error, MemoryError) or "t allocate memory" in str(error):
        return "The main memory is full: choose a smaller width and height or shorter segments, or close programs."
    return str(error)


def _fail(message: str) -> int:
    sys.stderr.write(f"scail2: {' '.join(message.splitlines())}\n")
    return 1
