"""`scail2 check --preview`: a picture of what the plate keeps, what is made, and what has to be invented."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..drawing.plate_preview import sheet
from ..drawing.previews import chosen_frames
from ..files.atomic import explained, writing
from ..identity.identities import Identities
from ..levels import to_levels
from ..media.clips import Clip
from ..plate.choice import COMPOSITE, Choice
from ..plate.placement import Size

_ENDINGS = ".png", ".jpg", ".jpeg", ".webp"
_FRAMES = 6


def check_preview(path: Path, *read: str | None) -> None:
    """Raise ValueError for a picture that cannot be written there. read: pictures of the user's, which it must not
    replace."""
    if path.suffix.lower() not in _ENDINGS:
        raise ValueError(f"{path} (--preview) is not the name of a picture: end it with {', '.join(_ENDINGS)}.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} (--preview) does not exist: make it first.")
    if any(each and os.path.exists(each) and path.exists() and path.samefile(each) for each in read):
        raise ValueError(f"{path} (--preview) is one of the pictures that are read: choose another name.")


def write_preview(path: Path, driving: Clip, identities: Identities, size: Size, choice: Choice,
                  full: Size | None = None) -> None:
    """Draw frames that are spread over the video. size: (height, width) at which people are made. choice: if it has no
    plate, the picture shows what one would keep. full: as for `Choice.plate`.

    Raises ValueError where nothing that was filmed is shown, RuntimeError if the file cannot be written.
    """
    plate = replace(choice, kind=COMPOSITE).plate(driving, identities, size, halved_colours=False, full=full)
    assert plate is not None  # composite is one
    page = Image.fromarray(to_levels(sheet(plate, chosen_frames(len(driving), _FRAMES))).numpy())
    with explained(f"{path} (--preview)", "and try again"), writing(path) as part, part.open("wb") as file:
        page.save(file, format=Image.registered_extensions()[path.suffix.lower()])
