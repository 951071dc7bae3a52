"""What a first sampling has found out about the layers, for the later ones of the same video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Calibration:
    """densities: layer -> what it computes, 1 for all; layers that were never sparse are not among them. length: of the
    sequence in which that was found, in tokens. others: the same densities of prompts beside the first, by number."""

    length: int
    densities: Mapping[int, float]
    others: Mapping[int, Mapping[int, float]] = field(default_factory=dict)

    def of_prompt(self, number: int) -> Mapping[int, float]:
        """A prompt's densities; the first one's for one that was not there."""
        return self.others.get(number, self.densities)

    def values(self) -> dict[str, Any]:
        """For a JSON file, from which `of` makes it again."""
        return {"length": self.length, "densities": _named(self.densities),
                "others": {str(number): _named(densities) for number, densities in self.others.items()}}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Calibration:
        # of before prompts were told apart there are no others
        others = {int(number): _numbered(densities) for number, densities in values.get("others", {}).items()}
        return cls(values["length"], _numbered(values["densities"]), others)


def _named(densities: Mapping[int, float]) -> dict[str, float]:
    return {str(layer): density for layer, density in densities.items()}


def _numbered(densities: Mapping[str, float]) -> dict[int, float]:
    return {int(layer): density for layer, density in densities.items()}
