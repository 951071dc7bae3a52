"""Pictures from files, with the pixels that ComfyUI's Load Image gives wherever it shows them as people see them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..levels import WHITE
from .frames import UPRIGHT, Look, Orientation, levels, look_of, transparent

MANY = {"GIF", "PNG", "WEBP", "AVIF", "TIFF"}  # formats whose further pictures are meant to be looked at
_LINEAR = 8  # transfer characteristics of ITU-T H.273
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
            pictures, way = getattr(image, "n_frames", 1), image.getexif().get(ExifTags.Base.Orientation, 1)
            image.load()
    except Image.DecompressionBombError as error:
        raise RuntimeError(f"The {name} {path} has more pixels than a picture should ({error}): scale it "
                           "down.") from error
    except Exception as error:  # each of Pillow's decoders has errors of its own
        if isinstance(error, UnidentifiedImageError) and (frame := _decoded(path, only_pictures=True)) is not None:
            return torch.from_numpy(_of_frame(frame, path, name))
        raise RuntimeError(f"The {name} {path} cannot be read as a picture ({error}): save it again as PNG or "
                           "JPEG.") from error
    if pictures > 1 and image.format in MANY:
        raise RuntimeError(f"The {name} {path} holds {pictures} pictures: save the one that is meant as PNG.")
    shown = _pixels(path, image, _WAYS.get(way, UPRIGHT), name, [] if warnings is None else warnings)
    return torch.from_numpy(shown.copy())


def _pixels(path: Path, image: Image.Image, way: Orientation, name: str, warnings: list[str]) -> np.ndarray:
    frame, over = _decoded(path), WHITE if _transparent(image) else None
    if over is not None:
        warnings.append(f"The {name} {path} has transparency, which is shown over white: save it over another "
                        "background if it should have one.")
    if frame is not None and (frame.width, frame.height) == image.size:
        colours = look_of(frame).colours
        if not colours.plain and over is None:
            warnings.append(colours.doubt(f"{name} {path}"))
        with contextlib.suppress(FFmpegError):  # colours that it cannot convert
            return levels(frame, Look(way, colours, over)).transpose(1, 2, 0)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I"):
        return _of_numbers(np.array(image), path, name)
    if over is None:
        return np.array(image.convert("RGB"))
    paper = Image.new("RGBA", image.size, (WHITE,) * 4)
    return np.array(Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB"))


def _decoded(path: Path, *, only_pictures: bool = False) -> av.VideoFrame | None:
    """As ComfyUI decodes it, but for its orientation; None if FFmpeg cannot. Decoders differ by a level here and there,
    Pillow leaves out the lower half of 16 bits or makes them white. only_pictures: None for a video, too."""
    try:
        with av.open(os.path.abspath(path), options={"pattern_type": "none"}) as container:  # %d in a name means itself
            if only_pictures and not container.format.name.endswith(("_pipe", "image2")):
                return None
            return next(cast(InputContainer, container).decode(video=0), None)
    except (FFmpegError, IndexError):
        return None


def _of_frame(frame: av.VideoFrame, path: Path, name: str) -> np.ndarray:
    """Levels of a picture that only FFmpeg knows, such as colours of floats in TIFF."""
    if frame.color_trc == _LINEAR:
        raise RuntimeError(f"The {name} {path} holds linear light: save it as PNG.")
    look = look_of(frame)._replace(over=WHITE if transparent(frame) else None)
    highest = _highest(frame) if "f32" in frame.format.name else 1.0
    if not highest <= _HIGHEST:
        raise _too_high(highest, path, name)
    return levels(frame, look).transpose(1, 2, 0).copy()


def _highest(frame: av.VideoFrame) -> float:
    """Of floats, which conversions cut off at 1."""
    across = frame.width * len(frame.format.components) // len(frame.planes)
    return max(float(np.frombuffer(plane, "<f4").reshape(frame.height, -1)[:, :across].max()) for plane in frame.planes)


def _transparent(image: Image.Image) -> bool:
    return image.has_transparency_data and bool(np.array(image.convert("RGBA"))[..., 3].min() < WHITE)


def _of_numbers(values: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Grey of floats in which 1 is white."""
    if values.dtype != np.float32 or not values.max() <= _HIGHEST:
        raise _too_high(float(values.max()), path, name)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)[..., None].repeat(3, -1)


def _too_high(highest: float, path: Path, name: str) -> RuntimeError:
    return RuntimeError(f"The {name} {path} holds numbers up to {highest:g}, where 1 would be white: save it with 8 or "
                        "16 bits.")
