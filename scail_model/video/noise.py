"""The noise that each segment of a video starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ONE_GENERATOR, PER_SEGMENT, SAME = "one generator", "seed per segment", "same noise"
NOISES = {
    ONE_GENERATOR: "draws the noise of all segments, one after the other (official)",
    PER_SEGMENT: "seeds a generator for each segment with seed, seed + 1 and so on",
    SAME: "gives every segment the seed's noise, as a sampler node does that is queued again",
}


class Noise:
    """The noise of every segment of one video. kind: a key of NOISES (ONE_GENERATOR is that of `wan/scail.py`).
    shapes: of the segments' latents."""

    def __init__(self, kind: str, seed: int, shapes: Sequence[tuple[int, ...]]) -> None:
        self.kind, self.seed, self.shapes = kind, seed, shapes
        self._generator = torch.Generator()
        self._drawn = len(shapes)  # as many as the generator has drawn; it starts anew when it is past the wanted one

    def key(self, index: int, seed: int | None = None) -> str:
        """Another one for other noise."""
        if seed is not None:
            return f"{seed} {self.shapes[index]}"
        before = sum(math.prod(shape) for shape in self.shapes[:index]) if self.kind == ONE_GENERATOR else index
        return f"{self.kind} {self.seed} {before} {self.shapes[index]}"

    def of(self, index: int, seed: int | None = None) -> Tensor:
        """Noise of one segment, float32. seed: one of its own, instead of the video's."""
        if seed is None and self.kind == ONE_GENERATOR:
            return self._next(index)
        if seed is None:
            seed = self.seed + (index if self.kind == PER_SEGMENT else 0)
        return torch.randn(self.shapes[index], generator=torch.Generator().manual_seed(seed % 2**64))

    def _next(self, index: int) -> Tensor:
        if index < self._drawn:
            self._generator.manual_seed(self.seed)
            self._drawn = 0
        for skipped in range(self._drawn, index):
            torch.randn(self.shapes[skipped], generator=self._generator)
        self._drawn = index + 1
        return torch.randn(self.shapes[index], generator=self._generator)
