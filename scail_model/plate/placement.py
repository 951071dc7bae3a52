"""Where the made picture lies on the plate, frame by frame."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..geometry import cover_map
from .resample import Affine

Size = tuple[int, int]  # height, width


class Rectangle(NamedTuple):
    """Edges on the plate, in its pixels; fractions are parts of a pixel."""

    left: float
    top: float
    right: float
    bottom: float


class Placement(Protocol):
    """plate_size, size: of the plate and of the made picture. key: of all that it says."""

    @property
    def plate_size(self) -> Size: ...

    @property
    def size(self) -> Size: ...

    @property
    def key(self) -> str: ...

    def at(self, frame: int) -> Affine:
        """From the plate to the made picture."""
        ...


class Covered(NamedTuple):
    """The made picture shows what `geometry.cover_crop` leaves of the plate."""

    plate_size: Size
    size: Size

    @property
    def key(self) -> str:
        return f"covered {self.plate_size} {self.size}"

    def at(self, frame: int) -> Affine:
        return Affine(*cover_map(self.plate_size, *self.size))


def covered_part(placement: Placement, frame: int) -> Rectangle:
    """What of the plate the made picture shows."""
    (across, down), (left, top) = placement.at(frame).inverse
    height, width = placement.size
    return Rectangle(-left, -top, width * across - left, height * down - top)
