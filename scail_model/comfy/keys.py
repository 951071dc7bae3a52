"""Keys of ComfyUI's objects: equal if they would give the same frames, in this run of ComfyUI or in another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ..files.content_keys import digest, sampled_digest
from ..inputs.reference import Reference

# attributes of a MODEL's patcher that hold what other nodes have done to it
_PATCHES = ("patches", "weight_wrapper_patches", "object_patches", "model_options", "attachments", "additional_models",
            "callbacks", "wrappers", "injections", "hook_patches")


# Some patches keep notes while they sample, which are not settings: a MODEL keeps the key that it had at first.
_known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def model_key(model) -> str:
    """Of a MODEL: its weights, and all that LoRAs and patch nodes have done to it."""
    if model not in _known:
        _known[model] = _model_key(model)
    return _known[model]


def _model_key(model) -> str:
    network = model.model.diffusion_model
    return sampled_digest(
        type(network).__name__, str(model.model.model_config.unet_config), str(model.model.get_dtype()),
        str(model.model.manual_cast_dtype), *_options(network),
        _weights(network.state_dict(), model, "diffusion_model."), *(getattr(model, name) for name in _PATCHES))


def _options(network) -> tuple[str, ...]:
    """The user's choices of how a network of ours computes; everything else is in its weights."""
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
    """The weights as they are in the file: ComfyUI keeps a copy of those into which a LoRA is merged."""
    found = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    for key, kept in patcher.backup.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            # a merged 8-bit weight has other scales too
            found |= kept.weight.state_dict(name) if isinstance(kept.weight, QuantizedTensor) else {name: kept.weight}
    return found
