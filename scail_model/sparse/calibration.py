"""What a first sampling has found out about the layers, for the later ones of the same video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Calibration:
    """densities: of each layer, 1 for a dense one."""

    densities: tuple[float, ...]

    def values(self) -> dict[str, Any]:
        """For a JSON file, from which `of` makes it again."""
        return {"densities": list(self.densities)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Calibration:
        return cls(tuple(values["densities"]))
