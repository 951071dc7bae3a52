"""What a page needs to let somebody choose who is who: a card for each person of both sides, before they are bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks import NAMES, PALETTE, PEOPLE_LIMIT
from ..media.clips import Clip
from .binding import BY_POSITION, numbered_pairs, numbers
from .mask_set import Planes
from .mask_sources import Source

THUMBNAIL = 128, 96  # height, width
_GOOD = 0.8  # of a person's median area in the frames that show it: a frame with so much shows it well
_MARGIN = 0.06  # of the person's height or width, round it
_SURROUNDINGS = 0.4  # brightness of what is not the person


@dataclass(frozen=True)
class Card:
    """One person of one side. number: as `binding` has it; place: in `names`, from 0. painted: whether the mask has
    colours of its own, else colour (hex, "" behind the sixth) is that of the number. name: what the mask knows, or "".
    coverage: share of the picture, of driving frames the mean of those that show the person. seen: their number.
    front: place among the people of a mask that knows who is in front, else None. same, nearest: for people of the
    reference, the driving number that an empty binding and one by position give, None for nobody. thumbnail: uint8
    [128, 96, 3]."""

    side: str
    number: int
    place: int
    colour: str
    colour_name: str
    painted: bool
    name: str
    coverage: float
    seen: int
    front: int | None
    same: int | None
    nearest: int | None
    thumbnail: Tensor

    def said(self) -> dict[str, str | float | None]:
        """Everything but the thumbnail, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "thumbnail"}


def cards(driving: Source, reference: Source, video: Clip | None, picture: Tensor | None) -> list[Card]:
    """Cards of the reference's people and of the driving video's, each side in its order; who is never seen has none.

    reference: the primary picture's masks. video: as large and long as the driving masks, or None. picture: the primary
    reference [H, W, 3], uint8 or float in 0..1, or None. Without pictures thumbnails show the mask.
    """
    same, nearest = (_chosen(driving, reference, binding) for binding in ("", BY_POSITION))
    return [*_side(reference, None if picture is None else lambda frame: picture, same, nearest),
            *_side(driving, None if video is None else lambda frame: video.frames(frame, frame + 1)[0], {}, {})]


def _side(source: Source, picture: Callable[[int], Tensor] | None, same: dict[int, int], nearest: dict[int, int]
          ) -> list[Card]:
    made = []
    for plane, number in enumerate(numbers(source)):
        extent = source.planes.extents[plane]
        if not extent.seen.any():
            continue
        frame = good_frame(extent.area)
        known = number <= PEOPLE_LIMIT
        made.append(Card(
            source.name, number, plane, _hex(number) if known else "", NAMES[number - 1] if known else "",
            source.labels is not None, source.names[plane] if source.names else "",
            float(extent.area[extent.seen].mean() / (source.planes.height * source.planes.width)),
            int(extent.seen.sum()), source.front.index(plane) if plane in source.front else None,
            same.get(number), nearest.get(number),
            thumbnail(source.planes, plane, frame, picture and picture(frame), number)))
    return made


def good_frame(area: np.ndarray) -> int:
    """The first frame in which a person is about as large as in most that show it. area: pixels [T], not all 0."""
    return int((area >= _GOOD * np.median(area[area > 0])).argmax())


def thumbnail(planes: Planes, plane: int, frame: int, picture: Tensor | None, number: int) -> Tensor:
    """A person cut out of a frame, everything else darker; without a picture [H, W, 3] its mask in the number's colour.
    uint8 [128, 96, 3]."""
    left, top, right, bottom = _window(planes.extents[plane].box[frame], planes.size)
    rows, columns = (np.arange(first, last).clip(0, side - 1)
                     for first, last, side in ((top, bottom, planes.height), (left, right, planes.width)))
    mask = torch.from_numpy(planes.frame(frame)[plane][rows][:, columns])[..., None]
    if picture is None:
        colour = PALETTE[number - 1] if number <= PEOPLE_LIMIT else (160, 160, 160)
        pixels = mask * torch.tensor(colour, dtype=torch.float32)
    else:
        pixels = picture[rows][:, columns, :3].cpu()
        pixels = pixels.float() * (1 if pixels.dtype == torch.uint8 else 255)
        pixels = torch.where(mask, pixels, _SURROUNDINGS * pixels)
    small = F.interpolate(pixels.movedim(-1, 0)[None], THUMBNAIL, mode="bilinear", antialias=True, align_corners=False)
    return small[0].movedim(0, -1).round().clamp(0, 255).to(torch.uint8)


def _window(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The thumbnail's shape round a box, moved into the picture as far as it fits."""
    left, top, right, bottom = map(int, box)
    height = max((bottom - top) * (1 + 2 * _MARGIN), (right - left) * (1 + 2 * _MARGIN) * THUMBNAIL[0] / THUMBNAIL[1])
    sides = round(height), round(height * THUMBNAIL[1] / THUMBNAIL[0])
    firsts = [max(0, min((low + high - side) // 2, whole - side)) if side <= whole else (whole - side) // 2
              for low, high, side, whole in ((top, bottom, sides[0], size[0]), (left, right, sides[1], size[1]))]
    return firsts[1], firsts[0], firsts[1] + max(sides[1], 1), firsts[0] + max(sides[0], 1)


def _chosen(driving: Source, reference: Source, binding: str) -> dict[int, int]:
    """Driving numbers by those of the reference; empty where the people do not pair by themselves."""
    try:
        return dict(numbered_pairs(driving, reference, binding))
    except ValueError:
        return {}


def _hex(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[number - 1])
