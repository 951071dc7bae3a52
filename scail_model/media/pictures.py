"""Pictures from files, with the pixels that ComfyUI's Load Image gives wherever it shows them as people see them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from ..levels import WHITE
from .frames import UPRIGHT, Look, Orientation, levels

_MANY = {"GIF", "PNG", "WEBP", "AVIF", "TIFF"}  # formats whose further pictures are meant to be looked at
_HIGHEST = 2.0  # of floats in a picture whose white is 1; others are in another unit
# values of EXIF's Orientation
_WAYS = {2: Orientation(False, True, False), 3: Orientation(False, True, True), 4: Orientation(False, False, True),
         5: Orientation(True, False, False), 6: Orientation(True, True, False), 7: Orientation(True, True, True),
         8: Orientation(True, False, True)}


def read_picture(path: Path, name: str, warnings: list[str] | None = None) -> Tensor:
    """A picture as people see it (camera orientation applied, transparent pixels over white), uint8 [h, w, 3].

    warnings: takes up sentences about what was done to it. RuntimeError that says `name` for a file that is not one
    picture, is cut short or too large.
    """
    try:
        with Image.open(path) as image:
            pictures = getattr(image, "n_frames", 1)
            image.load()
    except Image.DecompressionBombError as error:
        raise RuntimeError(f"The {name} {path} has more pixels than a picture should ({error}): scale it "
                           "down.") from error
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:  # each of Pillow's decoders has its own
        raise RuntimeError(f"The {name} {path} cannot be read as a picture ({error}): save it again as PNG or "
                           "JPEG.") from error
    if pictures > 1 and image.format in _MANY:
        raise RuntimeError(f"The {name} {path} holds {pictures} pictures: save the one that is meant as PNG.")
    return torch.from_numpy(_pixels(path, image, name, [] if warnings is None else warnings).copy())


def _pixels(path: Path, image: Image.Image, name: str, warnings: list[str]) -> np.ndarray:
    frame, transparent = _decoded(path), _transparent(image)
    if transparent:
        warnings.append(f"The {name} {path} has transparency, which is shown over white: save it over another "
                        "background if it should have one.")
    if frame is not None and (frame.width, frame.height) == image.size:
        way = _WAYS.get(image.getexif().get(ExifTags.Base.Orientation, 1), UPRIGHT)
        with contextlib.suppress(FFmpegError):  # colours that it cannot convert
            return levels(frame, Look(way, over=WHITE if transparent else None)).transpose(1, 2, 0)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I"):
        return _of_numbers(np.array(image), path, name)
    if not transparent:
        return np.array(image.convert("RGB"))
    paper = Image.new("RGBA", image.size, (WHITE,) * 4)
    return np.array(Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB"))


def _decoded(path: Path) -> av.VideoFrame | None:
    """As ComfyUI decodes it, but for its orientation; None if FFmpeg cannot. Decoders differ by a level here and there,
    Pillow leaves out the lower half of 16 bits or makes them white."""
    try:
        with av.open(io.BytesIO(path.read_bytes())) as container:  # of a file, FFmpeg would read a name as a pattern
            return next(cast(InputContainer, container).decode(video=0), None)
    except (FFmpegError, IndexError):
        return None


def _transparent(image: Image.Image) -> bool:
    return image.has_transparency_data and bool(np.array(image.convert("RGBA"))[..., 3].min() < WHITE)


def _of_numbers(values: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Grey of floats in which 1 is white."""
    if values.dtype != np.float32 or not values.max() <= _HIGHEST:
        raise RuntimeError(f"The {name} {path} holds numbers up to {values.max():g}, where 1 would be white: save it "
                           "with 8 or 16 bits.")
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)[..., None].repeat(3, -1)
