"""Previews of what the model will see: people in their colours with name tags, and the packed mask channels.

Drawn with torch and Pillow. Pictures are ComfyUI's: [..., H, W, 3], RGB. Colours and numbers are those of `identities`:
tags and rows of channels show the same number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ..levels import to_levels
from ..masks import NAMES, WHITE, paint, people
from .lettering import FAINT, INK, LINE, PAPER, TEXT, as_tensor, write
from .tags import colour_of, letters_for, tag, with_tags

_PERSON_SHARE = 0.45  # of the colour in the blend
_SURROUNDINGS_SHARE = 0.25  # less, so that the scene stays visible
_OUTLINE = 2  # pixels
_ROWS = (7, 2, 3, 1, 6, 4, 5)  # label of each row of channels: white, red, green, blue, yellow, magenta, cyan
_NAME = 80  # letters of a name, before it is cut to fit
_CELL = 192  # pixels, about the longer side of a channel's picture
_SHEET_WIDTH = 1600
_MOST_FRAMES = 64


def chosen_frames(total: int, count: int) -> list[int]:
    """`count` indices spread evenly over 0 .. total-1, first and last included; all if there are fewer.

    Raises ValueError for less than one frame.
    """
    if total < 1 or count < 1:
        raise ValueError(f"The preview shows {count} of {total} frames, but it needs at least one: choose more.")
    count = min(count, total)
    return [index * (total - 1) // max(count - 1, 1) for index in range(count)]


def read_frames(text: str, total: int) -> list[int]:
    """Numbers of frames, as in "0, 40, 80". Raises ValueError for text that is not this, and for frames that a video of
    `total` frames has not."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 0 < len(numbers) <= _MOST_FRAMES or not all(0 <= number < total for number in numbers):
        raise ValueError(f'frames is "{text}", but it must be at most {_MOST_FRAMES} frame numbers from 0 to '
                         f"{total - 1} with commas between them: correct it, or leave it empty.")
    return numbers


def overlay(frames: Tensor | None, labels: Tensor, names: Mapping[int, str], indices: Sequence[int], *,
            longest: int = 768) -> Tensor:
    """Mark people with translucent colours, outlines, and a tag with number and name above each head.

    frames: [T, H', W', 3], uint8 or float in 0..1, resized to the label maps; None gives flat colours. labels: uint8
    [T, H, W] as in `identities`; black surroundings darken the picture, white ones lighten it. names: by label; people
    without a name get the number only. indices: frame numbers to write at the top left; empty for still pictures.
    Returns [T, h, w, 3] float32 in 0..1, scaled down (never up) until no side is longer than `longest` pixels.

    Raises ValueError if the numbers of frames, label maps and indices differ.
    """
    if frames is not None:
        _refuse_other_count("pictures", len(frames), len(labels))
    if indices:
        _refuse_other_count("frame numbers", len(indices), len(labels))
    shrink = min(1, longest / max(labels.shape[1:]))
    height, width = (max(1, round(side * shrink)) for side in labels.shape[1:])
    labels = F.interpolate(labels[:, None].cpu(), (height, width), mode="nearest-exact")[:, 0]  # [T, h, w]
    colours = paint(labels).movedim(1, -1)  # uint8 [T, h, w, 3]
    letters = letters_for(height, width)
    tags = {label: tag(f"{label}  {names.get(label, '')[:_NAME]}".rstrip(), letters, width, label)
            for label in labels[people(labels)].unique().tolist()}
    pictures = torch.empty(colours.shape, dtype=torch.float32)
    for index in range(len(labels)):
        picture = colours[index]
        if frames is not None:
            picture = _blend(_resized(frames[index], height, width), picture, labels[index])
        line = tag(f"frame {indices[index]}", letters, width) if indices else None
        pictures[index] = with_tags(picture, labels[index], tags, line)
    return pictures


