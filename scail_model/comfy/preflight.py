"""ComfyUI's objects -> a `preflight.Job`, and what is wrong with the objects themselves.

Nothing is loaded on the GPU but, for the time, one matrix product.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import comfy.model_base
import comfy.model_management
import comfy.model_sampling
import torch

from ..gpus.choice import GpuChoice
from ..gpus.probe import link_rate
from ..identity.identities import Identities
from ..inputs.reference import Pictures, Reference
from ..kernels.attention_choice import Backend
from ..media.clips import Clip
from ..plate.choice import Choice
from ..preflight import checks
from ..preflight.budget import Machine, probe_tflops
from ..preflight.findings import Finding, attempt, warning
from ..preflight.job import Full, Job, Transformer
from ..preflight.memory_checks import check_folder
from ..solvers import check_sigmas
from ..sparse.settings import SparseSettings
from ..video.colour_match import OFF
from ..video.denoising import driven_steps
from ..video.task import LATENTS, Settings
from . import conditioning, loras, overrides, patches
from .blocks import not_steered
from .gpus import are_hooked, can_be_free, gpus_of
from .model import ComfyTransformer, in_int8
from .sampler import check_sampler, sampler_name

_OTHER_NAG = "WanCrossAttentionPatch"  # of KJNodes' WanVideoNAG
_PROBE_BYTES = 2**29  # three matrices of 8192


def check(model, positive: list, negative: list, vae, reference: Reference | Pictures, driving: Clip,
          identities: Identities, settings: Settings, fps: float, *, sampler, history_strength: float, lossless: bool,
          folder: Path, timed: bool, full: Full | None, sparse: SparseSettings, plate: Choice
          ) -> list[Finding]:
    """Everything there is to say of the inputs of a video; driving with `fps` frames a second.

    sampler: the SAMPLER that takes the place of the solver, or None. folder: where the job folder will be. `timed`
    measures how fast the GPU is, for an estimate of the time. full: as in `Job`. sparse: the settings of sparse
    attention, also where it is not. plate: what is kept of the driving video. Raises nothing.
    """
    prompts = {"positive": positive, "negative": negative}
    found = [*attempt("model", check_model, model), *attempt("model_sampling", check_noise_levels, model, settings),
             *attempt("vae", conditioning.check_vae, vae), *attempt("disk", check_folder, folder),
             *attempt("sampler", check_sampler, sampler, history_strength)]
    if settings.sigmas:
        found += attempt("sigmas", check_sigmas, settings.sigmas)
    for name, entries in prompts.items():
        found += attempt("prompt", conditioning.check_prompt, entries, name)
    if settings.negative_strength:
        found += [*attempt("negative_strength", conditioning.check_steering, negative, settings.negative_strength),
                  *attempt("negative_strength", check_steered, model, settings.negative_strength)]
    if isinstance(model.model, comfy.model_base.WAN21_SCAIL2):
        found += loras.doubts(model)
    network = model.get_model_object("diffusion_model")
    if isinstance(network, ComfyTransformer):
        found += [*checks.not_sparse(network.precision, network.backend), *_not_used(model, network.backend)]
    found += checks.without_effect(sparse, settings.sparse)
    hooked = are_hooked(*prompts.values())
    choice = gpus_of(model, hooked)
    return found + checks.check(Job(
        identities, driving, fps, reference.width, reference.height, reference.masks[0],
        {name: _tokens(entries) for name, entries in prompts.items()},
        settings.solver if sampler is None else sampler_name(sampler), settings.steps, settings.schedule,
        settings.guidance, settings.segment_length, settings.overlap, settings.black_background,
        _transformer(model, hooked, choice), machine(model.load_device, choice.devices, timed=timed), settings.lengths,
        settings.cuts,
        settings.colour_match != OFF, settings.history == LATENTS, lossless, _free_disk(folder),
        None if settings.always_driven else driven_steps(settings, conditioning.driving_levels(settings, model)),
        full, settings.sparse, plate, settings.negative_strength))


def _not_used(model, attention: Backend) -> list[Finding]:
    """Sparse attention before which another node's comes."""
    nodes = overrides.set_by(model.model_options.get("transformer_options", {}))
    if not nodes or not attention.sparse:
        return []
    return [warning("attention", f"attention is {attention.name}, but {patches.origin(nodes[0])} is on the model and "
                                 "comes before it: remove that node from the model's line, or choose another "
                                 "attention.")]


