"""The command line: `scail2 <command>`.

Parsing and messages only. The commands import what they need when they run, so that `--help` answers at once and a
missing package gives one sentence.
"""

import argparse
import sys
from collections.abc import Sequence

from .options import add_generate

_MODEL_FILES = "official SAT folder or .pt file, or a .safetensors file"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 after an error (one line on stderr), 130 after Ctrl-C.

    Wrong usage leaves with SystemExit 2, as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        return _fail(f'{error.name} is not installed; run: pip install "scail2[headless]"')
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scail2", description="SCAIL-2 on the command line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_convert(commands, "convert", "model", f"write a model ({_MODEL_FILES}) as one .safetensors file")
    _add_convert(commands, "convert-lora", "lora", "write a LoRA of the SCAIL-2 authors (.pt) in ComfyUI form")
    summary = "make a video: a reference picture performs, or takes part in, a driving video"
    generate = commands.add_parser("generate", help=summary, description=summary[0].upper() + summary[1:] + ".")
    add_generate(generate)
    generate.set_defaults(run=_generate)
    return parser


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


def _fail(message: str) -> int:
    sys.stderr.write(f"scail2: {message}\n")
    return 1
