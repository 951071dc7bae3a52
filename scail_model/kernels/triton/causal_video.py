"""`kernels.causal_video` in Triton, for tensors of 16 bits with the channels of a pixel side by side.

Every intermediate result is rounded to 16 bits, as PyTorch stores it. The length over C is summed in the order of
PyTorch's kernel for channels that lie apart (ATen's Reduce.cuh): channel c goes to sum c mod 16; then
((s0 + s4) + s8) + s12 and so on, and of these four the first and third, the second and fourth, and both.
"""

# Triton's launch options, such as num_warps, are not in its types.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from ..eager import causal_video as eager

_PIXELS = 64  # of a program of norm_silu
_BLOCK = 1024  # elements of a program of the others
_WIDTHS = (96, 192, 384)
_EPS = 1e-12  # of F.normalize


def probe(device: torch.device) -> None:
    """Compare with PyTorch. RuntimeError where a bit differs."""
    generator = torch.Generator(device).manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        for channels in _WIDTHS:
            x = torch.randn(1, channels, 2, 16, 40, device=device, generator=generator).to(dtype)
            gamma = torch.linspace(0.5, 1.5, channels, device=device).to(dtype)
            before = torch.zeros(1, channels, 2, 16, 40, device=device, dtype=dtype)
            found, _ = norm_silu(_last(x), gamma, gamma, channels**0.5, _last(before))
            expected, _ = eager.norm_silu(x, gamma, gamma, channels**0.5, before)
            if different := int((found != expected).sum()):
                raise RuntimeError(f"{different} of {found.numel()} {dtype} results differ from PyTorch's")


def norm_silu(x: Tensor, bias: Tensor | None, gamma: Tensor, scale: float,
              before: Tensor | None) -> tuple[Tensor, Tensor]:
    """See `causal_video.norm_silu`."""
    _, channels, frames, height, width = x.shape
    first = 0 if before is None else 2
    out = _like(x, first + frames)
    after = _like(x, 2) if before is None else before
    area = height * width
    _norm_silu[(triton.cdiv(area, _PIXELS),)](
        x, gamma if bias is None else bias, gamma, out, after, scale, _EPS, area, C=channels, FRAMES=frames,
        BEFORE=first, BIAS=bias is not None, PIXELS=_PIXELS, num_warps=4, enable_fp_fusion=False,
    )
    return out, after


def add_(x: Tensor, bias: Tensor | None, y: Tensor | None, y_bias: Tensor | None) -> Tensor:
    """See `causal_video.add_`."""
    _add[(triton.cdiv(x.numel(), _BLOCK),)](
        x, x if bias is None else bias, x if y is None else y, x if y_bias is None else y_bias, x.numel(),
        C=x.shape[1], BIAS=bias is not None, Y=y is not None, Y_BIAS=y_bias is not None, BLOCK=_BLOCK, num_warps=4,
    )
    return x


