"""The definitions of `kernels.sparse` in plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .fp8 import HEAD

if TYPE_CHECKING:
    from ..sparse import Chosen


def pool(x: Tensor, heads: int, size: int) -> Tensor:
    """See `sparse.pool`."""
    length, count = x.shape[1], -(-x.shape[1] // size)
    padded = F.pad(x.float(), (0, 0, 0, count * size - length)).unflatten(1, (count, size))  # [B, n, size, heads * 128]
    mean = padded.sum(2) / _rows(length, size, count, x.device)[:, None]
    return mean.unflatten(2, (heads, -1)).transpose(1, 2).to(x.dtype)


def estimate(queries: Tensor, keys: Tensor, length: int, size: int, groups: tuple[int, int]) -> Tensor:
    """See `sparse.estimate`."""
    scores = queries.float() @ keys.float().transpose(-1, -2) * HEAD**-0.5
    scores = scores + _rows(length, size, keys.shape[2], keys.device).log()
    shares = scores.softmax(-1)  # [B, heads, queries, keys]
    down, across = groups
    shares = F.pad(shares, (0, -shares.shape[3] % across)).unflatten(3, (-1, across)).sum(4)
    return torch.stack([part.square().mean(2).sqrt() for part in shares.split(down, 2)], 2)


def _rows(length: int, size: int, count: int, device: torch.device) -> Tensor:
    """How many rows each of `count` pieces holds, float32 [count]."""
    return (length - size * torch.arange(count, device=device)).clamp(max=size).float()


def choose(weights: Tensor, least: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `sparse.choose`."""
    kept = weights >= least[..., None]
    numbers = torch.arange(weights.shape[-1], device=weights.device, dtype=torch.int32)
    last = weights.shape[-1]
    blocks = torch.where(kept, numbers, last).sort(dim=-1).values
    return kept.to(torch.uint8), kept.sum(-1, dtype=torch.int32), torch.where(blocks == last, 0, blocks)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, chosen: Chosen, sizes: tuple[int, int]
           ) -> tuple[Tensor, Tensor]:
    """See `sparse.attend`."""
    queries, keys, values = (_split(x, heads) for x in (q, k, v))
    results, sums = [], []
    # a block of queries at a time: the mask of all of them would be as large as all scores
    for number, part in enumerate(queries.split(sizes[0], 2)):
        kept = chosen.kept[:, :, number].bool().repeat_interleave(sizes[1], -1)[..., : keys.shape[2]]  # [B, heads, M]
        scores = part @ keys.transpose(-1, -2) * HEAD**-0.5
        scores = scores.masked_fill(~kept[:, :, None], -torch.inf)  # [B, heads, size, M]
        results.append(scores.softmax(-1) @ values)
        sums.append(scores.logsumexp(-1))
    return _join(torch.cat(results, 2)).to(q.dtype), torch.cat(sums, 2)


def add_rest_(out: Tensor, sums: Tensor, q: Tensor, keys: Tensor, values: Tensor, logarithms: Tensor, kept: Tensor,
              size: int) -> Tensor:
    """See `sparse.add_rest_`."""
    heads = keys.shape[1]
    queries, main = _split(q, heads), _split(out, heads)  # [B, heads, L, 128]
    scores = queries @ keys.float().transpose(-1, -2) * HEAD**-0.5 + logarithms
    left = kept.repeat_interleave(size, 2)[:, :, : q.shape[1]] == 0  # [B, heads, L, n]
    scores = scores.masked_fill(~left, -torch.inf)
    total = torch.cat((sums[..., None], scores), -1).logsumexp(-1, keepdim=True)
    result = main * (sums[..., None] - total).exp() + (scores - total).exp() @ values.float()
    return out.copy_(_join(result))


def _split(x: Tensor, heads: int) -> Tensor:
    """[B, L, heads * 128] -> float32 [B, heads, L, 128]."""
    return x.float().unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """[B, heads, L, 128] -> [B, L, heads * 128]."""
    return x.transpose(1, 2).flatten(2)
