"""A reference picture on the model's canvas, scaled and moved by a placement, with what it does not cover filled.

Nothing is cropped to the shape of the result, as `geometry.cover_crop` does. Lengths, canvas and label maps are those
of `framing`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..levels import to_levels
from ..masks import people
from .placement import Box, Placement, box_of, centres, cover, covered, resample_labels

BLACK_FILL, EXTEND_FILL = "black", "extend"
FILLS = (BLACK_FILL, EXTEND_FILL)

_RIM = 0.01  # of the canvas: hair and soft edges that a mask leaves to the background
_SOFTEN = 0.6  # width of the blur by distance from the picture
_SWEEPS = 6
_GAP = 8  # pixels between panels
_PAPER, _BOX, _LINE = (20, 20, 22), (255, 255, 255), (255, 190, 0)


def reframe(image: Tensor, labels: Tensor, placement: Placement, height: int, width: int,
            fill: str) -> tuple[Tensor, Tensor]:
    """Put a picture and its label map on a canvas.

    image float [h, w, 3] in 0..1, labels uint8 [h, w]. Returns float32 [height, width, 3] in 0..1 (bicubic with
    antialiasing, clamped) and uint8 [height, width] (nearest; 0 where there is nobody or no picture). fill is what the
    picture does not cover: "black", or "extend", which carries on the colours of the picture's edge, the more blurred
    the farther away. Before that people give way to the background round them, so that none is smeared outwards.

    Raises ValueError if the sizes differ, for another fill, and if no background is seen that could be extended.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"The mask is {labels.shape[1]}x{labels.shape[0]} and the picture {image.shape[1]}x"
                         f"{image.shape[0]} pixels, but both must have one size: make the mask from the picture.")
    if fill not in FILLS:
        raise ValueError(f'fill is "{fill}", but it must be {" or ".join(FILLS)}: choose one of them.')
    picture, placed = _resample(image, placement, height, width), resample_labels(labels, placement, height, width)
    inside = covered(labels.shape, placement, height, width)
    if fill == EXTEND_FILL and not inside.all():
        picture = torch.where(inside[..., None], picture, _surroundings(picture, inside, _grown(people(placed))))
    return picture, placed


def before_after(image: Tensor, labels: Tensor, result: Tensor, result_labels: Tensor, frame: Tensor | None,
                 frame_labels: Tensor) -> Tensor:
    """The reference as the model would see it without reframing, as it sees it now, and the driving frame.

    image [h, w, 3] float and labels [h, w] before `reframe`; result [H, W, 3] and result_labels [H, W] after; frame
    [h', w', 3], uint8 or float, of any size, or None for two panels; frame_labels uint8 [h'', w'']. Every panel has a
    box round its person; the lines at the driving person's head and feet run through all panels. Returns float32
    [H, 2 or 3 times W plus gaps, 3] in 0..1.
    """
    height, width = result_labels.shape
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
    for index, (name, _, shown) in enumerate(panels):
        _draw_box(page, index * (width + _GAP), name, box_of(people(shown)), shown.shape, thick)
    return torch.from_numpy(np.array(page)).float() / 255


def _resample(image: Tensor, placement: Placement, height: int, width: int) -> Tensor:
    """[h, w, 3] -> float32 [height, width, 3] in 0..1, black outside; exact for any part of a pixel."""
    rows, columns = (_cubic(places, side, placement.scale)
                     for places, side in zip(centres(placement, height, width), image.shape[:2], strict=True))
    return torch.einsum("yh,hwc,xw->yxc", rows, image[..., :3].float().cpu(), columns).clamp(0, 1)


def _cubic(places: Tensor, side: int, scale: float) -> Tensor:
    """Weights [n, side] of bicubic interpolation at `places` [n], as torch's with antialiasing; 0 outside."""
    distance = ((torch.arange(side) + 0.5 - places[:, None]) * min(scale, 1)).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
    weights = weights * ((places >= 0) & (places < side))[:, None]
    return (weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)).float()


def _grown(mask: Tensor) -> Tensor:
    """bool [H, W], with a rim round it."""
    reach = max(1, round(_RIM * max(mask.shape)))
    return F.max_pool2d(mask.float()[None], 2 * reach + 1, stride=1, padding=reach)[0] > 0