def upsampled(x: Tensor, bias: Tensor | None, in_time: bool) -> Tensor:
    """See `causal_video.upsampled`."""
    halves = 2 if in_time else 1
    channels, frames, height, width = x.shape[1] // halves, *x.shape[2:]
    out = torch.empty(frames * halves, channels, 2 * height, 2 * width, dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    _upsampled[(triton.cdiv(out.numel(), _BLOCK),)](
        x, x if bias is None else bias, out, out.numel(), height, width, C=channels, HALVES=halves,
        BIAS=bias is not None, BLOCK=_BLOCK, num_warps=4,
    )
    return out


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def _like(x: Tensor, frames: int) -> Tensor:
    return torch.empty(1, x.shape[1], frames, *x.shape[3:], dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last_3d)


@triton.jit
def rounded(value, dtype: tl.constexpr):
    """To the dtype and back."""
    return value.to(dtype).to(tl.float32)


@triton.jit
def _norm_silu(x, bias, gamma, out, after, scale, eps, area, C: tl.constexpr, FRAMES: tl.constexpr,
               BEFORE: tl.constexpr, BIAS: tl.constexpr, PIXELS: tl.constexpr):
    """A program for some pixels in all frames. `after` holds the frames before when it begins."""
    dtype: tl.constexpr = out.dtype.element_ty
    pixels = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = (pixels < area)[:, None]
    sixteen = tl.arange(0, 16)
    rows = pixels.to(tl.int64)[:, None] * C + sixteen[None, :]
    frame_size = area.to(tl.int64) * C
    for part in range(C // 16):
        where = rows + part * 16
        if BEFORE == 2:
            for frame in tl.static_range(2):
                tl.store(out + frame * frame_size + where, tl.load(after + frame * frame_size + where, mask=inside),
                         mask=inside)
        if FRAMES == 1:
            tl.store(after + where, tl.zeros((PIXELS, 16), dtype=dtype), mask=inside)
    for frame in tl.static_range(FRAMES):
        sums = tl.zeros((PIXELS, 16), dtype=tl.float32)
        for part in range(C // 16):
            value = tl.load(x + frame * frame_size + rows + part * 16, mask=inside, other=0.0).to(tl.float32)
            if BIAS:
                value = rounded(value + tl.load(bias + part * 16 + sixteen).to(tl.float32)[None, :], dtype)
            sums += value * value  # exact products of 16-bit numbers
        length = rounded(tl.sqrt_rn(sum_of_sixteen(sums, PIXELS)), dtype)
        length = rounded(tl.maximum(length, eps), dtype)[:, None]
        for part in range(C // 16):
            where = rows + part * 16
            value = tl.load(x + frame * frame_size + where, mask=inside, other=0.0).to(tl.float32)
            if BIAS:
                value = rounded(value + tl.load(bias + part * 16 + sixteen).to(tl.float32)[None, :], dtype)
            value = rounded(tl.div_rn(value, length.broadcast_to(PIXELS, 16)), dtype)
            value = rounded(value * scale, dtype)
            value = rounded(value * tl.load(gamma + part * 16 + sixteen).to(tl.float32)[None, :], dtype) + 0.0
            value = tl.div_rn(value, 1.0 + libdevice.exp(-value)).to(dtype)
            tl.store(out + (BEFORE + frame) * frame_size + where, value, mask=inside)
            if frame + 2 >= FRAMES:
                tl.store(after + (frame + 2 - FRAMES) * frame_size + where, value, mask=inside)


@triton.jit
def sum_of_sixteen(sums, PIXELS: tl.constexpr):
    """Sums [PIXELS, 16] -> their sum [PIXELS], in the order of the module's description."""
    sums = tl.reshape(sums, (PIXELS, 2, 2, 4)).permute(0, 3, 1, 2)
    even, odd = tl.split(sums)  # [PIXELS, 4, 2] each: the first and third four, the second and fourth
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    four = ((first + second) + third) + fourth  # [PIXELS, 4]
    low, high = tl.split(tl.reshape(four, (PIXELS, 2, 2)).permute(0, 2, 1))
    left, right = tl.split(low + high)
    return left + right


@triton.jit
def _add(x, bias, y, y_bias, elements, C: tl.constexpr, BIAS: tl.constexpr, Y: tl.constexpr, Y_BIAS: tl.constexpr,
         BLOCK: tl.constexpr):
    dtype: tl.constexpr = x.dtype.element_ty
    where = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside, channel = where < elements, (where % C).to(tl.int32)
    value = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        value = rounded(value + tl.load(bias + channel).to(tl.float32), dtype)
    if Y:
        other = tl.load(y + where, mask=inside, other=0.0).to(tl.float32)
        if Y_BIAS:
            other = rounded(other + tl.load(y_bias + channel).to(tl.float32), dtype)
        value = value + other
    tl.store(x + where, value.to(dtype), mask=inside)


@triton.jit
def _upsampled(x, bias, out, elements, height, width, C: tl.constexpr, HALVES: tl.constexpr, BIAS: tl.constexpr,
               BLOCK: tl.constexpr):
    where = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside, channel, pixel = where < elements, (where % C).to(tl.int32), (where // C).to(tl.int32)
    column, line = pixel % (2 * width), pixel // (2 * width)
    row, picture = line % (2 * height), line // (2 * height)
    source = (picture // HALVES * height + row // 2) * width + column // 2
    channel += picture % HALVES * C
    value = tl.load(x + source.to(tl.int64) * (HALVES * C) + channel, mask=inside)
    if BIAS:
        value = (value.to(tl.float32) + tl.load(bias + channel).to(tl.float32)).to(out.dtype.element_ty)
    tl.store(out + where, value, mask=inside)
