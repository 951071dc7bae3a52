"""Several GPUs at one sampling under ComfyUI: copies of the MODEL as core's MultiGPU keeps them, which are loaded,
patched and freed with the MODEL itself.

Core gives each copy another prompt. So the copies are put into groups, one for each prompt if their number allows it,
and else a single one: core sees the first copy of a group, and our network, when that is called, has the rows of its
tokens computed by all of the group. What another node has set may need all rows in one place; then core's way remains.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..gpus.choice import GpuChoice, choose_here
from ..kernels.ranks import rank_of
from . import overrides
from .blocks import patches
from .model import ComfyTransformer
from .patches import COPIES, GPUS, NETWORK, origin
from .sharing import SHARING, Sharing

log = logging.getLogger(__name__)

_DEVICES = "scail2_devices"  # where `transformer_options` hold the GPUs of a sampling
_CLONES = "multigpu_clones"  # core's name of its copies, by device
_COMPILED = "torch.compile"  # core's key of its wrapper
_FUNCTION = "model_function_wrapper"  # core's key of a function that takes the place of the network's call
_AROUND = (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL)  # what it calls in the thread of a GPU
_BLOCKS = 2  # whose weights are on a GPU at the least: the one that computes, and the next one


def devices() -> list[torch.device]:
    """Those that ComfyUI may use, the one that models are loaded on first."""
    first = comfy.model_management.get_torch_device()
    return [first, *(other for other in comfy.model_management.get_all_torch_devices() if other != first)]


def with_copies(patcher, wanted: int | None, build: Callable[[], Any]):
    """A MODEL with copies of itself on other GPUs, `wanted` in all, None for as many as there are. Why they are fewer
    is logged, and kept with the network. build: makes the MODEL once more."""
    network = patcher.model.diffusion_model
    streamed = _BLOCKS * patcher.model_size() // network.config.num_layers
    choice = choose_here(wanted, network.config.num_heads, devices(), lambda count: streamed, can_be_free)
    network.loaded_for = choice
    if choice.fewer:
        log.info("SCAIL-2: %s", choice.fewer)
    patcher.cached_patcher_init = (build, ())  # which core asks for a copy
    copies = []
    for device in choice.devices[1:]:
        copy = patcher.deepclone_multigpu(new_load_device=device)
        copy.is_multigpu_base_clone, copy.cached_patcher_init = True, None
        copies.append(copy)
    patcher.cached_patcher_init = None
    if copies:
        patcher.set_additional_models(COPIES, copies)
        patcher.match_multigpu_clones()
    return patcher


def can_be_free(device: torch.device) -> int:
    """Bytes that are free on a device when ComfyUI has unloaded all models from it."""
    loaded = sum(each.model_loaded_memory() for each in comfy.model_management.current_loaded_models
                 if each.model is not None and each.device == device)
    return comfy.model_management.get_free_memory(device) + loaded


def add_sharing(patcher) -> None:
    """Let copies of a MODEL work together, whoever makes them."""
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, GPUS, _with_devices)
    patcher.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, GPUS, _in_groups)
    patcher.add_callback_with_key(CallbacksMP.ON_DEEPCLONE_MULTIGPU, GPUS, _like_the_first)
    for callback in (_offloaded_at_home, _known_to_memory):
        patcher.add_callback_with_key(CallbacksMP.ON_MATCH_MULTIGPU_CLONES, GPUS, callback)


def _like_the_first(patcher, copy) -> None:
    """A copy has chosen its attention for the first GPU, and a measured choice may differ from one time to the next. It
    may take the first one's place, without other copies."""
    first, other = patcher.model.diffusion_model, copy.model.diffusion_model
    other.use_attention(first.backend)
    other.loaded_for = first.loaded_for


def _offloaded_at_home(patcher, copy) -> None:
    """Where ComfyUI keeps models that do not compute on the GPU, a copy stays on its own, not on the first one."""
    if patcher.offload_device == patcher.load_device:
        copy.offload_device = copy.load_device


