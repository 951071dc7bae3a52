"""Cards for the table on the node: one per person of each side, before binding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks import NAMES, PALETTE, PEOPLE_LIMIT
from ..media.clips import Clip
from .binding import BY_POSITION, numbered_matches, numbered_pairs, numbers
from .mask_set import MaskSet
from .mask_sources import Source

THUMBNAIL = 128, 96  # height, width
_GOOD = 0.8  # of the person's median area: a frame with at least that much shows the person well
_MARGIN = 0.06  # around the person, as a share of its height or width
_SURROUNDINGS = 0.4  # brightness of everything else


@dataclass(frozen=True)
class Card:
    """One person of one side.

    number: as in `binding`. place: index in `names`. colour: hex, the mask's own if `painted`, else that of the number,
    "" after the sixth. name: from the mask, or "". coverage: mean share of the picture in the frames that show the
    person. seen: number of these frames. front: place from the front if the mask knows it, else None. nearest:
    for people of the reference, the driving number under "by position"; None for none. overlapping, overlap: the same
    under "by overlap", with their intersection over union.
    thumbnail: uint8 [128, 96, 3].
    """

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
    nearest: int | None
    overlapping: int | None
    overlap: float
    thumbnail: Tensor

    def values(self) -> dict[str, str | float | None]:
        """Everything except the thumbnail, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "thumbnail"}


def cards(driving: Source, reference: Source, video: Clip | None, picture: Tensor | None) -> list[Card]:
    """Cards of the reference's people, then of the driving video's; people that are never seen get none.

    reference: masks of the primary. video: of the same size and length as the driving masks, or None. picture: the
    primary reference [H, W, 3], uint8 or float in 0..1, or None. Without pictures, thumbnails show the mask.
    """
    nearest = dict(numbered_pairs(driving, reference, BY_POSITION))
    matches = {person: (other, overlap) for person, other, overlap in numbered_matches(driving, reference)}
    return [*_side(reference, None if picture is None else lambda frame: picture, nearest, matches),
            *_side(driving, None if video is None else lambda frame: video.read(frame, frame + 1)[0], {}, {})]


def _side(source: Source, picture: Callable[[int], Tensor] | None, nearest: dict[int, int],
          matches: dict[int, tuple[int, float]]) -> list[Card]:
    made = []
    for person, number in enumerate(numbers(source)):
        extent = source.mask_set.extents[person]
        if not extent.seen.any():
            continue
        frame = good_frame(extent.area)
        known = number <= PEOPLE_LIMIT
        made.append(Card(
            source.name, number, person, _hex(number) if known else "", NAMES[number - 1] if known else "",
            source.labels is not None, source.names[person] if source.names else "",
            float(extent.area[extent.seen].mean() / (source.mask_set.height * source.mask_set.width)),
            int(extent.seen.sum()), source.front.index(person) if person in source.front else None,
            nearest.get(number), *matches.get(number, (None, 0.0)),
            thumbnail(source.mask_set, person, frame, picture and picture(frame), number)))
    return made


def good_frame(area: np.ndarray) -> int:
    """The first frame that shows a person at about its usual size. area: pixels [T], not all 0."""
    return int((area >= _GOOD * np.median(area[area > 0])).argmax())


def thumbnail(mask_set: MaskSet, person: int, frame: int, picture: Tensor | None, number: int) -> Tensor:
    """A frame cropped to a person, everything else darkened, uint8 [128, 96, 3]; without a picture [H, W, 3], the mask
    in the colour of the number."""
    left, top, right, bottom = _window(mask_set.extents[person].box[frame], mask_set.size)
    rows, columns = (np.arange(first, last).clip(0, side - 1)
                     for first, last, side in ((top, bottom, mask_set.height), (left, right, mask_set.width)))
    mask = torch.from_numpy(mask_set.frame(frame)[person][rows][:, columns])[..., None]
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
    """A window of the thumbnail's shape around a box, moved into the picture as far as it fits."""
    left, top, right, bottom = map(int, box)
    height = max((bottom - top) * (1 + 2 * _MARGIN), (right - left) * (1 + 2 * _MARGIN) * THUMBNAIL[0] / THUMBNAIL[1])
    sides = round(height), round(height * THUMBNAIL[1] / THUMBNAIL[0])
    firsts = [max(0, min((low + high - side) // 2, whole - side)) if side <= whole else (whole - side) // 2
              for low, high, side, whole in ((top, bottom, sides[0], size[0]), (left, right, sides[1], size[1]))]
    return firsts[1], firsts[0], firsts[1] + max(sides[1], 1), firsts[0] + max(sides[0], 1)


def _hex(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[number - 1])
