"""Block-sparse attention of our own making: Triton chooses, FlashAttention 4 (`flash-attn-4`) computes what was chosen.

Every 128 queries attend exactly to those blocks of 128 keys to which they are estimated to pay most attention. The
estimate compares means of 16 rows: a mean of 128, as is usual, hides a few keys that matter among many that do not.
What is left out counts by its means. On the CPU, for tests, PyTorch computes the definition.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import flash_attention, sparse
from .backends import once_a_device, uncompiled, why_wrong
from .eager.fp8 import HEAD
from .in_parts import Rows, SparseInParts

KEYS, PIECE = 128, 16  # rows of a block, and of the parts of it that are compared
RUN = "scail2_sparse"  # the key in `transformer_options` of what decides how much a layer computes (`sparse.run`)
# ComfyUI's name of the option that says whose items are in a batch, as many of each prompt: 0, and 1 the negative one
PROMPTS = "cond_or_uncond"
FEWEST_KEYS = 8 * KEYS  # with fewer there is nothing to choose from


@once_a_device
def why_not(device: torch.device) -> str | None:
    """None if it works on a device, which then computes with the kernels; else the reason, the end of a sentence."""
    if device.type == "cpu":
        return None
    reason = flash_attention.why_not(device) or why_wrong(partial(_distance, device), 0.05, "flash-attn-4 or Triton")
    if reason is not None:
        sparse.use_pytorch(device)
    return reason


def _distance(device: torch.device) -> float:
    """Of the kernels from their definition."""
    sparse.use_kernels(device)
    generator = torch.Generator(device).manual_seed(0)
    q, k, v = torch.randn(3, 1, 1000, HEAD, device=device, dtype=torch.bfloat16, generator=generator)
    result = prepare_kv(k, v, 1)(q, 0.5)[0].float()
    expected = prepare_kv(k.cpu().float(), v.cpu().float(), 1)(q.cpu().float(), 0.5)[0].to(device)
    return float((result - expected).norm() / expected.norm())


@uncompiled
def takes(k: Tensor, heads: int, transformer_options: dict[str, Any] | None = None) -> bool:
    """Whether there is something to choose among keys k [B, M, heads * 128], of a dtype that the kernels compute in."""
    fits = k.device.type == "cpu" or k.dtype in (torch.bfloat16, torch.float16)
    # every GPU is asked, because each has to be prepared
    return fits and k.shape[-1] == heads * HEAD and k.shape[1] >= FEWEST_KEYS and why_not(k.device) is None


@torch.no_grad()
def prepare_kv(k: Tensor, v: Tensor, heads: int) -> SparseInParts:
    """Attention to k and v [B, M, heads * 128] as a function of queries [B, L, heads * 128] and a density."""
    length = k.shape[1]
    pieces = sparse.pool(k, heads, PIECE)
    means = _blocks(pieces, length), _blocks(sparse.pool(v, heads, PIECE), length)
    first = KEYS * torch.arange(-(-length // KEYS), device=k.device)
    logarithms = (length - first).clamp(max=KEYS).log()

    @torch.no_grad()
    def begin(q: Tensor, density: float) -> tuple[Rows, Tensor]:
        size = queries_in_block(q.device)
        shares = sparse.estimate(sparse.pool(q, heads, PIECE), pieces, length, PIECE, (size // PIECE, KEYS // PIECE))
        chosen = sparse.choose(shares, _least(shares, density))
        del shares

        @torch.no_grad()
        def rows(part: slice) -> Tensor:
            queries, own = q[:, part], chosen.of(slice(part.start // size, -(-part.stop // size)))
            out, sums = sparse.attend(queries, k, v, heads, own, (size, KEYS))
            return sparse.add_rest_(out, sums, queries, *means, logarithms, own.kept, size)

        return rows, chosen.counts.sum(-1) / chosen.kept[0, 0].numel()

    return SparseInParts(begin)


@functools.cache
def queries_in_block(device: torch.device) -> int:
    """FlashAttention 4 computes two tiles of queries at once on GPUs of Blackwell's first kind."""
    return 256 if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (10, 11) else 128


def _least(shares: Tensor, density: float) -> Tensor:
    """What the blocks that make up a share `density` of each row [B, heads, queries, keys] reach: [B, heads,
    queries]."""
    count = max(round(density * shares.shape[-1]), 1)
    return shares.topk(count, -1, sorted=False).values.amin(-1)


def _blocks(pieces: Tensor, length: int) -> Tensor:
    """Means of pieces [B, heads, n, 128] -> means of blocks of keys."""
    count = -(-length // KEYS)
    rows = (length - PIECE * torch.arange(count * KEYS // PIECE, device=pieces.device)).clamp(0, PIECE).float()
    padded = F.pad(pieces.float(), (0, 0, 0, len(rows) - pieces.shape[2])) * rows[:, None]
    grouped = padded.unflatten(2, (count, -1)).sum(3) / rows.view(count, -1).sum(1)[:, None]
    return grouped.to(pieces.dtype)