def _known_to_memory(patcher, copy) -> None:
    """Core names the first GPU's patcher as the parent of a copy's. When the copy's is gone, as after a change further
    down the line, ComfyUI's memory management would free that one's GPU instead, or take the weights for a leak; and a
    MODEL that holds copies which hold it stays until Python looks for cycles. The parent is the first patcher of the
    same weights."""
    first = first_of(next(each for each in patcher.get_additional_models_with_key(COPIES) if each.is_clone(copy)))
    first.parent, copy.parent = None, first


def first_of(patcher):
    """The first patcher of the same weights, which lives as long as any that was made from it."""
    while patcher.parent is not None and patcher.parent.is_clone(patcher):
        patcher = patcher.parent
    return patcher


def gpus_of(model, hooked: bool = False) -> GpuChoice:
    """The GPUs that share the rows of a MODEL's tokens, and a sentence if they are fewer than asked for. hooked:
    whether prompts turn LoRAs on and off."""
    all_devices = [model.load_device, *(copy.load_device for copy in model.get_additional_models_with_key(COPIES))]
    network = model.get_model_object(NETWORK)
    if not isinstance(network, ComfyTransformer):
        return GpuChoice((model.load_device,))
    choice = GpuChoice((model.load_device,))
    if len(all_devices) > 1:
        reason = _HOOKED if hooked else _reason_for_one(model)
        if reason is not None:
            return GpuChoice((model.load_device,), reason)
        choice = choose_here(len(all_devices), network.config.num_heads, all_devices, free=can_be_free,
                             instead=_EACH)
    return GpuChoice(choice.devices, choice.fewer or _fewer_than_loaded(network.loaded_for, choice.devices))


def _fewer_than_loaded(loaded: GpuChoice | None, left: Sequence[torch.device]) -> str | None:
    """Why a MODEL is on fewer GPUs than its loader was asked for."""
    if loaded is None or len(left) > len(loaded.devices):
        return None
    if len(left) == len(loaded.devices):
        return loaded.fewer
    return _MOVED.format(len(loaded.devices), ", ".join(map(str, left)),
                         "1 GPU is" if len(left) == 1 else f"{len(left)} GPUs are")


def are_hooked(*prompts) -> bool:
    """Whether CONDITIONINGs turn LoRAs on and off while the MODEL samples."""
    return any("hooks" in options for entries in prompts for _, options in entries)


def line(model, hooked: bool = False) -> str:
    """The GPUs of a MODEL, for reports; "" where it is on one as asked. hooked: as in `gpus_of`."""
    choice = gpus_of(model, hooked)
    several = f"on {len(choice.devices)} GPUs ({', '.join(map(str, choice.devices))})"
    return ", ".join([*([several] if len(choice.devices) > 1 else []), *([choice.fewer] if choice.fewer else [])])


def _reason_for_one(model) -> str | None:
    """Why each prompt is computed on one GPU, a sentence, because of what other nodes have set on a MODEL; None if
    nothing needs all rows, or all heads, in one place."""
    bound = _bound(model)
    if bound is not None:
        return _ALL_ON_ONE.format(bound)
    options = model.model_options.get("transformer_options", {})
    override = options.get(overrides.OVERRIDE)
    if override is not None and overrides.rows(options) > overrides.Rows.ANY:
        return _EACH_ON_ONE.format(f"{origin(override)} exchanges attention")
    for kind in ("attn1_patch", "attn2_patch", "double_block"):
        for patch in patches(options, kind):
            return _EACH_ON_ONE.format(f"{origin(patch)} has put a patch of kind {kind} on the model")
    for replacement in options.get("patches_replace", {}).get("dit", {}).values():
        return _EACH_ON_ONE.format(f"{origin(replacement)} replaces a block")
    return None


def _bound(model) -> str | None:
    """What another node has set that holds layers of the MODEL itself, which are not those of its copies."""
    for name, patch in model.object_patches.items():
        if name.startswith(f"{NETWORK}."):
            return f"{origin(patch)} replaces {name}"
    if _COMPILED in model.wrappers.get(WrappersMP.APPLY_MODEL, {}):
        return "A node compiles the model"
    if model.injections:
        return "A node injects layers into the model"
    return None


