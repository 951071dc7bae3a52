"""Which of ComfyUI's objects holds NaN or infinite numbers, when a latent does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..video import not_finite
from ..video.task import SegmentInputs
from . import keys
from .shared_network import own_network

_NETWORK = "diffusion_model."


def find(model, inputs: SegmentInputs) -> str:
    """What to do and why, see `video/not_finite.py`: of the MODEL, its patches, a segment's prompts and reference."""
    network = own_network(model)
    weight = not_finite.first(keys.weights(network, model, _NETWORK).items())
    if weight is not None:
        return not_finite.in_weight(weight)
    for key, patches in model.patches.items():
        name = key.removeprefix(_NETWORK)
        if not all(map(not_finite.is_finite, _tensors(patches))):
            return not_finite.in_lora(name)
    patched = {key.removeprefix(_NETWORK) for key in model.patches}
    merged = not_finite.first((name, tensor) for name, tensor in network.state_dict().items() if name in patched)
    if merged is not None:
        return not_finite.by_strength(merged)
    return _of_inputs(inputs) or not_finite.AROSE


def _of_inputs(inputs: SegmentInputs) -> str | None:
    prompts = {"positive": inputs.positive, "negative": inputs.negative}
    name = not_finite.first((name, embedding) for name, entries in prompts.items() for embedding, _ in entries)
    if name is not None:
        return not_finite.in_prompt(name)
    encoded = {"VAE": inputs.reference.latents, "CLIP vision": [inputs.reference.clip["penultimate_hidden_states"]]}
    part = not_finite.first((part, tensor) for part, tensors in encoded.items() for tensor in tensors)
    return None if part is None else not_finite.in_reference(part)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those in a patch: tuples of tuples, and adapters that hold their weights."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif hasattr(value, "weights"):
        yield from _tensors(value.weights)
