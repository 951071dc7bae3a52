"""The arguments of `scail2 batch` and of its commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_batch(command: argparse.ArgumentParser) -> None:
    """Add the commands of `scail2 batch` to its parser. Each sets `run`, as those of `cli.py` do."""
    commands = command.add_subparsers(required=True, metavar="COMMAND")
    _add_check(_add(commands, "check", "say everything that is wrong in any row, and estimate memory, time and cost",
                    _check))


def add_manifest(command: argparse.ArgumentParser) -> None:
    """The argument that every command has."""
    command.add_argument("manifest", metavar="MANIFEST", help="rows of values as .csv, .json or .yaml")


def add_price(command: argparse.ArgumentParser) -> None:
    """What a GPU costs, for the commands that say what a video does."""
    command.add_argument("--gpu_hour_price", type=_price, metavar="X",
                         help="price of one GPU for one hour, in any currency (default: cost is not said)")


def add_comfyui(command: argparse.ArgumentParser) -> None:
    """The ComfyUI that rows with a workflow are made by."""
    command.add_argument("--comfyui", metavar="FOLDER",
                         help="folder of ComfyUI, with its main.py, for rows with a workflow")
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
    command.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def _check(arguments: argparse.Namespace) -> bool:
    from .batch import check

    return check(arguments)


def _price(text: str) -> float:
    price = float(text)
    if not 0 <= price < float("inf"):
        raise ValueError
    return price
