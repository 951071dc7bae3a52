"""The definitions of `kernels.fp8` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

HEAD = 128  # channels
LARGEST = 448.0  # of float8 e4m3
PROBABILITIES = 16.0  # what probabilities are multiplied by; up to 16, because cuDNN does not follow every new maximum


def stats(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `fp8.stats`."""
    # a head at a time: PyTorch adds up rows in an order that depends on the width
    heads = x.float().split(HEAD, -1)
    mean, square = torch.cat([head.mean(0) for head in heads]), torch.cat([head.square().mean(0) for head in heads])
    return mean, x.float().abs().amax(0), square


def quantize(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """See `fp8.quantize`."""
    return _to_float8((x.float() - mean) / scale)


def quantize_hadamard(x: Tensor, mean: Tensor | None, scale: Tensor) -> Tensor:
    """See `fp8.quantize_hadamard`."""
    x = x.float() if mean is None else x.float() - mean
    heads = x.unflatten(-1, (-1, HEAD))  # [L, heads, 128]
    return _to_float8((heads @ hadamard(HEAD).to(x.device)).flatten(1) / scale)


def hadamard(size: int) -> Tensor:
    """The symmetric orthogonal matrix [size, size] with entries of one magnitude; size is a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix * size**-0.5


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, q_scale: Tensor, k_scale: Tensor,
              v_scale: Tensor) -> tuple[Tensor, Tensor]:
    """See `fp8.attention`."""
    queries, keys, values = (_split(x, heads) for x in (q, k, v))  # float32 [heads, L or M, 128]
    scores = queries @ keys.transpose(-1, -2) * (q_scale * k_scale * HEAD**-0.5)  # [heads, L, M]
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    rounded = _to_float8(weights * PROBABILITIES).float() / PROBABILITIES
    result = rounded @ values / weights.sum(-1, keepdim=True)  # [heads, L, 128], in units of v_scale
    return _to_float8(_join(result)), scores.logsumexp(-1)


def merge_tail(main: Tensor, sums: Tensor, main_scale: Tensor, q: Tensor, k: Tensor, v: Tensor, score_scale: Tensor,
               v_scale: Tensor, mean: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """See `fp8.merge_tail`."""
    first, queries, keys, values = (_split(x, heads) for x in (main, q, k, v))  # float32 [heads, L or n, 128]
    scores = queries @ keys.transpose(-1, -2) * score_scale  # [heads, L, n]
    total = torch.cat((sums[..., None], scores), dim=-1).logsumexp(-1, keepdim=True)  # [heads, L, 1]
    result = first * main_scale * (sums[..., None] - total).exp() + (scores - total).exp() @ values * v_scale
    return (_join(result) + mean).to(dtype)


def _to_float8(x: Tensor) -> Tensor:
    return x.clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)


def _split(x: Tensor, heads: int) -> Tensor:
    """[L, heads * 128] -> float32 [heads, L, 128]."""
    return x.float().unflatten(-1, (heads, -1)).transpose(0, 1)


def _join(x: Tensor) -> Tensor:
    """[heads, L, 128] -> [L, heads * 128]."""
    return x.transpose(0, 1).flatten(1)
