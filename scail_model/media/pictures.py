"""Pictures from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


def read_picture(path: Path, name: str) -> Tensor:
    """A picture as people see it (camera orientation applied), uint8 [h, w, 3].

    RuntimeError that says `name` for a file that is not a picture or is cut short.
    """
    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB")))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RuntimeError(f"The {name} {path} cannot be read as a picture ({error}): save it again as PNG or "
                           "JPEG.") from error
