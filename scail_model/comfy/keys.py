"""Keys of ComfyUI's objects: equal if they would give the same frames, in this run of ComfyUI or in another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from comfy.hooks import HookKeyframeGroup
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn

from ..files.content_keys import digest, sampled_digest
from ..inputs.reference import Pictures, Reference
from .patches import COPIES, without_ours
from .shared_network import own_network

# attributes of a MODEL's patcher that hold what other nodes have done to it
_PATCHES = ("patches", "weight_wrapper_patches", "object_patches", "model_options", "attachments", "additional_models",
            "callbacks", "wrappers", "injections", "hook_patches")
_COPIES_OPTIONS = "multigpu_options"  # core's notes on them
# settings of ComfyUI-GGUF's loader that it keeps on its layers
_GGUF_SETTINGS = ("dequant_dtype", "patch_dtype")


# Some patches keep notes while they sample, which are not settings: a MODEL keeps the key that it had at first.
_known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def model_key(model) -> str:
    """Of a MODEL: its weights, and all that LoRAs and patch nodes have done to it."""
    if model not in _known:
        _known[model] = _model_key(model)
    return _known[model]


def _model_key(model) -> str:
    network = own_network(model)
    return sampled_digest(
        type(network).__name__, str(model.model.model_config.unet_config), str(model.model.get_dtype()),
        str(model.model.manual_cast_dtype), *_options(network),
        _typed(weights(network, model, "diffusion_model.")), *_patches(model), known=_Known(model))


def _options(network) -> tuple[str, ...]:
    """The user's choices of how a network computes; everything else is in its weights."""
    ours = (network.precision, network.attention) if hasattr(network, "precision") else ()
    return *ours, *sorted({f"{name} {getattr(layer, name)}" for layer in network.modules() for name in _GGUF_SETTINGS
                           if hasattr(layer, name)})


class _Known:
    """What patches of a MODEL refer to, but have not made: its own modules, and MODELs.

    A patched `forward` is bound to a module of the network, which all MODELs of that file share; KJNodes' NAG and
    Enhance-A-Video write their settings there while they run. So such a module counts by its name. What the node
    has set is in the function's closure.
    """

    def __init__(self, model) -> None:
        self.model = model.model
        # while patches are applied, their modules stand in the place of the network's
        patched: dict[str, Any] = model.object_patches_backup
        self.names = {id(module): name for name, module in self.model.named_modules()
                      if not any(f"{name}.".startswith(f"{path}.") for path in patched)}
        for path, original in patched.items():
            if isinstance(original, nn.Module):
                self.names |= {id(module): name for name, module in original.named_modules(prefix=path)}

    def __call__(self, value: Any) -> tuple[str, Sequence[Any]] | None:
        if isinstance(value, nn.Module) and id(value) in self.names:
            return f"module {self.names[id(value)]}", ()
        if isinstance(value, ModelPatcher):  # its other attributes say how it is loaded
            network: Any = value.model
            return "MODEL", (network if network is self.model else weights(network, value, ""), *_patches(value))
        return None


def _patches(patcher) -> Sequence[Any]:
    held = {name: getattr(patcher, name) for name in _PATCHES}
    # our own are in every model of ours, and change nothing
    held |= {name: without_ours(held[name]) for name in ("wrappers", "callbacks")}
    # nor does the number of GPUs
    held |= {name: {key: value for key, value in held[name].items() if key not in (COPIES, _COPIES_OPTIONS)}
             for name in ("additional_models", "model_options")}
    return list(held.values())


def vae_key(vae) -> str:
    return sampled_digest(weights(vae.first_stage_model, vae.patcher, ""), str(vae.vae_dtype), vae.patcher.patches)


def prompt_key(prompts: list[list]) -> str:
    """Of several CONDITIONINGs."""
    return digest(prompts, known=_settings_of_hooks)


def _settings_of_hooks(value: Any) -> tuple[str, Sequence[Any]] | None:
    """The keyframes of LoRA hooks, in which core keeps where the last sampling was."""
    if isinstance(value, HookKeyframeGroup):
        return "keyframes", [(each.strength, each.start_percent, each.guarantee_steps) for each in value.keyframes]
    return None


def reference_key(reference: Reference | Pictures) -> str:
    if isinstance(reference, Pictures):  # of a draft, encoded when it is sampled
        full = cast(Reference, reference.full)
        return digest(reference.width, reference.height, list(reference.images), reference.identities.digest(),
                      reference.cut_out, reference.as_video, full.width, full.height,
                      full.clip["penultimate_hidden_states"])
    return digest(reference.width, reference.height, reference.latents, reference.masks,
                  reference.clip["penultimate_hidden_states"])


def weights(module: nn.Module, patcher, prefix: str) -> dict[str, Tensor]:
    """The weights as they are in the file: ComfyUI keeps a copy of those into which a LoRA is merged. Those that
    ComfyUI-GGUF has loaded are the bytes of the file."""
    found = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    if any(tensor.is_meta for tensor in found.values()):
        # of ComfyUI-GGUF: the state dict holds shapes for estimates, the parameters hold the data
        found = dict(module.named_parameters())
    # a patch may have put another tensor into the place of a parameter
    found |= {key.removeprefix(prefix): original for key, original in patcher.object_patches_backup.items()
              if key.startswith(prefix) and isinstance(original, Tensor)}
    for key, kept in patcher.backup.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            # a merged 8-bit weight has other scales too
            found |= kept.weight.state_dict(name) if isinstance(kept.weight, QuantizedTensor) else {name: kept.weight}
    return found


def _typed(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """With the way in which ComfyUI-GGUF's tensors are packed, which their bytes do not tell."""
    return {name: (str(kind), tensor) if (kind := getattr(tensor, "tensor_type", None)) is not None else tensor
            for name, tensor in tensors.items()}
