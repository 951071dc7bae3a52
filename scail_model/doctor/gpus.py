"""Several GPUs of a machine: what they are, what travels between them, and what they bring together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch

from ..config import TransformerConfig
from ..gpus.choice import Gpu, choose, gpu_facts
from ..gpus.gain import NVLINK, Together
from ..gpus.probe import link_rate
from ..preflight.forward_time import token_seconds
from .inputs import Size

_SIZE = Size(896, 512, 81)
_CONFIG = TransformerConfig()


def several(devices: Sequence[torch.device], tflops: float | None) -> dict[str, Any] | None:
    """None for fewer than two. Rates in bytes a second, None where nothing can travel or was not measured.

    pairs: of each two, and why nothing can travel. together, fewer: how many "all" makes of a video, and why not all of
    them. link: what each of those sends while all do. gain: reckoned for numbers of them, how many times as fast as on
    one a forward of `size` is; None without `tflops`, of the product that the check times.
    """
    if len(devices) < 2:
        return None
    facts = gpu_facts(devices)
    choice = choose(None, _CONFIG.num_heads, facts)
    link = link_rate(choice.devices)
    return {
        "cards": [{"device": str(gpu.device), "name": gpu.name, "memory": gpu.total, "free": gpu.free}
                  for gpu in facts],
        "pairs": [_pair(facts, one, other) for one, other in combinations(range(len(facts)), 2)],
        "together": len(choice.devices), "fewer": choice.fewer, "link": link,
        "size": f"{_SIZE.width}x{_SIZE.height}, {_SIZE.frames} frames, exact",
        "gain": _gain(len(choice.devices), link, tflops)}


def _pair(facts: Sequence[Gpu], one: int, other: int) -> dict[str, Any]:
    first, second = facts[one], facts[other]
    apart = first.apart.get(other) or second.apart.get(one)
    return {"devices": [str(first.device), str(second.device)], "apart": apart,
            "rate": None if apart else link_rate((first.device, second.device))}


def _gain(most: int, link: float | None, tflops: float | None) -> dict[str, float] | None:
    if tflops is None:
        return None
    alone = token_seconds(_CONFIG, _SIZE.tokens, tflops)
    return {str(count): round(alone / token_seconds(_CONFIG, _SIZE.tokens, tflops,
                                                    together=Together(count, link or NVLINK)), 2)
            for count in range(2, most + 1) if _CONFIG.num_heads % count == 0}
