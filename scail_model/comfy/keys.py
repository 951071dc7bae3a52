"""ComfyUI's objects -> keys: equal when they would give the same frames, in this run of ComfyUI or in another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ..files.content_keys import digest, sampled_digest
from .conditioning import Reference

# what other nodes do to a MODEL, by attribute of its patcher
_CHANGES = ("patches", "weight_wrapper_patches", "object_patches", "model_options", "attachments", "additional_models",
            "callbacks", "wrappers", "injections", "hook_patches")


# What some patches note down while they sample is no other setting: a MODEL keeps the key that it had at first.
_known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def model_key(model) -> str:
    """Of a MODEL: its weights, and everything that LoRAs and patch nodes have done to it."""
    if model not in _known:
        _known[model] = _model_key(model)
    return _known[model]


def _model_key(model) -> str:
    network = model.model.diffusion_model
    return sampled_digest(
        type(network).__name__, str(model.model.model_config.unet_config), str(model.model.get_dtype()),
        str(model.model.manual_cast_dtype), *_ways(network), _weights(network.state_dict(), model, "diffusion_model."),
        *(getattr(model, name) for name in _CHANGES))


def _ways(network) -> tuple[str, ...]:
    """How a network of ours computes, where there is a choice; its weights tell the rest."""
    return (network.precision, network.attention) if hasattr(network, "precision") else ()


def vae_key(vae) -> str:
    return sampled_digest(_weights(vae.first_stage_model.state_dict(), vae.patcher, ""), str(vae.vae_dtype),
                          vae.patcher.patches)


def prompt_key(prompts: list[list]) -> str:
    """Of several CONDITIONINGs."""
    return digest(prompts)


def reference_key(reference: Reference) -> str:
    return digest(reference.width, reference.height, reference.latents, reference.masks,
                  reference.clip["penultimate_hidden_states"])


def _weights(tensors: Mapping[str, Any], patcher, prefix: str) -> dict[str, Tensor]:
    """The weights as the file has them: where a LoRA was merged into the loaded ones, ComfyUI keeps a copy."""
    found = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    for key, kept in patcher.backup.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            # a merged 8-bit weight has other scales too
            found |= kept.weight.state_dict(name) if isinstance(kept.weight, QuantizedTensor) else {name: kept.weight}
    return found