def channels(packed: Tensor, latent_frame: int = 0, *, title: str) -> Tensor:
    """Sheet of the 28 mask channels in one latent frame: a row per colour, a column per video frame.

    packed: [28, T', h, w] in 0..1, from `masks.pack_mask` or `masks.pack_driving_mask`. Every latent cell is a square
    in the row's colour times its value; an empty row is a narrow strip labelled "empty". Returns [H, W, 3] float32 in
    0..1.

    Raises ValueError for another shape and for a latent frame that does not exist.
    """
    if packed.ndim != 4 or packed.shape[0] != 28:
        raise ValueError(f"The packed mask has shape {list(packed.shape)}, but it must be [28, T', h, w]: pack it.")
    if not 0 <= latent_frame < packed.shape[1]:
        last = packed.shape[1] - 1
        raise ValueError(f"The latent frame to show is {latent_frame}, but the last one is {last}: choose 0 to {last}.")
    maps = packed[:, latent_frame].float().cpu().unflatten(0, (4, 7))  # [4, 7, h, w], channel = 7 * frame + colour
    enlarge = max(1, round(_CELL / max(maps.shape[2:])))
    maps = maps.repeat_interleave(enlarge, 2).repeat_interleave(enlarge, 3)
    height, width = maps.shape[2:]
    peaks = maps.amax((0, 2, 3)).tolist()  # by row
    strip, gap, margin = 2 * TEXT, TEXT // 2, 11 * TEXT  # a line of text; between cells; beside the rows
    tops = np.cumsum([2 * strip, *((height if peak else strip) + gap for peak in peaks)]).tolist()
    lefts = [margin + frame * (width + gap) for frame in range(4)]
    page = Image.new("RGB", (lefts[-1] + width + gap, tops[-1]), PAPER)
    write(page, gap, 0, title, size=TEXT + 3)
    for frame, left in enumerate(lefts):
        shown = max(0, 4 * latent_frame - 3 + frame)  # the first latent frame holds the first frame four times
        write(page, left, strip, f"frame {shown}", FAINT, room=width)
    for row, top in enumerate(tops[:-1]):
        _row_label(page, gap, top, row, peaks[row], margin - gap)
        for left in lefts:
            bottom = top + (height if peaks[row] else strip)
            ImageDraw.Draw(page).rectangle((left - 1, top - 1, left + width, bottom), outline=LINE)
            if not peaks[row]:
                write(page, left + gap, top, "empty", LINE, room=width - gap)
    sheet = as_tensor(page)
    for row, frame in itertools.product((row for row in range(7) if peaks[row]), range(4)):
        cell = maps[frame, row, :, :, None] * (colour_of(_ROWS[row]) / 255)
        sheet[tops[row] : tops[row] + height, lefts[frame] : lefts[frame] + width] = cell
    return sheet


def contact_sheet(pictures: Sequence[tuple[Tensor, str]]) -> Tensor:
    """Arrange pictures with captions in rows of at most 1600 pixels, the same number in each row.

    pictures: [h, w, 3] uint8 or float in 0..1, of any sizes, not scaled; captions are cut to the width of the column.
    Returns [H, W, 3] float32 in 0..1.

    Raises ValueError for no pictures.
    """
    if not pictures:
        raise ValueError("The sheet has 0 pictures, but it needs at least one: connect something to show.")
    gap, strip = TEXT // 2, 2 * TEXT
    width = max(picture.shape[1] for picture, _ in pictures)
    rows = -(-len(pictures) // max(1, (_SHEET_WIDTH - gap) // (width + gap)))
    columns = -(-len(pictures) // rows)
    lines = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    tops = np.cumsum([0, *(max(picture.shape[0] for picture, _ in line) + strip + gap for line in lines)]).tolist()
    page = Image.new("RGB", (gap + columns * (width + gap), tops[-1]), PAPER)
    for index, (picture, caption) in enumerate(pictures):
        left, top = gap + index % columns * (width + gap), tops[index // columns]
        write(page, left, top, caption, room=width)
        page.paste(Image.fromarray(to_levels(picture).cpu().numpy()), (left, top + strip))
    return as_tensor(page)


def _refuse_other_count(name: str, count: int, labels: int) -> None:
    if count != labels:
        raise ValueError(f"The preview has {count} {name}, but {labels} label maps: pass one for each.")


def _blend(picture: Tensor, colours: Tensor, labels: Tensor) -> Tensor:
    """Blend colours into a picture, both uint8 [h, w, 3], and outline the people; labels [h, w]."""
    person = people(labels)
    shares = torch.where(person, _PERSON_SHARE, _SURROUNDINGS_SHARE)
    both_ways = torch.stack((labels, 255 - labels)).float()
    highest, lowest = F.max_pool2d(both_ways, 2 * _OUTLINE + 1, stride=1, padding=_OUTLINE)
    edge = highest + lowest != 255  # another label within the width of the outline
    shares = torch.where(person & edge, 1.0, shares)[..., None]
    return (picture + shares * (colours.float() - picture)).round().to(torch.uint8)


def _row_label(page: Image.Image, left: int, top: int, row: int, peak: float, room: int) -> None:
    """Number and colour of a row of channels and, unless it is empty, the channel numbers and the highest value."""
    label = _ROWS[row]
    colour = colour_of(label).tolist()
    chip = Image.new("RGB", (TEXT - 3, TEXT - 3), tuple(colour if peak else [level // 3 + 20 for level in colour]))
    page.paste(chip, (left, top + TEXT // 2 + 2))
    name = "white: surroundings" if label == WHITE else f"{label} {NAMES[label - 1]}"
    write(page, left + TEXT + 3, top, name, INK if peak else FAINT, room=room - TEXT - 3)
    if peak:
        numbers = ", ".join(str(7 * frame + row) for frame in range(4))
        for line, text in enumerate((f"channels {numbers}", f"values up to {peak:.2f}"), start=1):
            write(page, left + TEXT + 3, top + line * (TEXT + 3), text, FAINT, TEXT - 3, room - TEXT - 3)


def _resized(frame: Tensor, height: int, width: int) -> Tensor:
    """[H', W', 3 or 4] -> uint8 [height, width, 3]; alpha is ignored, as everywhere."""
    image = Image.fromarray(to_levels(frame[..., :3]).cpu().numpy())
    return torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC)))
