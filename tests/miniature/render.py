"""Capsules with soft edges, painted over a background from back to front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

_EDGE = 1.4  # pixels from full to nothing


@dataclass
class Shapes:
    """Capsules, back to front: lists while they are collected, tensors [n, people, frames, shapes, ...] after."""

    start: list | Tensor  # [..., 2]
    end: list | Tensor
    radius: list | Tensor  # [...]
    colour: list | Tensor  # [..., 3]
    visible: list | Tensor  # [...], 0..1

    @classmethod
    def empty(cls) -> Shapes:
        return cls([], [], [], [], [])

    def __len__(self) -> int:
        return len(self.start)

    def add(self, start: Tensor, end: Tensor, radius: Tensor, colour: Tensor, visible: Tensor) -> None:
        self.start.append(start)
        self.end.append(end)
        self.radius.append(radius)
        self.colour.append(colour.expand(*start.shape[:3], 3))
        self.visible.append(visible)

    def stacked(self) -> Shapes:
        return Shapes(*(torch.stack(values, 3) for values in
                        (self.start, self.end, self.radius, self.colour, self.visible)))


def draw_people(background: Tensor, shapes: Shapes, is_spot: Tensor, height: int, width: int
                ) -> tuple[Tensor, Tensor, Tensor]:
    """Paint people over backgrounds [n, 3, H, W].

    Returns the video [n, T, 3, H, W], the coverage of each person [n, T, people, H, W] (less what stands before it),
    and the visible part of the spots [n, T, 1, H, W]. The person that comes last stands in front.
    """
    spot = is_spot.to(shapes.start.device, torch.float32).expand(shapes.radius.shape)
    numbers = torch.cat((shapes.start, shapes.end, shapes.radius[..., None], shapes.colour, shapes.visible[..., None],
                         spot[..., None]), -1).transpose(1, 2)  # [n, T, people, shapes, 10]
    video, silhouettes, spots = painter(background.device)(background, numbers, height / _EDGE)
    before = torch.ones_like(spots)
    coverage = [silhouettes[:, :, -1:]]
    for person in range(silhouettes.shape[2] - 2, -1, -1):
        before = before * (1 - silhouettes[:, :, person + 1, None])
        coverage.insert(0, silhouettes[:, :, person, None] * before)
    return video, torch.cat(coverage, 2), spots


def painter(device: torch.device) -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]:
    """The kernel on a GPU that has Triton, else plain PyTorch."""
    if device.type == "cuda" and find_spec("triton"):
        from gpu import paint as paint_on_gpu

        return paint_on_gpu
    return paint


def paint(background: Tensor, numbers: Tensor, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """background [n, 3, H, W], numbers [n, T, people, shapes, 10]: start, end, radius, colour, visible, 1 for a spot.

    Returns video [n, T, 3, H, W], silhouettes [n, T, people, H, W], spots [n, T, 1, H, W].
    """
    count, frames, people, many, _ = numbers.shape
    height, width = background.shape[2:]
    x = ((torch.arange(width, device=background.device) + 0.5) / height).view(1, 1, 1, width)
    y = ((torch.arange(height, device=background.device) + 0.5) / height).view(1, 1, height, 1)
    # the spots are painted like a fourth colour
    canvas = torch.cat((background, torch.zeros_like(background[:, :1])), 1)[:, None].repeat(1, frames, 1, 1, 1)
    silhouettes = background.new_zeros(count, frames, people, height, width)
    for person in range(people):
        for index in range(many):
            rows, columns = _window(numbers[:, :, person, index], height, sharpness)
            alpha = _alpha(numbers[:, :, person, index], x[..., columns], y[..., rows, :], sharpness)
            colour = numbers[:, :, person, index, [5, 6, 7, 9], None, None]
            part = canvas[..., rows, columns]
            part += alpha[:, :, None] * (colour - part)
            silhouette = silhouettes[:, :, person, rows, columns]
            torch.maximum(silhouette, alpha, out=silhouette)
    return canvas[:, :, :3], silhouettes, canvas[:, :, 3:]


def _alpha(shape: Tensor, x: Tensor, y: Tensor, sharpness: float) -> Tensor:
    """How much of a capsule [n, T, 10] is in pixels with centres x [1, 1, 1, w] and y [1, 1, h, 1]: [n, T, h, w]."""
    start_x, start_y, end_x, end_y, radius, _, _, _, visible, _ = shape[..., None, None].unbind(2)
    along_x, along_y, to_x, to_y = end_x - start_x, end_y - start_y, x - start_x, y - start_y
    share = ((to_x * along_x + to_y * along_y) / (along_x**2 + along_y**2 + 1e-9)).clamp(0, 1)
    distance = ((to_x - share * along_x) ** 2 + (to_y - share * along_y) ** 2).sqrt()
    return ((radius - distance) * sharpness + 0.5).clamp(0, 1) * visible


def _window(shape: Tensor, height: int, sharpness: float) -> tuple[slice, slice]:
    """Rows and columns that hold all of a capsule [n, T, 10], in every frame; most capsules are small."""
    ends = torch.stack((shape[..., 0:2], shape[..., 2:4]))
    reach = shape[..., 4, None] + 0.5 / sharpness
    first = ((ends - reach).flatten(0, -2).amin(0) * height - 1).floor()
    last = ((ends + reach).flatten(0, -2).amax(0) * height + 1).ceil()
    left, top, right, bottom = torch.cat((first, last)).clamp(min=0).int().tolist()
    return slice(top, bottom), slice(left, right)
