"""Capacity of a GPU: the longest segment, the next smaller setting, and the share of the weights that stays resident.

Uses the estimates of `budget` and the way ComfyUI 0.27 places weights under its dynamic memory (comfy-aimdo 0.4): room
for the activations is reserved, 256 MiB stay free, and weights fill the rest, larger layers first: feed-forward of all
blocks, then attention. Weights that do not fit are streamed from main memory in every forward, one block ahead, through
two buffers of one block each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .budget import Machine, Work, block_weights, estimate, forward_seconds

MOST_FRAMES = 161  # twice the length that the model was trained with; the search ends here
# With 5 frames of history, shorter segments would generate more than a seventh of their frames twice.
_SHORTEST_SEGMENT = 33
_FREE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Residence:
    """Placement of the weights during a forward of one conditioning, in bytes.

    resident: always on the GPU. streamed: for each block, bytes loaded in every forward. block_seconds: compute time of
    a block.
    """

    resident: int
    streamed: tuple[int, ...]
    block_seconds: float

    def needed_rate(self) -> float:
        """Bytes per second that the bus must deliver for every block to arrive in time."""
        return max(self.streamed) / self.block_seconds

    def waiting_seconds(self, rate: float) -> float:
        """Time that a forward waits for weights with a bus of `rate` bytes per second."""
        return sum(max(0.0, block / rate - self.block_seconds) for block in self.streamed)


def residence(work: Work, machine: Machine) -> Residence | None:
    """Residence for the longest segment; None if the speed of the GPU is unknown."""
    if machine.matmul_tflops is None:
        return None
    layers, longest = work.config.num_layers, max(work.lengths)
    need = estimate(work, machine.total_vram)
    block_seconds = forward_seconds(work, longest, machine.matmul_tflops) / layers
    if need.whole + _FREE_BYTES <= machine.free_vram:
        return Residence(work.weight_bytes, (0,) * layers, block_seconds)
    block = block_weights(work)
    room = max(machine.free_vram - _FREE_BYTES - need.sampling, 0)
    left = max(room - (work.weight_bytes - layers * block), 0)  # the time embedding is the largest layer
    feed_forward = round(block * _feed_forward_share(work))
    streamed = [block] * layers
    for part in (feed_forward, block - feed_forward):
        for index in range(min(left // part, layers)):
            streamed[index] -= part
        left = max(left - layers * part, 0)
    return Residence(min(room, work.weight_bytes - sum(streamed)), tuple(streamed), block_seconds)


def longest_segment(work: Work, free: int, total_vram: int = 0, most: int = MOST_FRAMES, *,
                    tiles: bool = False) -> int | None:
    """The longest segment (4n+1 frames, at most `most`) that fits into `free` bytes of GPU memory; None if even one
    frame does not. total_vram: of the card, for chunks. tiles: whether the VAE may use tiles, which need little memory.
    """
    for frames in range(most, 0, -4):
        need = estimate(replace(work, lengths=(frames,)), total_vram)
        if (need.sampling if tiles else need.least) <= free:
            return frames
    return None


def smaller(work: Work, free: int, total_vram: int = 0) -> str | None:
    """The smallest reduction of `work` that fits into `free` bytes of GPU memory, in words; None if none does."""
    frames = longest_segment(work, free, total_vram, max(work.lengths) - 4)
    if frames is not None and frames >= _SHORTEST_SEGMENT:
        return f"segments of {frames} frames, the longest that fit at this size"
    for width, height in smaller_sizes(work.width, work.height):
        if estimate(replace(work, width=width, height=height), total_vram).least <= free:
            return f"{width}x{height}"
    return None


def smaller_settings(width: int, height: int, frames: int, shortest: int) -> Iterator[tuple[int, int, int]]:
    """(width, height, frames) that need less memory, the largest first: shorter segments, then smaller pictures.

    Segments have 4n+1 frames, at least `shortest`.
    """
    for fewer in range(frames - 4, shortest - 1, -4):
        yield width, height, fewer
    for narrow, low in smaller_sizes(width, height):
        yield narrow, low, frames


def smaller_sizes(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Smaller (width, height), multiples of 32, down to a quarter of each side."""
    for sixteenths in range(15, 3, -1):
        narrow, low = (max(side * sixteenths // 16 // 32, 1) * 32 for side in (width, height))
        yield narrow, low


def _feed_forward_share(work: Work) -> float:
    """Feed-forward share of a block's weights: two matrices, against ten of dim x dim for attention."""
    feed_forward = 2 * work.config.dim * work.config.ffn_dim
    return feed_forward / (feed_forward + 10 * work.config.dim**2)
