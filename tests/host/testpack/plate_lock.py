"""The plate held under ComfyUI's samplers, as facts in JSON: which cells end at it, whoever loads and samples."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from types import SimpleNamespace

import comfy.context_windows
import comfy.sample
import comfy.samplers
import comfy.sd
import torch
from comfy_api.latest import io

from . import patched
from .loading import module
from .sparse import FRAMES, HEIGHT, WIDTH, conditioning

HELD, SOFT, FREE = (slice(None, 8), slice(8, 16), slice(16, None))  # rows of the latent
LEVEL = 0.9  # of the soft ones


def plate_lock(measured=False):
    locks = module("scail_model.plate.lock")
    free = torch.zeros(1, 1, FRAMES, HEIGHT, WIDTH)
    free[..., SOFT, :], free[..., FREE, :] = LEVEL, 1.0
    return locks.PlateLock(patched.drawn(21, 1, 16, FRAMES, HEIGHT, WIDTH), free,
                           torch.ones_like(free) if measured else None, module("scail_model.plate.edge").Edge(0, 0))


def sample(model, lock, sampler="euler", guidance=1.0, steps=3, **given):
    control = {} if lock is None else {"control": module(".comfy.held_plate").HeldPlate(lock)}
    prompts = (conditioning(seed, control) for seed in (1, 2))
    noise = patched.drawn(15, 1, 16, *given.pop("shape", (FRAMES, HEIGHT, WIDTH)))
    return comfy.sample.sample(model, noise, steps, guidance, sampler, "simple", *prompts, given.pop(
        "latent", torch.zeros_like(noise)), seed=0, disable_pbar=True, **given)


def distances(found, lock):
    """From the plate, by part, as shares of its size: the largest in held rows, the mean in the others."""
    apart = (found - lock.plate).abs() / lock.plate.std()
    return {"held": float(apart[..., HELD, :].max()), "soft": float(apart[..., SOFT, :].mean()),
            "free": float(apart[..., FREE, :].mean())}


def samplers(model):
    lock = plate_lock()
    names = ("euler", "euler_ancestral", "heun", "uni_pc", "dpmpp_2m_sde", "lcm", "res_multistep")
    return {name: distances(sample(model, lock, name), lock) for name in names}


def guidance(model):
    lock = plate_lock()
    return distances(sample(model, lock, guidance=4.0), lock)


def other_loader(path):
    """Core's own network."""
    model, lock = comfy.sd.load_diffusion_model(path), plate_lock()
    return {"network": type(model.model.diffusion_model).__name__} | distances(sample(model, lock), lock)


def context_windows(model):
    windows, lock = model.clone(), plate_lock()
    windows.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"), context_length=2,
        context_overlap=1, dim=2)
    comfy.context_windows.create_prepare_sampling_wrapper(windows)
    return distances(sample(windows, lock), lock)


def history(model):
    """The first latent frame is given, by core's noise mask."""
    lock, latent = replace(plate_lock(), history=1), torch.zeros(1, 16, FRAMES, HEIGHT, WIDTH)
    latent[:, :, :1] = patched.drawn(31, 1, 16, 1, HEIGHT, WIDTH)
    mask = torch.ones_like(latent[:, :1])
    mask[:, :, :1] = 0
    found = sample(model, lock, latent=latent, noise_mask=mask)
    return {"given": float((found - latent)[:, :, :1].abs().max())} | {
        "held": float((found - lock.plate)[:, :, 1:, HELD].abs().max())}


def measured(model):
    """Everything may be made at first; what is made there differs, so it stays free; and each sampling looks anew."""
    lock = plate_lock(measured=True)
    first = sample(model, lock)
    return {"again": torch.equal(first, sample(model, lock)), **distances(first, lock)}


def without(model):
    """A lock leaves nothing behind on the MODEL."""
    before = sample(model, None)
    sample(model, plate_lock())
    return torch.equal(before, sample(model, None))


def another_size(model):
    try:
        sample(model, plate_lock(), shape=(FRAMES, HEIGHT, 2 * WIDTH))
    except ValueError as error:
        return str(error)
    return ""


def several_gpus():
    """Core asks for a copy of the value for each GPU."""
    value = module(".comfy.held_plate").HeldPlate(plate_lock())
    second = torch.device("cuda", 1)
    value.deepclone_multigpu(second, autoregister=True)
    value.pre_run(SimpleNamespace(process_latent_in=lambda latent: latent), lambda percent: 1 - percent)
    return value.get_instance_for_device(second) is value and not value.get_models()


def released():
    """What a sampling has made of the plate is gone after it, though the conditioning is still there."""
    value, made = module(".comfy.held_plate").HeldPlate(plate_lock()), []

    def normalised(latent):
        copy = latent.clone()
        made.append(weakref.ref(copy))
        return copy

    value.pre_run(SimpleNamespace(process_latent_in=normalised), lambda percent: 1 - percent)
    there = made[0]() is not None
    value.cleanup()
    return there and made[0]() is None


class TestPlateLock(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestPlateLock", category="test", is_output_node=True,
                         inputs=[io.String.Input("path")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path):
        model = module(".comfy.loader").load(path, {"attention": "pytorch"})
        facts = {fact.__name__: fact(model) for fact in (
            samplers, guidance, context_windows, history, measured, without, another_size)}
        facts |= {"other_loader": other_loader(path), "several_gpus": several_gpus(), "released": released()}
        return io.NodeOutput(json.dumps(facts))