_REMEDY = "remove that node from the model's line, or set gpus to 1."
_EACH = "each prompt is computed on one GPU"
_EACH_ON_ONE = "{}, so " + _EACH + ": " + _REMEDY
_ALL_ON_ONE = "{}, so one GPU computes all: " + _REMEDY
_MOVED = ("gpus is {}, but a node after the loader, such as Select Model Device, keeps the model on {} alone: {} used. "
          "Remove that node, or put MultiGPU CFG Split after it.")
_HOOKED = _EACH_ON_ONE.format("A node turns LoRAs on while the model samples")


# One sampling

def _with_devices(executor, *arguments, **options):
    guider = executor.class_obj
    model = guider.model_patcher
    if rank_of(model.model_options.get("transformer_options", {})) is not None:  # a copy that samples a scene alone
        return executor(*arguments, **options)
    choice = gpus_of(model, any("hooks" in entry for entries in guider.conds.values() for entry in entries))
    several = bool(model.get_additional_models_with_key(COPIES))
    loaded = getattr(model.get_model_object(NETWORK), "loaded_for", None)
    fewer = None if loaded is not None and choice.fewer == loaded.fewer else choice.fewer  # as was said on loading
    if several or fewer:
        log.info("SCAIL-2: %s", fewer or f"rows of tokens are shared by {', '.join(map(str, choice.devices))}.")
    if not several:
        return executor(*arguments, **options)
    # core has copied them for this sampling
    guider.model_options.setdefault("transformer_options", {})[_DEVICES] = choice.devices
    return executor(*arguments, **options)


def _in_groups(executor, model, conds: Sequence, x: Tensor, timestep: Tensor, model_options: dict[str, Any]):
    options, copies = model_options.get("transformer_options", {}), model_options.get(_CLONES)
    shared_by, wrapped = options.get(_DEVICES, ()), _wrapped(model_options)
    if not copies or (len(shared_by) < 2 and not wrapped and _bound(model.current_patcher) is None):
        return executor(model, conds, x, timestep, model_options)
    asked = _forwards(conds, float(timestep[0]))
    # several of one prompt, as with areas, come one after the other: each may learn from the one before
    prompts = sum(asked) if max(asked) == 1 and not wrapped else 1
    count = len(shared_by) if prompts >= len(copies) else groups(prompts, len(shared_by))
    size = len(shared_by) // count
    sharing = Sharing({shared_by[first]: tuple(copies[device] for device in shared_by[first : first + size])
                       for first in range(0, len(shared_by), size)})
    given = {**model_options, "transformer_options": {**options, SHARING: sharing}}
    if size > 1 or count == 1:
        _only_leaders(given, sharing, timestep)
    try:
        return executor(model, conds, x, timestep, given)
    except BaseException:
        first = sharing.taken_error()  # not that of the thread which core has waited for
        try:
            if first is not None:
                raise first from None
            raise
        finally:
            del first  # with all that its traceback holds


def _wrapped(model_options: dict[str, Any]) -> bool:
    """Whether another node stands around the network's call, as EasyCache does. It may keep something from one prompt
    for the other, or from one call for the next, so it must hear of both as on one GPU, and from one thread."""
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
    return _FUNCTION in model_options or any(wrappers.get(kind) for kind in _AROUND)


def _forwards(conds: Sequence, sigma: float) -> list[int]:
    """For each prompt, how many forwards of it core would do in a step."""
    return [sum(entry.get("timestep_end", sigma) <= sigma <= entry.get("timestep_start", sigma)
                for entry in entries or ()) for entries in conds]


def groups(prompts: int, gpus: int) -> int:
    """How many prompts are computed at once, each by as many GPUs: what ends first, and exchanges least."""
    counts = [count for count in range(1, gpus + 1) if gpus % count == 0]
    return min(counts, key=lambda count: (-(-prompts // count) * count, -count))


def _only_leaders(model_options: dict[str, Any], sharing: Sharing, timestep: Tensor) -> None:
    """Let core see a single copy of each group, and prepare the others as it would have."""
    copies = model_options.pop(_CLONES)
    for device, copy in copies.items():
        if device not in sharing.groups:
            copy.prepare_state(timestep, {**model_options, "ignore_multigpu": True})
    if len(sharing.groups) > 1:
        model_options[_CLONES] = {device: copies[device] for device in sharing.groups}
