"""What a first sampling has found out about the layers, for the later ones of the same video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Calibration:
    """densities: layer -> what it computes, 1 for all; layers that were never sparse are not among them. length: of the
    sequence in which that was found, in tokens."""

    length: int
    densities: Mapping[int, float]

    def values(self) -> dict[str, Any]:
        """For a JSON file, from which `of` makes it again."""
        return {"length": self.length, "densities": {str(layer): density for layer, density in self.densities.items()}}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Calibration:
        return cls(values["length"], {int(layer): density for layer, density in values["densities"].items()})
