"""Which attention the command line computes with: PyTorch's, or a faster one that is installed."""

from __future__ import annotations

import torch

from ..attention import sdpa
from ..kernels import attention_choice
from ..kernels.attention_backends import CORE, HELP
from ..kernels.attention_choice import Backend, HostAttention

PYTORCH = "pytorch"
# as in ComfyUI, but that the attention which is always there is PyTorch's
CHOICES = {PYTORCH if name == CORE else name: "PyTorch's attention, which runs everywhere." if name == CORE else text
           for name, text in HELP.items()}


def choose(name: str, device: torch.device, precision: str) -> Backend:
    """The attention of a name in CHOICES. Raises ValueError for one that does not run on the device."""
    return attention_choice.choose(name, device, precision, HostAttention(PYTORCH, PYTORCH, sdpa))


def prepare_further(device: torch.device, backend: Backend, precision: str) -> None:
    """Get another GPU of the same kind ready for an attention. Raises ValueError if it does not run there."""
    reason = attention_choice.prepare(backend, precision, device)
    if reason is not None:
        raise ValueError(f"attention is {backend.name}, but on {device} {reason}: use one GPU (--gpus 1), or attention "
                         f"{PYTORCH}.")
