"""What a user can choose of the plate: what was filmed, and stays where no person is made anew."""

from __future__ import annotations

from dataclasses import dataclass

from ..identity.identities import REPLACEMENT, Identities
from ..identity.mask_set import MaskSet

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
    given: masks of the made people, from a first pass, None without."""

    kind: str = OFF
    grow: int = GROW
    feather: int = FEATHER
    outline: str = MEASURED
    given: MaskSet | None = None

    def check_mode(self, identities: Identities) -> None:
        """Raise ValueError for a plate where nothing that was filmed is shown."""
        if self.kind != OFF and not identities.replacement:
            raise ValueError(f"plate is {self.kind}, but the mode is {identities.mode}, which shows the reference's "
                             f"scene and keeps nothing of the driving video: set plate to {OFF}, or bind the "
                             f"identities for {REPLACEMENT}.")
