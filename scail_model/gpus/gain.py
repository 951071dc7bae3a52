"""What several GPUs bring: seconds of a layer on each of them, reckoned from those of one GPU.

Rows are split for linears and heads for attention (`attention`). For L tokens of width d on n GPUs, R of them on the
GPU that has most (`rows`), and seconds of one GPU for the whole:

    own work    linears * R / L + attention / n, and keys and values of text and image, which each GPU computes itself
    copies      (16 + 4 / n) * R * d bytes within a GPU: projections laid apart by heads, results put together
    travel      t = 2 * R * d * (n - 1) / n bytes over the link for each of keys, values, queries and results
    waiting     for keys and values 2 * max(0, t - p), because the next projection is computed meanwhile, of p seconds
                for the own rows; for queries and for results max(0, t - attention * R / L / n / 2) each, because half
                of the own rows are attended meanwhile. Where queries must be seen together, t for them; for results
                then max(0, t - attention * R / L / n) if rows come in parts, as in sparse attention, and t if they
                come all at once, as in 8-bit
    lost        a millisecond: kernels fill a GPU less with fewer rows and heads
    launching   n times what a thread needs to launch a layer is the least that it takes, because Python lets one thread
                run at a time

Without travel and launching that is within 3 % of what one H200 took for the work of one GPU of n, 6 % in 8-bit on
eight (`tests/bench/gpus_gpu.py --parts`). Launching is measured with the threads of all GPUs on one H200, in turn
(`turns`).

Where a prompt and its negative are sampled and n is even, each half of the GPUs computes one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .rows import rows_of, size

# Bytes a second that a GPU sends over NVLink: the slowest that was measured between two NVIDIA H200
# (bench of two threads, both ways one after the other). What a probe measures takes its place.
NVLINK = 180e9
_COPY_RATE = 3.4e12  # bytes a second read and written within an H200
_LOST = 1e-3  # seconds of an H200 in each layer: what its own work took beyond the formula, -2.6 to 2.2e-3
_TYPE = 2  # bytes of a number in what travels


@dataclass(frozen=True)
class Together:
    """GPUs of one forward. link: bytes a second that each of them sends to the others. forwards: at the same time in
    this process, each on as many GPUs."""

    gpus: int = 1
    link: float = NVLINK
    forwards: int = 1

    def shared(self, conditionings: int) -> tuple[int, Together]:
        """How many forwards one after the other a step has, and the GPUs of each."""
        if conditionings == 2 and self.gpus % 2 == 0:
            return 1, replace(self, gpus=self.gpus // 2, forwards=2)
        return conditionings, self


ALONE = Together()


@dataclass(frozen=True)
class Layer:
    """Seconds of one layer on one GPU. linears: of its rows, without `context`: keys and values of text and image.
    projection: one of the linears from width to width. one_call: whether attention needs all queries at once;
    in_parts: and then computes them part by part. launching: of a thread, whatever the size."""

    tokens: int
    dim: int
    linears: float
    projection: float
    context: float
    attention: float
    one_call: bool
    in_parts: bool = False
    launching: float = 0.0

    @property
    def seconds(self) -> float:
        return self.linears + self.context + self.attention


def layer_seconds(layer: Layer, together: Together) -> float:
    """Seconds of a layer on these GPUs."""
    count = together.gpus
    launching = count * together.forwards * layer.launching
    if count == 1:
        return max(layer.seconds, launching)
    rows = largest_share(layer.tokens, count)
    share = rows / layer.tokens
    own = layer.linears * share + layer.context + layer.attention / count
    copies = (16 + 4 / count) * rows * layer.dim / _COPY_RATE
    travel = _TYPE * rows * layer.dim * (count - 1) / count / together.link
    of_own = layer.attention * share / count
    first, last = (of_own / 2, of_own / 2) if not layer.one_call else (0.0, of_own if layer.in_parts else 0.0)
    waiting = 2 * max(0.0, travel - layer.projection * share) + max(0.0, travel - first) + max(0.0, travel - last)
    return max(own + copies + waiting + _LOST, launching)


def largest_share(tokens: int, count: int) -> int:
    """Rows of the GPU that has most of them."""
    return max(map(size, rows_of(tokens, min(count, tokens))))
