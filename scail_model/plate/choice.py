"""What a user can choose of the plate: what was filmed, and stays where no person is made anew."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry import same_shape
from ..identity.identities import REPLACEMENT, Identities
from ..identity.mask_set import MaskSet
from ..media.clips import Clip
from .edge import Edge
from .person_crop import PersonCrop
from .placement import Covered, Placement, Size
from .plate import Plate, check_even

PLATE = "plate"  # what messages call masks of the made people
OFF, COMPOSITE, LOCK = "off", "composite", "lock"
PLATES = {
    OFF: "the whole picture is made anew",
    COMPOSITE: "outside the people stays what was filmed, at the driving video's own size",
    LOCK: "also while sampling, so that what is made fits what stays",
}
MEASURED, DRIVEN = "measured", "driven"
OUTLINES = {
    MEASURED: "the driving mask, and where the made person grows out of it, as bigger hair or a skirt",
    DRIVEN: "the driving mask alone",
}
GROW = FEATHER = 8  # pixels, as many as the model's smallest unit of a picture


@dataclass(frozen=True)
class Choice:
    """kind: a key of PLATES. grow, feather: pixels of the size at which people are made. outline: a key of OUTLINES.
    given: masks of the made people, from a first pass, None without. crop: where the person lies whom the driving video
    shows through a window; None where it shows all of what was filmed."""

    kind: str = OFF
    grow: int = GROW
    feather: int = FEATHER
    outline: str = MEASURED
    given: MaskSet | None = None
    crop: PersonCrop | None = None

    def plate(self, clip: Clip, identities: Identities, size: Size, *, halved_colours: bool, full: Size | None = None
              ) -> Plate | None:
        """The plate of a video, None where all of it is made. clip, identities: as a run reads them. size: (height,
        width) at which people are made. halved_colours: whether the codec stores colours at half the size. full: the
        size at which they would be made if this were no draft.

        Raises ValueError for what cannot be: animation, an odd size in halved colours, and masks that do not fit.
        """
        if self.kind == OFF:
            return None
        self.check_mode(identities)
        clip, identities, placement = self.laid(clip, identities, size)
        if halved_colours:
            check_even(clip.size)
        scale = 1 if full is None else size[0] / full[0]
        return Plate(clip, placement, identities,
                     Edge(round(self.grow * scale), round(self.feather * scale)), self._masks(clip, size),
                     self.outline == MEASURED and self.whole, self.whole, self.kind == LOCK)

    @property
    def whole(self) -> bool:
        """Whether people are made whole, and no head alone."""
        return self.crop is None or self.crop.whole

    def laid(self, clip: Clip, identities: Identities, size: Size) -> tuple[Clip, Identities, Placement]:
        """What was filmed, whose masks lie on it, and where on it the made picture lies. clip, identities, size: as for
        `plate`."""
        if self.crop is None:
            return clip, identities, Covered(clip.size, size)
        return self.crop.clip, self.crop.identities, self.crop.placement(size)

    def check_mode(self, identities: Identities) -> None:
        """Raise ValueError for a plate where nothing that was filmed is shown."""
        if self.kind != OFF and not identities.replacement:
            raise ValueError(f"plate is {self.kind}, but the mode is {identities.mode}, which shows the reference's "
                             f"scene and keeps nothing of the driving video: set plate to {OFF}, or bind the "
                             f"identities for {REPLACEMENT}.")

    def _masks(self, clip: Clip, size: Size) -> MaskSet | None:
        """The given masks, one for each frame that is read."""
        if self.given is None:
            return None
        if not any(same_shape(self.given.size, other) for other in (size, clip.size)):
            height, width = self.given.size
            raise ValueError(f"plate_masks have {width}x{height} pixels, the shape neither of the made picture "
                             f"({size[1]}x{size[0]}) nor of the driving video ({clip.width}x{clip.height}): make "
                             "them from a first pass of this video.")
        if len(self.given) == len(clip):
            return self.given
        if len(self.given) != clip.stored:
            raise ValueError(f"plate_masks have {len(self.given)} frames, but the result has {len(clip)}: make them "
                             "from a first pass of this video.")
        return self.given.picked(clip.indices)


def check_somebody(masks: MaskSet) -> None:
    """Raise ValueError for masks of nobody."""
    if not any(extent.seen.any() for extent in masks.extents):
        raise ValueError("plate_masks show nobody: give masks of the made people, in colours or white on black, or "
                         "take them away.")
