"""Scenes at the same time under ComfyUI: each copy of the MODEL samples a scene alone, on its GPU, with a VAE there.

Core's memory management knows no threads, so what loads or frees models does that one at a time (`loading`). Nobody
frees what another lane computes with, because each has a GPU of its own, which holds all weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.sd
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ..gpus.team import Team
from ..kernels.ranks import RANK
from ..video.at_once import place_of
from . import wan_vae
from .gpus import first_of, gpus_of
from .patches import COPIES, GPUS, OURS
from .video_vae import loading

_PLAIN = (type(None), bool, int, float, str, Tensor, torch.device, torch.dtype)
_ROOM = 2  # times the weights that a GPU must have, so that they stay there while it samples and decodes

_vaes: WeakKeyDictionary[nn.Module, dict[torch.device, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Lane:
    """A MODEL without copies and a VAE, both on one GPU."""

    place: str
    model: Any
    vae: Any

    def sample(self, sample: Callable[[Any], Tensor]) -> Tensor:
        """`sample` of the MODEL, as one of several threads."""
        def alone(rank) -> Tensor:
            model = self.model.clone()
            model.model_options.setdefault("transformer_options", {})[RANK] = rank
            model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, GPUS, _one_at_a_time)
            with comfy.model_management.cuda_device_context(model.load_device):
                return sample(model)

        return Team([self.model.load_device]).run(alone)[0]


def lanes_of(model, vae) -> list[Lane]:
    """One for each GPU of a MODEL; none where there is one GPU, where weights would come and go, where another node's
    code runs while it samples, or where the VAE is none of which another GPU can have its own."""
    devices = gpus_of_lanes(model, vae)
    if not devices:
        return []
    model = model.clone()
    model.match_multigpu_clones()
    models = {each.load_device: each for each in (model, *model.get_additional_models_with_key(COPIES))}
    return [Lane(place_of(number), _alone(models[device]), _vae_on(vae, device))
            for number, device in enumerate(devices)]


def gpus_of_lanes(model, vae) -> tuple[torch.device, ...]:
    """The GPU of each of the lanes."""
    devices = gpus_of(model).devices
    several = len(devices) > 1 and _has_copies(vae) and all(_stays(model, device) for device in devices)
    return devices if several and not _others_run(model) else ()


def _others_run(model) -> bool:
    """Whether another node's code runs while a MODEL samples. It may keep something from one step to the next, as APG
    does, which threads would take from each other."""
    return _holds_code(model.model_options) or any(
        key not in OURS for of_kind in (*model.wrappers.values(), *model.callbacks.values()) for key in of_kind)


def _holds_code(value: Any) -> bool:
    """Whether anything but plain values is in the options of a MODEL."""
    if isinstance(value, (dict, list, tuple)):
        return any(map(_holds_code, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, _PLAIN)


def _stays(model, device: torch.device) -> bool:
    return device.type != "cuda" or comfy.model_management.get_total_memory(device) >= _ROOM * model.model_size()


def _alone(model):
    alone = model.clone()
    alone.remove_additional_models(COPIES)
    alone.is_multigpu_base_clone = False
    # Python frees this one and the next together, and ComfyUI's memory management looks for the weights' owner there
    alone.parent = first_of(model)
    return alone


def _has_copies(vae) -> bool:
    return type(vae) is comfy.sd.VAE and wan_vae.is_known(vae.first_stage_model) and not vae.patcher.patches


def _vae_on(vae, device: torch.device):
    if device == vae.device:
        return vae
    known = _vaes.setdefault(vae.first_stage_model, {})
    if device not in known:
        weights = {name: tensor.cpu() for name, tensor in vae.get_sd().items()}
        known[device] = comfy.sd.VAE(sd=weights, device=device, dtype=vae.vae_dtype)
    return known[device]


def _one_at_a_time(executor, *arguments, **options):
    with loading:
        return executor(*arguments, **options)
