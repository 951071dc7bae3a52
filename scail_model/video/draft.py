"""A draft: the same video at half the size and in fewer steps, to settle masks, timing and prompts before the full one
is made.

Everything else is as it will be: frames, segments, plan, people, sound, guidance and seed. The draft starts from the
noise of the full video, seen at its own size, so that what is large begins alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import torch
from torch import Tensor

from ..inputs.reference import Pictures, Reference

_SIDE = 32  # sides of a result are multiples of it
_SHAPE = 3.0  # how much more another shape counts than another area
_MOST, _LEAST = 8, 4  # steps


def draft_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the draft of a video of this size: half of each side, where that is a multiple of 32; else
    multiples near it, chosen for their shape before their area, so that both videos show the same part of a picture."""
    def near(side: int) -> list[int]:
        half = round(side / (2 * _SIDE))
        return [_SIDE * count for count in range(max(1, half - 1), half + 2) if _SIDE * count <= side]

    def off(size: tuple[int, int]) -> float:
        shape, area = size[0] / size[1] / (width / height), 4 * size[0] * size[1] / (width * height)
        return _SHAPE * abs(math.log(shape)) + abs(math.log(area))

    return min(product(near(width), near(height)), key=off)


def draft_steps(steps: int) -> int:
    """Steps of the draft of a video with this many: half of them, at most 8, and 4 where there are as many."""
    return min(steps, max(_LEAST, min(_MOST, steps // 2)))


def draft_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Noise levels of the draft of a video with these: every so many of them, the first and the last included."""
    steps = len(sigmas) - 1
    fewer = draft_steps(steps)
    return tuple(sigmas[round(step * steps / fewer)] for step in range(fewer + 1))


def drafted(reference: Reference | Pictures) -> Pictures:
    """A reference at the size of a draft: fitted anew from the user's pictures."""
    pictures = reference.pictures if isinstance(reference, Reference) else reference
    width, height = draft_size(pictures.width, pictures.height)
    return replace(pictures, width=width, height=height, full=reference)


def draft_noise(noise: Tensor, height: int, width: int) -> Tensor:
    """White noise [..., H, W] at a smaller size: each number is the sum of a block, scaled to the same variance. Blocks
    do not overlap, so the numbers are independent."""
    for axis, size in ((-2, height), (-1, width)):
        length = noise.shape[axis]
        edges = [round(index * length / size) for index in range(size + 1)]
        blocks = noise.split([stop - start for start, stop in pairwise(edges)], axis)
        noise = torch.stack([block.sum(axis) / block.shape[axis] ** 0.5 for block in blocks], axis)
    return noise
