"""Preview of a reframing: the reference before and after, and the driving frame, side by side."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..geometry import size_of
from ..inputs.placement import Box, box_of, cover, resample_labels
from ..inputs.reframe import resample
from ..levels import to_levels
from ..masks import people
from .lettering import as_tensor

_GAP = 8  # pixels between panels
_DIM, _DRAWN = 0.5, 0.1  # of a picture under a drawing; and what is drawn in that
_PAPER, _BOX, _LINE = (20, 20, 22), (255, 255, 255), (255, 190, 0)


def before_after(image: Tensor, labels: Tensor, result: Tensor, result_labels: Tensor, frame: Tensor | None,
                 frame_labels: Tensor) -> Tensor:
    """Draw the reference as the model would see it without reframing, the reframed one, and the driving frame.

    image [h, w, 3] float and labels [h, w]: before reframing. result [H, W, 3] and result_labels [H, W]: after it.
    frame: [h', w', 3], uint8 or float, of any size, or None for two panels. frame_labels: uint8 [h'', w'']. Each panel
    has a box around its person; lines at the driving person's head and feet run through all panels. Returns float32
    [H, 2 or 3 times W plus gaps, 3] in 0..1.
    """
    height, width = size_of(result_labels)
    driving_labels = _covering_labels(frame_labels, height, width)
    panels = [("before", _covering(image, height, width), _covering_labels(labels, height, width)),
              ("after", result, result_labels)]
    if frame is not None:
        pixels = frame.float() / 255 if frame.dtype == torch.uint8 else frame
        panels.append(("driving frame", _covering(pixels, height, width), driving_labels))
    page = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height), _PAPER)
    thick = max(2, height // 250)
    for index, (_, picture, _) in enumerate(panels):
        page.paste(Image.fromarray(to_levels(picture).cpu().numpy()), (index * (width + _GAP), 0))
    _draw_lines(page, box_of(people(driving_labels)), thick)
    for index, (name, _, panel_labels) in enumerate(panels):
        _draw_box(page, index * (width + _GAP), name, box_of(people(panel_labels)), (height, width), thick)
    return as_tensor(page)


def drawn_over(image: Tensor, drawing: Tensor, height: int, width: int) -> Tensor:
    """A reference picture, darkened, with a driving video's drawing on black over it: both cover the size and are
    cropped, as the model sees them.

    image: [h, w, 3] float. drawing: uint8 [h', w', 3]. Returns float32 [height, width, 3] in 0..1.
    """
    under, over = _covering(image, height, width) * _DIM, _covering(drawing.float() / 255, height, width)
    return torch.where(over.amax(-1, keepdim=True) > _DRAWN, over, under).clamp(0, 1)


def _covering(picture: Tensor, height: int, width: int) -> Tensor:
    return resample(picture, cover(size_of(picture), height, width), height, width)


def _covering_labels(labels: Tensor, height: int, width: int) -> Tensor:
    return resample_labels(labels, cover(size_of(labels), height, width), height, width)


def _draw_lines(page: Image.Image, box: Box | None, thick: int) -> None:
    """Lines across the whole page just above the head and just below the feet."""
    if box is None:
        return
    draw = ImageDraw.Draw(page)
    for top in (max(box.top - thick, 0), min(box.bottom, page.height - thick)):
        draw.rectangle((0, top, page.width - 1, top + thick - 1), _LINE)


def _draw_box(page: Image.Image, left: int, name: str, box: Box | None, size: tuple[int, int], thick: int) -> None:
    """Box and caption of one panel. The panel begins at `left` and has `size` (height, width)."""
    draw = ImageDraw.Draw(page)
    text = f"{name}: no person in the picture"
    if box is not None:
        text = f"{name}: {box.height / size[0]:.0%} of the height"
        draw.rectangle((left + box.left, box.top, left + box.right - 1, box.bottom - 1), outline=_BOX, width=thick)
    font = ImageFont.load_default(max(11, min(size[0] // 24, size[1] // 18)))
    place = (left + 2 * thick, 2 * thick)
    room = draw.textbbox(place, text, font=font)
    draw.rectangle((room[0] - thick, room[1] - thick, room[2] + thick, room[3] + thick), _PAPER)
    draw.text(place, text, _BOX, font)