def _free_disk(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    return shutil.disk_usage(there).free


def check_model(model) -> None:
    """Raise ValueError unless this is SCAIL-2, ours or core's, and ours runs all that other nodes have set on it."""
    if not isinstance(model.model, comfy.model_base.WAN21_SCAIL2):
        raise ValueError(f"The model is {type(model.model).__name__}, not SCAIL-2: connect Load SCAIL-2 Model, or "
                         "another loader with a SCAIL-2 file.")
    if isinstance(model.get_model_object("diffusion_model"), ComfyTransformer):
        patches.check(model)


def check_steered(model, strength: float) -> None:
    """Raise ValueError if attention cannot be steered from the negative prompt in the network that a MODEL is sampled
    with."""
    if not isinstance(model.get_model_object("diffusion_model"), ComfyTransformer):
        raise ValueError(f"negative_strength is {strength:g}, but the model runs in core's network, because of a patch "
                         "or a second GPU: load it with Load SCAIL-2 Model, or set negative_strength to 0.")
    for name, patch in model.object_patches.items():
        if name.endswith("cross_attn.forward") and patches.origin(patch).startswith(_OTHER_NAG):
            raise ValueError(not_steered(strength, patch))


def check_noise_levels(model, settings: Settings) -> None:
    """Raise ValueError for noise levels that another node has set on the MODEL and that are not those of the video."""
    patch = model.object_patches.get("model_sampling")
    if patch is None:
        return
    half = torch.tensor(0.5)
    if not isinstance(patch, comfy.model_sampling.CONST) or not torch.isclose(patch.timestep(half), 1000 * half):
        raise ValueError("Another node has given the MODEL noise levels of another kind of model "
                         f"({type(patch).__mro__[1].__name__}): remove it; ModelSamplingSD3 fits.")
    if not settings.sigmas and not math.isclose(patch.shift, settings.shift, rel_tol=1e-6):
        raise ValueError(f"Another node (such as ModelSamplingSD3) has set shift {patch.shift:g} on the MODEL, but the "
                         f"setting shift is {settings.shift:g}: set it to {patch.shift:g}, or remove that node.")


def machine(device: torch.device, gpus: Sequence[torch.device] = (), *, timed: bool) -> Machine:
    """Memory in bytes, as it is when ComfyUI has unloaded what it can; the GPU's speed, and the link between several,
    only if `timed`. gpus: all that compute together, of which the fullest one's memory counts."""
    free_ram = comfy.model_management.get_free_memory(torch.device("cpu"))
    if device.type != "cuda":
        return Machine(0, 0, free_ram, None)
    total = comfy.model_management.get_total_memory(device)
    free = min(map(can_be_free, gpus or (device,)))
    return Machine(total, min(free, total), free_ram, _tflops(device) if timed else None,
                   link_rate(tuple(gpus)) if timed else None)


@cache
def _tflops(device: torch.device) -> float:
    comfy.model_management.free_memory(_PROBE_BYTES, device)
    return probe_tflops(device)


def _transformer(model, hooked: bool, choice: GpuChoice) -> Transformer | None:
    if not isinstance(model.model, comfy.model_base.WAN21_SCAIL2):
        return None
    patched = len(loras.fitting(model))
    return Transformer(loras.config_of(model), model.model_size(), patched,
                       bool(patched or model.injections or hooked), in_chunks(model), int8=in_int8(model),
                       gpus=choice.devices, fewer=choice.fewer)


def in_chunks(model) -> bool:
    """Core's network does not."""
    network = model.get_model_object("diffusion_model")
    return isinstance(network, ComfyTransformer) and network.in_chunks(
        model.model_options.get("transformer_options", {}))


def _tokens(entries: list) -> int:
    """Of the longest entry of a CONDITIONING; what the text encoder has filled up is zero."""
    return max(int(embedding.any(-1).sum(-1).max()) for embedding, _ in entries)
