"""`scail2 batch check`: everything that is wrong in any row, and what all rows together need."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from ..batch.checks import Checked, check_rows
from ..batch.costs import CARDS, Card, find_card
from ..batch.findings import as_json, as_text
from ..batch.manifest import Manifest, Row, read_manifest
from ..batch.model_folders import ModelFolders


def check(arguments: argparse.Namespace) -> bool:
    """Print all that there is to say of a manifest; returns whether there are no errors."""
    manifest = read_manifest(Path(arguments.manifest))
    card = _card(arguments.card)
    checked = checked_rows(manifest, arguments, card)
    write = as_json if arguments.json else as_text
    sys.stdout.write(f"{write(manifest, checked, card, arguments.gpu_hour_price)}\n")
    return not manifest.faults and not any(row.errors for row in checked)


def checked_rows(manifest: Manifest, arguments: argparse.Namespace, card: Card | None = None) -> list[Checked]:
    """All rows, checked for the ComfyUI that the command line names. ValueError for one that is not there."""
    folders = ModelFolders(Path(arguments.comfyui), arguments.comfyui_args) if arguments.comfyui else None
    gpus = math.ceil(getattr(arguments, "gpus_per_video", 1))  # `scail2 batch row` has none
    return check_rows(manifest, _check_command_line, folders=folders, card=card, gpus=gpus)


def _check_command_line(row: Row) -> Checked:
    from .batch_rows import check_row  # all flags of generate come with it

    return check_row(row)


def _card(name: str | None) -> Card | None:
    """The card to estimate for: the one that is named, or this machine's. None where there is none."""
    if name:
        return find_card(name) or Card(name, None, 0)
    import torch

    if not torch.cuda.is_available():
        return None
    from .device import machine

    device = torch.device("cuda")
    found = torch.cuda.get_device_name(device)
    known = next((card for card in CARDS if card.name == found), None)
    measured = machine((device,), timed=known is None)
    return known or Card(found, measured.matmul_tflops, measured.total_vram)
