"""`scail2 batch check`: everything that is wrong in any row, and what all rows together need."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..batch.manifest import read_manifest


def check(arguments: argparse.Namespace) -> bool:
    """Print all that there is to say of a manifest; returns whether there are no errors."""
    manifest = read_manifest(Path(arguments.manifest))
    return not manifest.faults