def _surroundings(picture: Tensor, inside: Tensor, people_near: Tensor) -> Tensor:
    """[H, W, 3] for what is not `inside`, both bool [H, W]: the nearest colour of the picture's edge, blurred."""
    known = inside & ~people_near
    if not known.any():
        raise ValueError('No background of the reference is seen, but fill is "extend", which needs some: use "black", '
                         "or check the mask.")
    background = _membrane(picture.movedim(-1, 0)[None], known[None, None].float())  # [1, 3, H, W]
    (y, edge_y), (x, edge_x) = (_to_edge(inside.any(dim=axis)) for axis in (1, 0))
    result = edges = background[..., edge_y[:, None], edge_x]
    distance = torch.hypot((y - edge_y).float()[:, None], (x - edge_x).float())
    depth = (_SOFTEN * distance).clamp(min=1).log2()
    for level in range(math.ceil(depth.max().item())):  # each is blurred twice as wide as the one before
        small = F.interpolate(edges, [-(-side // 2**level) for side in inside.shape], mode="area")
        for _ in range(3):
            small = _blurred(small)
        result = torch.lerp(result, F.interpolate(small, inside.shape, mode="bilinear"), (depth - level).clamp(0, 1))
    return result[0].movedim(0, -1)


def _to_edge(inside: Tensor) -> tuple[Tensor, Tensor]:
    """0, 1, ... [n], and the nearest of them where `inside` [n] is true, which it is in one piece."""
    first, last = inside.nonzero()[[0, -1], 0]
    places = torch.arange(len(inside))
    return places, places.clamp(first, last)


def _membrane(picture: Tensor, known: Tensor) -> Tensor:
    """Pictures [1, 3, H, W] with smooth colours where known [1, 1, H, W] is 0: every pixel the mean of those round it.

    Solved at half the size first, which leaves little to do.
    """
    size = picture.shape[2:]
    if max(size) == 1:
        return picture
    half = [-(-side // 2) for side in size]
    share = F.interpolate(known, half, mode="area")
    small = F.interpolate(picture * known, half, mode="area") / share.clamp(min=1e-6)
    result = F.interpolate(_membrane(small, (share > 0).float()), size, mode="bilinear")
    for _ in range(_SWEEPS):
        result = torch.lerp(_blurred(result), picture, known)
    return result


def _blurred(picture: Tensor) -> Tensor:
    return F.avg_pool2d(picture, 3, stride=1, padding=1, count_include_pad=False)


def _covering(picture: Tensor, height: int, width: int) -> Tensor:
    return _resample(picture, cover(picture.shape[:2], height, width), height, width)


def _covering_labels(labels: Tensor, height: int, width: int) -> Tensor:
    return resample_labels(labels, cover(labels.shape, height, width), height, width)


def _draw_lines(page: Image.Image, box: Box | None, thick: int) -> None:
    """Lines through the whole page just above a head and just below the feet."""
    if box is None:
        return
    draw = ImageDraw.Draw(page)
    for top in (max(box.top - thick, 0), min(box.bottom, page.height - thick)):
        draw.rectangle((0, top, page.width - 1, top + thick - 1), _LINE)


def _draw_box(page: Image.Image, left: int, name: str, box: Box | None, size: tuple[int, int], thick: int) -> None:
    """One panel's box and caption. The panel begins at `left` and has `size` (height, width)."""
    draw = ImageDraw.Draw(page)
    text = f"{name}: nobody in the picture"
    if box is not None:
        text = f"{name}: {box.height / size[0]:.0%} of the height"
        draw.rectangle((left + box.left, box.top, left + box.right - 1, box.bottom - 1), outline=_BOX, width=thick)
    font = ImageFont.load_default(max(11, min(size[0] // 24, size[1] // 18)))
    place = (left + 2 * thick, 2 * thick)
    room = draw.textbbox(place, text, font=font)
    draw.rectangle((room[0] - thick, room[1] - thick, room[2] + thick, room[3] + thick), _PAPER)
    draw.text(place, text, _BOX, font)
