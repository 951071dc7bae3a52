"""Whether another package's attention is worth using on the card at hand: measured there, once a process.

Kernels are written and tuned for some cards. On another one they may be slower than PyTorch's attention or compute
something else, so neither is taken from a list of cards. The inputs resemble a trained network's: what tokens have in
common comes in blocks of neighbours, each block of queries attends to a few of them, and a few channels are loud.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cudnn_attention, flash_attention
from .backends import does_not_run
from .eager.fp8 import HEAD

log = logging.getLogger(__name__)

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # q, k, v [B, L, heads * 128], and heads

# As long as a short video: on an H200 sparse attention gained nothing at 16,384 tokens and was twice as fast at 48,832.
TOKENS, HEADS = 32768, 4
PROBE_BYTES = 24 * TOKENS * HEADS * HEAD * 2  # a dozen tensors like the queries, half of them in float32
_LARGEST_ERROR = 0.1  # of a kernel that works 0.01 to 0.05 are left, of one that does not about 1
_LEAST_GAIN = 1.1  # so that a job goes on with the attention it began with, however a measurement varies
_REPEATS, _IN_A_ROW = 2, 3  # as the network calls it: the GPU computes while the next call is prepared

# How the inputs are made: rows of a block, blocks that a block attends to, how strongly, and every which channel is
# loud and how much. With them the keys are as large as in the miniature, and a row attends to some 50 of 4096 keys.
_BLOCK, _TARGETS, _STRENGTH, _LOUD, _LOUDNESS = 64, 4, 0.5, 43, 3.0


class Measured(NamedTuple):
    """error: distance from exact attention, relative. gain: how many times as fast as it. exact: its name."""

    error: float
    gain: float
    exact: str

    def __str__(self) -> str:
        return f"{self.gain:.1f} times as fast as {self.exact}, {100 * self.error:.0f} % off"

    def why_not(self) -> str | None:
        """None if the results are right, else the end of a sentence."""
        return None if self.error <= _LARGEST_ERROR else f"its results are wrong here ({self})"

    def not_worth(self) -> str | None:
        """None if it is faster, else the end of a sentence."""
        return None if self.gain >= _LEAST_GAIN else f"it is not faster here ({self})"


def measure(function: Attention, exact: Attention, device: torch.device, exact_name: str = "exact attention",
            tokens: int = TOKENS, heads: int = HEADS) -> Measured:
    """A function against an exact one on a device. Raises whatever the function raises."""
    q, k, v = inputs(tokens, heads, device)
    with torch.no_grad():
        # the first call of each loads or compiles the kernel
        result, expected = function(q, k, v, heads).float(), exact(q, k, v, heads).float()
        error = float((result - expected).norm() / expected.norm())
        del result, expected
        seconds, others = (_seconds(lambda call=call: call(q, k, v, heads), device) for call in (function, exact))
    return Measured(error if error == error else float("inf"), others / seconds, exact_name)


def inputs(tokens: int, heads: int, device: torch.device) -> Tensor:
    """Queries, keys and values, bfloat16 [3, 1, tokens, heads * 128]; tokens is a multiple of 64."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=torch.bfloat16)

    blocks = tokens // _BLOCK
    centres, q, k, v = normal(blocks, 1, heads, HEAD), *normal(3, blocks, _BLOCK, heads, HEAD)
    targets = torch.randint(blocks, (_TARGETS, blocks), generator=generator, device=device)
    loudness = torch.ones(HEAD, device=device, dtype=torch.bfloat16)
    loudness[::_LOUD] = _LOUDNESS
    q = (0.5 * q + _STRENGTH * centres[targets].sum(0)) * loudness
    k = (0.6 * k + centres + normal(heads, HEAD)) * loudness
    v = v + centres.roll(1, 0)
    return torch.stack((q, k, v)).view(3, 1, tokens, heads * HEAD)


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Of one of a few calls in a row, the best of a few times."""
    best = float("inf")
    for _ in range(_REPEATS):
        _wait(device)
        start = time.perf_counter()
        for _ in range(_IN_A_ROW):
            call()
        _wait(device)
        best = min(best, (time.perf_counter() - start) / _IN_A_ROW)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Candidate:
    """A package's attention on each device, tried when it is first asked for. Answers are ends of sentences, or None.

    missing: why the package cannot compute on a device, if it knows that without trying.
    """

    def __init__(self, name: str, function: Attention, missing: Callable[[torch.device], str | None]) -> None:
        self.name, self.function, self.missing = name, function, missing
        self.found: dict[torch.device, Measured | str] = {}

    def why_not(self, device: torch.device) -> str | None:
        """Why it does not work on a device."""
        found = self._tried(device)
        return found if isinstance(found, str) else found.why_not()

    def not_worth(self, device: torch.device) -> str | None:
        """Why it is not used on a device where it works."""
        found = self._tried(device)
        return None if isinstance(found, str) else found.not_worth()

    def _tried(self, device: torch.device) -> Measured | str:
        if device not in self.found:
            try:
                self.found[device] = self.missing(device) or self._measured(device)
            except torch.OutOfMemoryError:  # not kept: another time there may be room
                return "there was too little memory to try it"
            except Exception as error:  # whatever it is, there is another attention
                self.found[device] = does_not_run(error)
        return self.found[device]

    def _measured(self, device: torch.device) -> Measured:
        measured = measure(self.function, *_exact(device))
        log.info("SCAIL-2: attention %s: %s.", self.name, measured)
        return measured


def kitchen_lacks(name: str, device: torch.device) -> str | None:
    """Why comfy-kitchen's function of a name cannot compute on a device, as the end of a sentence, or None."""
    if device.type != "cuda":
        return "it needs a GPU"
    try:
        import comfy_kitchen
    except ImportError as error:
        return f"comfy-kitchen is not installed ({error})"
    available = getattr(comfy_kitchen, f"{name}_is_available", None)
    if available is None:
        return f"this comfy-kitchen has no {name}"
    return None if available(device) else "comfy-kitchen has no kernel of it for this GPU"


def _exact(device: torch.device) -> tuple[Attention, torch.device, str]:
    """The fastest exact attention of the pack on a device, as arguments of `measure`."""
    if flash_attention.why_not(device) is None:
        return flash_attention.attention, device, "flash_attn_4"
    if cudnn_attention.why_not(device) is None:
        return cudnn_attention.attention, device, "cudnn"
    return _pytorch, device, "pytorch"


def _pytorch(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
