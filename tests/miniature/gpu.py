"""Triton kernels that make training fast: the VAE's norm with its gradient, and the painting of shapes.

Both are defined by plain PyTorch elsewhere (`vae.norm_silu`, `render._paint`), which is what runs without a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 64
_PIXELS = 256


class NormSiLU(torch.autograd.Function):
    """SiLU(RMSNorm(x) * gamma) of x [n, C, T, H, W], C a power of two, with `before` frames of zeros in front."""

    @staticmethod
    def forward(context, x: Tensor, gamma: Tensor, before: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        count, channels, frames, height, width = x.shape
        y = torch.empty(count, channels, frames + before, height, width, dtype=x.dtype, device=x.device,
                        memory_format=torch.channels_last_3d)
        y[:, :, :before] = 0
        rows = frames * height * width
        _norm_silu[triton.cdiv(rows, _ROWS), count](x, gamma, y, rows, before * height * width, channels, _ROWS)
        context.save_for_backward(x, gamma)
        context.before = before
        return y

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, gamma = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        count, channels, frames, height, width = x.shape
        rows = frames * height * width
        blocks = triton.cdiv(rows, _ROWS)
        x_gradient = torch.empty_like(x)
        parts = torch.empty(count, blocks, channels, device=x.device)
        _norm_silu_backward[blocks, count](x, gamma, gradient, x_gradient, parts, rows, context.before * height * width,
                                           channels, _ROWS)
        return x_gradient, parts.sum((0, 1)).view(gamma.shape), None


@triton.jit
def _norm_silu(x, gamma, y, rows, before, C: tl.constexpr, ROWS: tl.constexpr):
    clip = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, C)
    place = row[:, None] * C + column[None, :]
    inside = (row < rows)[:, None] & (column < C)[None, :]
    value = tl.load(x + clip * rows * C + place, inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / C + 1e-12)
    z = value * scale[:, None] * tl.load(gamma + column)[None, :]
    tl.store(y + (clip * (rows + before) + before) * C + place, z * tl.sigmoid(z), inside)


@triton.jit
def _norm_silu_backward(x, gamma, gradient, x_gradient, parts, rows, before, C: tl.constexpr, ROWS: tl.constexpr):
    clip = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0)
    row = block * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, C)
    place = row[:, None] * C + column[None, :]
    inside = (row < rows)[:, None] & (column < C)[None, :]
    value = tl.load(x + clip * rows * C + place, inside, other=0.0).to(tl.float32)
    arriving = tl.load(gradient + (clip * (rows + before) + before) * C + place, inside, other=0.0).to(tl.float32)
    weight = tl.load(gamma + column)[None, :]
    scale = tl.rsqrt(tl.sum(value * value, 1) / C + 1e-12)[:, None]
    normal = value * scale
    z = normal * weight
    sigmoid = tl.sigmoid(z)
    through = arriving * sigmoid * (1 + z * (1 - sigmoid))
    inner = through * weight
    mean = (tl.sum(inner * normal, 1) / C)[:, None]
    tl.store(x_gradient + clip * rows * C + place, scale * (inner - normal * mean), inside)
    tl.store(parts + (clip * tl.num_programs(0) + block) * C + column, tl.sum(through * normal, 0))


def paint(background: Tensor, shapes: Tensor, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """background [n, 3, H, W], shapes [n, T, people, S, 10] (start, end, radius, colour, visible, spot).

    Returns video [n, T, 3, H, W], silhouettes [n, T, people, H, W] and spots [n, T, 1, H, W].
    """
    count, frames, people, many, _ = shapes.shape
    height, width = background.shape[2:]
    video, silhouettes, spots = (torch.empty(count, frames, channels, height, width, device=background.device)
                                 for channels in (3, people, 1))
    blocks = triton.cdiv(height * width, _PIXELS)
    _paint[blocks, count * frames](background.contiguous(), shapes.contiguous(), video, silhouettes, spots, frames,
                                   height * width, width, many, 1 / height, sharpness, people, _PIXELS)
    return video, silhouettes, spots


@triton.jit
def _paint(background, shapes, video, silhouettes, spots, frames, area, width, many, unit, sharpness,
           PEOPLE: tl.constexpr, PIXELS: tl.constexpr):
    frame = tl.program_id(1).to(tl.int64)
    clip = frame // frames
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < area
    x = ((pixel % width).to(tl.float32) + 0.5) * unit
    y = ((pixel // width).to(tl.float32) + 0.5) * unit
    red = tl.load(background + (clip * 3 + 0) * area + pixel, inside, other=0.0)
    green = tl.load(background + (clip * 3 + 1) * area + pixel, inside, other=0.0)
    blue = tl.load(background + (clip * 3 + 2) * area + pixel, inside, other=0.0)
    spotted = tl.zeros([PIXELS], tl.float32)
    for person in tl.static_range(PEOPLE):
        silhouette = tl.zeros([PIXELS], tl.float32)
        for index in range(many):
            shape = shapes + ((frame * PEOPLE + person) * many + index) * 10
            start_x = tl.load(shape + 0)
            start_y = tl.load(shape + 1)
            along_x = tl.load(shape + 2) - start_x
            along_y = tl.load(shape + 3) - start_y
            to_x = x - start_x
            to_y = y - start_y
            share = (to_x * along_x + to_y * along_y) / (along_x * along_x + along_y * along_y + 1e-9)
            share = tl.minimum(tl.maximum(share, 0.0), 1.0)
            off_x = to_x - share * along_x
            off_y = to_y - share * along_y
            distance = tl.sqrt(off_x * off_x + off_y * off_y)
            alpha = tl.minimum(tl.maximum((tl.load(shape + 4) - distance) * sharpness + 0.5, 0.0), 1.0)
            alpha = alpha * tl.load(shape + 8)
            red += alpha * (tl.load(shape + 5) - red)
            green += alpha * (tl.load(shape + 6) - green)
            blue += alpha * (tl.load(shape + 7) - blue)
            spotted += alpha * (tl.load(shape + 9) - spotted)
            silhouette = tl.maximum(silhouette, alpha)
        tl.store(silhouettes + (frame * PEOPLE + person) * area + pixel, silhouette, inside)
    tl.store(video + (frame * 3 + 0) * area + pixel, red, inside)
    tl.store(video + (frame * 3 + 1) * area + pixel, green, inside)
    tl.store(video + (frame * 3 + 2) * area + pixel, blue, inside)
    tl.store(spots + frame * area + pixel, spotted, inside)
