"""Where NaN and infinite numbers in a latent come from. Asked only when there are some, so good runs cost nothing.

A finding is the end of a sentence that begins with the segment and the step: what to do, and why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

AROSE = "use a bf16 model file, or another attention backend, because models, prompts and pictures are sound"


def first(named: Iterable[tuple[str, Any]]) -> str | None:
    """Name of the first tensor with numbers that are not finite. Whole numbers, meta tensors and whatever is not a
    tensor are passed over."""
    return next((name for name, tensor in named if isinstance(tensor, Tensor) and not is_finite(tensor)), None)


def in_weight(name: str) -> str:
    return f"use another file of the model, because {name} in this one holds such values"


def in_lora(name: str) -> str:
    return f"use another LoRA, or none, because the one for {name} holds such values"


def by_strength(name: str) -> str:
    return f"use a lower strength of the LoRA, or a bf16 model file, because {name} with the LoRA holds such values"


def in_prompt(name: str) -> str:
    return f"use another text encoder file or prompt, because the {name} prompt holds such values"


def in_reference(part: str) -> str:
    return f"use another {part} file, because the reference that it has encoded holds such values"


def in_latents(what: str, where: str) -> str:
    """A whole sentence, of latents that are encoded before anything is sampled."""
    return f"The VAE's latents of the {what} in {where} hold NaN or infinite values: use another VAE file."


def is_finite(tensor: Tensor) -> bool:
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    return bool((tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all())
