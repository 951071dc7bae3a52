"""What the plate keeps and what is made, drawn over what was filmed: driven people, what is grown around them, pixels
that they leave free, and who stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..identity.identities import Identities
from ..identity.mask_set import at_size
from ..inputs.uncovered import left_free, rim
from ..levels import to_levels
from ..opencv import opencv
from ..plate.placement import covered_part
from ..plate.plate import Plate
from .lettering import INK, PAPER, TEXT, as_tensor, font_for
from .previews import contact_sheet
from .tags import colour_of, letters_for, tag, with_tags

LONGEST = 768  # pixels of the longer side of a picture
_GROWN, _STAYS, _MADE = (255, 176, 0), (255, 255, 255), (20, 20, 22)
_PERSON_SHARE, _GROWN_SHARE = 0.45, 0.6  # of the colour in the blend
_OUTLINE = 2  # pixels
_DASH = 6  # pixels
_PERIOD, _STRIPE = 10, 4  # pixels of a hatch: from line to line, and of a line
_PATCH, _GAP = (30, 18), 8  # of the legend: a patch's width and height; pixels between
_LETTERS = 72  # of full width in a line of the legend, if that makes them larger

_Layer = tuple[np.ndarray, tuple[int, ...], float | np.ndarray]  # where, colour, share of it


def preview(plate: Plate, frames: Sequence[int]) -> Tensor:
    """Frames with these numbers, each over a legend: [T, H, W, 3] float32 in 0..1."""
    pictures, _ = _drawn(plate, frames, with_lines=True)
    legend = _legend(plate, pictures.shape[2])
    return torch.cat((pictures, legend.expand(len(pictures), *legend.shape)), dim=1)


def sheet(plate: Plate, frames: Sequence[int]) -> Tensor:
    """The same frames in rows, with one legend under all of them: [H, W, 3] float32 in 0..1."""
    pictures, lines = _drawn(plate, frames)
    page = contact_sheet(list(zip(pictures, lines, strict=True)))
    return torch.cat((page, _legend(plate, page.shape[1])))


def _drawn(plate: Plate, frames: Sequence[int], *, with_lines: bool = False) -> tuple[Tensor, list[str]]:
    """Pictures [T, h, w, 3], and a line of text for each, which is written on it if asked for."""
    identities = plate.identities
    free = (0.0,) * len(identities.labels) if plate.given is not None else left_free(identities)
    shrink = LONGEST / max(plate.size)
    height, width = (max(1, round(side * shrink)) for side in plate.size)
    letters = letters_for(height, width)
    tags = {label: tag(f"{label}  {name}".rstrip(), letters, width, label)
            for label, name in zip(identities.labels, identities.names, strict=True)}
    drawn, lines = [], []
    for frame in frames:
        share = plate.share(frame)
        lines.append(f"frame {frame}: {np.mean(share == 0):.0%} as filmed")
        labels = _labels(identities, frame, (height, width))
        picture = _resized(plate.clip.read(frame, frame + 1)[0], height, width)
        for where, colour, part in _layers(plate, frame, labels, opencv().resize(
                share, (width, height), interpolation=opencv().INTER_AREA), free):
            _paint(picture, where, colour, part)
        picture = torch.from_numpy(_framed(plate, frame, picture, shrink))
        line = tag(lines[-1], letters, width) if with_lines else None
        drawn.append(with_tags(picture, torch.from_numpy(labels), tags, line))
    return torch.stack(drawn), lines


def _layers(plate: Plate, frame: int, labels: np.ndarray, share: np.ndarray, free: Sequence[float]) -> list[_Layer]:
    """What is drawn over a picture, one after the other. labels, share: at its size [h, w]."""
    identities, size = plate.identities, labels.shape
    people = labels > 0
    layers: list[_Layer] = [(~people & (share > 0), _GROWN, _GROWN_SHARE * share[..., None])]
    for person, label in enumerate(identities.labels):
        mask, colour = labels == label, tuple(colour_of(label).tolist())
        left = rim(mask, free[person])
        layers += [(mask, colour, _PERSON_SHARE), *_hatched(left), (_outline(mask), colour, 1.0)]
    made, left_by_all, stay = (None if mask is None else at_size(mask[None], size)[0]
                               for mask in (plate.made_people(frame), plate.uncovered(frame), plate.kept(frame)))
    if made is not None and left_by_all is not None:
        layers += [*_hatched(left_by_all), (_outline(made), _MADE, 1.0)]
    if stay is not None:
        layers.append((_dashed(_outline(stay)), _STAYS, 1.0))
    return layers


def _paint(picture: np.ndarray, where: np.ndarray, colour: tuple[int, ...], share: float | np.ndarray) -> None:
    """Blend a colour into levels uint8 [h, w, 3] where a mask [h, w] is set."""
    blended = picture + share * (np.array(colour) - picture.astype(np.float32))
    picture[where] = blended.round().astype(np.uint8)[where]


def _hatched(mask: np.ndarray) -> list[_Layer]:
    """Dark and light stripes."""
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    light = (x + y) % _PERIOD < _STRIPE
    return [(mask & ~light, _MADE, 0.55), (mask & light, _STAYS, 0.85)]


def _outline(mask: np.ndarray) -> np.ndarray:
    """The outermost pixels of a mask."""
    kernel = np.ones((2 * _OUTLINE + 1, 2 * _OUTLINE + 1), np.uint8)
    return mask & ~opencv().erode(mask.astype(np.uint8), kernel, borderValue=1).astype(bool)


def _dashed(lines: np.ndarray) -> np.ndarray:
    y, x = np.ogrid[: lines.shape[0], : lines.shape[1]]
    return lines & ((x + y) // _DASH % 2 == 0)


def _framed(plate: Plate, frame: int, picture: np.ndarray, shrink: float) -> np.ndarray:
    """The border of what is made, dashed, where the plate goes on after it."""
    part = covered_part(plate.placement, frame)
    height, width = picture.shape[:2]
    inside = np.zeros((height, width), bool)
    top, bottom, left, right = (round(edge * shrink) for edge in (part.top, part.bottom, part.left, part.right))
    inside[max(top, 0) : bottom, max(left, 0) : right] = True
    _paint(picture, _dashed(_outline(inside)), _STAYS, 1.0)
    return picture


def _goes_on(plate: Plate) -> bool:
    """Whether the plate shows more than what is made."""
    part, (height, width) = covered_part(plate.placement, 0), plate.size
    return part.left >= 1 or part.top >= 1 or part.right <= width - 1 or part.bottom <= height - 1


def _legend(plate: Plate, width: int) -> Tensor:
    """What the colours say, in as many lines as it takes: [h, width, 3]."""
    about = "" if plate.given is not None else " (about, by areas)"
    grow, feather = plate.edge.grow, plate.edge.feather
    first = tuple(colour_of(plate.identities.labels[0]).tolist())
    entries: list[tuple[str, list[_Layer]]] = [
        ("as filmed", []), ("driven person", [(_ALL, first, _PERSON_SHARE), (_BORDER, first, 1.0)]),
        (f"grown {grow} px, made", [(_ALL, _GROWN, _GROWN_SHARE)]),
        (f"fades over {feather} px", [(_ALL, _GROWN, _GROWN_SHARE * _FADING)]),
        (f"left free, to be invented{about}", [(_ALL, first, _PERSON_SHARE), *_hatched(_ALL)])]
    if plate.given is not None:
        entries.append(("outline of the made person (plate_masks)", [(_BORDER, _MADE, 1.0)]))
    if plate.identities.bystanders is not None:
        entries.append(("bystander, as filmed", [(_dashed(_BORDER), _STAYS, 1.0)]))
    if _goes_on(plate):
        entries.append(("end of what is made", [(_dashed(_END), _STAYS, 1.0)]))
    return _written(entries, width)


_ALL = np.ones(_PATCH[::-1], bool)
_BORDER = np.pad(np.zeros((_PATCH[1] - 2 * _OUTLINE, _PATCH[0] - 2 * _OUTLINE), bool), _OUTLINE, constant_values=True)
_END = _ALL & (np.abs(np.arange(_PATCH[0]) + 0.5 - _PATCH[0] / 2) < _OUTLINE / 2 + 0.5)
_FADING = np.linspace(1, 0, _PATCH[0])[None, :, None]


def _written(entries: Sequence[tuple[str, Sequence[_Layer]]], width: int) -> Tensor:
    """Patches with their texts, from left to right and in further lines."""
    size = max(TEXT, width // _LETTERS)
    patch_size = round(_PATCH[0] * size / TEXT), round(_PATCH[1] * size / TEXT)
    places, left, line = [], _GAP, 0
    for text, _ in entries:
        room = round(patch_size[0] + _GAP + font_for(size, text).getlength(text) + 2 * _GAP)
        if left + room > width and left > _GAP:
            left, line = _GAP, line + 1
        places.append((left, line))
        left += room
    page = Image.new("RGB", (width, 2 * size * (line + 1)), PAPER)
    for (text, layers), (left, line) in zip(entries, places, strict=True):
        patch = np.full((*_PATCH[::-1], 3), 128, np.uint8)
        for layer in layers:
            _paint(patch, *layer)
        middle = 2 * size * line + size
        page.paste(Image.fromarray(patch).resize(patch_size), (left, middle - patch_size[1] // 2))
        ImageDraw.Draw(page).text((left + patch_size[0] + _GAP, middle), text, INK, font_for(size, text), anchor="lm")
    return as_tensor(page)


def _labels(identities: Identities, frame: int, size: tuple[int, int]) -> np.ndarray:
    labels = identities.driving_labels(frame, frame + 1)[0].numpy()
    return at_size(labels[None], size)[0]


def _resized(frame: Tensor, height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(to_levels(frame).cpu().numpy())
    return np.array(picture.resize((width, height), Image.Resampling.BICUBIC))
