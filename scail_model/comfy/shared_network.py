"""Our network on the layers of a MODEL that another loader has read, so that GGUF files and core's loader get the
official numbers too.

Nothing is copied: the layers, with whatever form of weights they hold, are those of the MODEL's own network, under the
same names. Ours stands in its place while a video is sampled, as any node's object patch would.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_base
import comfy.ops
from comfy.patcher_extension import CallbacksMP
from torch import nn

from ..kernels.attention_backends import AUTOMATIC
from . import attention, gpus, patches
from .loras import config_of
from .model import ComfyTransformer
from .patches import COPIES, GPUS, NETWORK

_LAYERS = (nn.Linear, nn.Conv3d, nn.LayerNorm, nn.RMSNorm)
# patches that bring blocks, or the whole network, of core's own kind
_WHOLE = re.compile(rf"{NETWORK}(\.blocks\.\d+)?")

_made: WeakKeyDictionary[nn.Module, ComfyTransformer] = WeakKeyDictionary()


def with_our_network(model):
    """The MODEL with our network; as it is if it has that already, is not SCAIL-2, or carries what only core's runs."""
    network = own_network(model)
    if isinstance(network, ComfyTransformer) or not isinstance(model.model, comfy.model_base.WAN21_SCAIL2):
        return model
    if any(_WHOLE.fullmatch(name) for name in model.object_patches) or not _runs(model):
        return model
    patcher = model.clone()
    # first: what other nodes exchange within the network is then exchanged in ours
    patcher.object_patches = {NETWORK: _ours(network, model), **patcher.object_patches}
    if patcher.get_additional_models_with_key(COPIES):
        gpus.add_sharing(patcher)
        patcher.add_callback_with_key(CallbacksMP.ON_MATCH_MULTIGPU_CLONES, GPUS, _with_layers_of_its_own)
    return patcher


def _with_layers_of_its_own(model, copy) -> None:
    """A copy for another GPU gets our network on its layers, where core has given it the first one's."""
    copy.object_patches[NETWORK] = ours = _ours(own_network(copy), copy)
    ours.use_attention(model.object_patches[NETWORK].backend)


def own_network(model) -> nn.Module:
    """The network that the MODEL was loaded with, also while ours stands in its place."""
    return model.object_patches_backup.get(NETWORK, model.model.diffusion_model)


def _runs(model) -> bool:
    """Whether our network runs all that other nodes have set on a MODEL."""
    try:
        patches.check(model)
    except ValueError:
        return False
    return True


def _ours(network: nn.Module, model) -> ComfyTransformer:
    """Of each network one."""
    if network not in _made:
        _made[network] = _sharing(network, model)
    return _made[network]


def _sharing(network: Any, model) -> ComfyTransformer:
    ours = ComfyTransformer(operations=comfy.ops.disable_weight_init, device="meta", dtype=network.dtype,
                            **asdict(config_of(model)))
    for name, module in list(ours.named_modules()):
        if isinstance(module, _LAYERS):
            parent, _, last = name.rpartition(".")
            setattr(ours.get_submodule(parent), last, network.get_submodule(name))
        elif "modulation" in dict(module.named_parameters(recurse=False)):
            module.modulation = network.get_submodule(name).modulation
    ours.use_attention(attention.choose(AUTOMATIC, model.load_device, ours.precision))
    return ours
