"""The arguments of `scail2 batch` and of its commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_batch(command: argparse.ArgumentParser) -> None:
    """Add the commands of `scail2 batch` to its parser. Each sets `run`, as those of `cli.py` do."""
    commands = command.add_subparsers(required=True, metavar="COMMAND")
    _add_check(_add(commands, "check", "say everything that is wrong in any row, and estimate memory, time and cost",
                    _check))
    _add_run(_add(commands, "run", "make all rows that are not done yet, on this machine's GPUs or on a Ray cluster",
                  _run))
    _add_retry(_add(commands, "retry", "make rows that failed once more, and those that are not done yet", _retry))
    _add_row(_add(commands, "row", "make one row here, without Ray: for schedulers that run a command a task", _row))
    _add_status(_add(commands, "status", "say how all rows stand, from the batch's folder alone", _status))


def add_manifest(command: argparse.ArgumentParser) -> None:
    """The argument that every command has."""
    command.add_argument("manifest", metavar="MANIFEST", help="rows of values as .csv, .json or .yaml")


def add_price(command: argparse.ArgumentParser) -> None:
    """What a GPU costs, for the commands that say what a video does."""
    command.add_argument("--gpu_hour_price", type=_price, metavar="X",
                         help="price of one GPU for one hour, in any currency (default: cost is not said)")


def add_out(command: argparse.ArgumentParser) -> None:
    """Where a batch is kept."""
    command.add_argument("--out", metavar="FOLDER",
                         help="folder of the batch, on a disk that all machines share (default: the manifest's name "
                              "without its ending)")


def add_attempts(command: argparse.ArgumentParser) -> None:
    """How often a row may fail."""
    command.add_argument("--attempts", type=_count, default=3, metavar="N",
                         help="how often a row is tried; attempts in which it came further do not count (default: 3)")


def add_comfyui(command: argparse.ArgumentParser) -> None:
    """The ComfyUI that rows with a workflow are made by."""
    command.add_argument("--comfyui", metavar="FOLDER",
                         help="folder of ComfyUI, with its main.py, for rows with a workflow")
    command.add_argument("--comfyui_python", metavar="FILE",
                         help="its Python (default: the one in its .venv or venv folder, else this one)")
    command.add_argument("--comfyui_args", default="", metavar="TEXT",
                         help='more arguments for ComfyUI, as in "--extra-model-paths-config models.yaml"')


def _add(commands: argparse._SubParsersAction, name: str, summary: str, run: Callable[[argparse.Namespace], object]
         ) -> argparse.ArgumentParser:
    described = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    described.set_defaults(run=run)
    return described


def _add_check(command: argparse.ArgumentParser) -> None:
    add_manifest(command)
    add_comfyui(command)
    add_price(command)
    command.add_argument("--card", metavar="NAME", help="GPU to estimate for (default: the one of this machine)")
    _add_share(command)
    command.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def _add_run(command: argparse.ArgumentParser) -> None:
    add_manifest(command)
    _add_making(command)
    command.add_argument("--only", nargs="+", metavar="ID", help="only these rows")


def _add_retry(command: argparse.ArgumentParser) -> None:
    add_manifest(command)
    command.add_argument("only", nargs="*", metavar="ID", help="only these rows (default: all that failed)")
    _add_making(command)


def _add_row(command: argparse.ArgumentParser) -> None:
    add_manifest(command)
    command.add_argument("id", metavar="ID", help="the row's id")
    add_out(command)
    add_comfyui(command)
    add_price(command)
    add_attempts(command)
    _add_replace(command)


def _add_making(command: argparse.ArgumentParser) -> None:
    add_out(command)
    add_comfyui(command)
    where = command.add_mutually_exclusive_group()
    where.add_argument("--gpus", type=_count, metavar="N",
                       help="GPUs of this machine (default: all); on one without GPUs, how many rows at a time")
    where.add_argument("--address", metavar="ADDRESS", help="a Ray cluster: auto, or ray://HOST:10001")
    _add_share(command)
    command.add_argument("--workers", type=_count, metavar="N",
                         help="how many rows at a time, also where a cluster has to start machines for them (default: "
                              "as many as its GPUs carry)")
    add_price(command)
    add_attempts(command)
    _add_replace(command)


def _add_share(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gpus_per_video", type=_share, default=1.0, metavar="X",
                         help="GPUs that make a row together; 0.5 makes two rows at a time on each GPU (default: 1)")


def _add_replace(command: argparse.ArgumentParser) -> None:
    command.add_argument("--replace", action="store_true",
                         help="make rows anew that were begun with other inputs; what there is goes to replaced/")


def _add_status(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", metavar="MANIFEST", help="the manifest, or the folder of a batch")
    add_out(command)
    command.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def _run(arguments: argparse.Namespace) -> bool:
    from .batch_run import run

    return run(arguments)


def _retry(arguments: argparse.Namespace) -> bool:
    from .batch_run import retry

    return retry(arguments)


def _row(arguments: argparse.Namespace) -> bool:
    from .batch_row import row

    return row(arguments)


def _status(arguments: argparse.Namespace) -> None:
    from .batch_status import status

    status(arguments)


def _check(arguments: argparse.Namespace) -> bool:
    from .batch import check

    return check(arguments)


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a price: write digits, with a point for the fraction")
    return price


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < float("inf") or (share > 1 and share != int(share)):
        raise argparse.ArgumentTypeError(f"{text} is neither a part of a GPU, as 0.5, nor a whole number of them")
    return share
