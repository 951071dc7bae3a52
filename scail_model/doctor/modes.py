"""What is measured, at which size, and what a host brings for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..config import TransformerConfig
from ..kernels.attention_backends import AUTOMATIC, fastest
from ..kernels.precision import EXACT, FAST, PRECISIONS, int8_storage
from ..preflight import budget
from ..preflight.budget import Machine
from ..sparse.run import SparseRun
from ..sparse.settings import SparseSettings
from .inputs import Inputs, Size

SIZES = (Size(896, 512, 81), Size(832, 480, 81), Size(832, 480, 33), Size(640, 384, 33), Size(512, 320, 17),
         Size(256, 256, 5))  # pixels and frames, the largest first
LONG = 20.0  # seconds: a size whose forward takes longer is not chosen, and a forward that does is not repeated
_MARGIN = 1.2  # of the activations: what is noted takes memory too


@dataclass(frozen=True)
class Mode:
    """A precision, and whether attention is sparse although the precision does not make it so by itself."""

    name: str
    precision: str
    made_sparse: bool = False

    @property
    def sparse(self) -> bool:
        return self.made_sparse or self.precision == FAST

    def attention(self, device: torch.device) -> str:
        """The backend to ask for. ValueError where none that is sparse works."""
        if not self.made_sparse:
            return AUTOMATIC
        backend, reasons = fastest(FAST, device)
        if backend.precision != FAST:
            raise ValueError(f"no sparse attention works here ({'; '.join(reasons)})")
        return backend.name


# the exact one first, with which the others are compared; the last is for files whose linears cannot be in int8
MODES = (*(Mode(precision, precision) for precision in PRECISIONS), Mode("exact, sparse", EXACT, made_sparse=True))


@dataclass(frozen=True)
class Running:
    """A network that is ready to compute. attention, reason, sparse: its attention, why it was chosen, and whether it
    is sparse. weights: their dtype or format. forward: one of the inputs that `Subject.run` got, with a run if
    attention is sparse -> velocity [1, 16, T, H, W]."""

    network: nn.Module
    attention: str
    reason: str
    weights: str
    sparse: bool
    forward: Callable[[SparseRun | None], Tensor]


class Subject(Protocol):
    """Weights as a host runs them. name: of their file. device, machine: where. in_chunks: whether its blocks may
    compute a few rows at a time. held_bytes: of weights on the device during an exact forward, at least."""

    name: str
    config: TransformerConfig
    device: torch.device
    machine: Machine
    in_chunks: bool
    held_bytes: int

    def run(self, mode: Mode, inputs: Inputs, use: Callable[[Running], None]) -> None:
        """Call `use` while a network of this mode is ready. ValueError, in one sentence, if it does not run here with
        these weights."""
        ...


def fitting(subject: Subject) -> Iterator[Size]:
    """The sizes that should fit, the largest first; the smallest in any case. Without a GPU only that one."""
    for size in SIZES[:-1]:
        seconds, needed = estimates(subject, size, MODES[0])
        fits = _MARGIN * needed + subject.held_bytes <= subject.machine.free_vram
        if seconds is not None and seconds <= LONG and fits:
            yield size
    yield SIZES[-1]


def estimates(subject: Subject, size: Size, mode: Mode) -> tuple[float | None, int]:
    """As the check of inputs has them: seconds of a forward, None without a GPU; bytes beside the weights."""
    machine, config = subject.machine, subject.config
    needed = budget.activation_bytes(config, size.tokens, 1, machine.total_vram if subject.in_chunks else 0,
                                     int8=int8_storage(mode.precision))
    if machine.matmul_tflops is None:
        return None, needed
    return budget.token_seconds(config, size.tokens, machine.matmul_tflops, int8=int8_storage(mode.precision),
                                density=SparseSettings().first(size.tokens) if mode.sparse else 1.0), needed
