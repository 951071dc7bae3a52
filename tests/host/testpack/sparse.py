"""Sparse attention under ComfyUI's samplers, as facts in JSON: a run for each sampling, whoever samples."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import comfy.context_windows
import comfy.hooks
import comfy.sample
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_torch_compile

from . import patched
from .loading import module

FRAMES, HEIGHT, WIDTH = 3, 32, 32  # of the latent: 1216 tokens, in ten blocks of 128
DENSITY = 0.3


def conditioning(seed, extra=None):
    masks = torch.zeros(1, 1 + FRAMES, 28, HEIGHT, WIDTH)
    masks[:, 0, :7] = 1
    values = {"reference_latents": [patched.drawn(11, 1, 16, 1, HEIGHT, WIDTH)],
              "pose_video_latent": patched.drawn(12, 1, 16, FRAMES, HEIGHT // 2, WIDTH // 2),
              "driving_mask_28ch": (patched.drawn(13, 1, FRAMES, 28, HEIGHT // 2, WIDTH // 2) > 0).float(),
              "ref_mask_28ch": masks, "ref_mask_flag": True,
              "clip_vision_output": SimpleNamespace(penultimate_hidden_states=patched.drawn(14, 1, 257, 1280))}
    return [[patched.drawn(seed, 1, 512, 4096) * 0.2, values | (extra or {})]]


def sample(model, guidance=3.0, steps=2, **extra):
    noise = patched.drawn(15, 1, 16, FRAMES, HEIGHT, WIDTH)
    return comfy.sample.sample(model, noise, steps, guidance, "euler", "simple", conditioning(1, extra),
                               conditioning(2), torch.zeros_like(noise), seed=0, disable_pbar=True)


@contextmanager
def heard(lines):
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def new_run(density, error_limit=0.3, calibration=None):
    return module("scail_model.sparse.run").SparseRun(
        module("scail_model.sparse.settings").SparseSettings(density, error_limit), calibration)


def with_run(model, run):
    return module(".comfy.sparse").with_run(model, run)


def any_sampler(model):
    """Two samplings by core's sampler: whether they are equal, and what is told of each."""
    lines = []
    few = mock.patch.object(module("scail_model.sparse.settings"), "KEYS", 256)  # or so few tokens are computed whole
    with heard(lines), few:
        equal = torch.equal(sample(model), sample(model))
    return {"equal": equal, "told": [line for line in lines if "sparse attention is off by" in line]}


def given_run(model):
    """A run that is given: its errors by step and layer, what is left of it on the MODEL, and what is told."""
    run, lines = new_run(density=DENSITY), []
    with heard(lines):
        sample(with_run(model, run), guidance=1.0, steps=8)
    return {"steps": sorted({error.step for error in run.errors}),
            "layers": sorted({error.layer for error in run.errors}),
            "left": sorted(model.model_options.get("transformer_options", {})),
            "told": [line for line in lines if "sparse attention is off by" in line]}


def density_acts(model, exact):
    """Distances to all of attention, by density."""
    whole = sample(exact)
    return {density: patched.relative(sample(with_run(model, new_run(density=density, error_limit=0.0))), whole)
            for density in (0.15, 0.4, 1.0)}


def batched_or_not(model):
    """Both prompts in one batch, and one after the other: how far their results are apart."""
    one = sample(with_run(model, new_run(density=DENSITY, error_limit=0.0)))
    alone = model.clone()
    alone.set_model_sampler_calc_cond_batch_function(lambda given: [
        comfy.samplers.calc_cond_batch(given["model"], [cond], given["input"], given["sigma"],
                                       {name: value for name, value in given["model_options"].items()
                                        if name != "sampler_calc_cond_batch_function"})[0]
        for cond in given["conds"]])
    return patched.relative(sample(with_run(alone, new_run(density=DENSITY, error_limit=0.0))), one)


def context_windows(model):
    """Of two latent frames, which overlap: whether the result is finite, and how many steps the run has seen."""
    windows = model.clone()
    windows.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"), context_length=2,
        context_overlap=1, dim=2)
    comfy.context_windows.create_prepare_sampling_wrapper(windows)
    run = new_run(density=DENSITY)
    found = sample(with_run(windows, run), guidance=1.0)
    return {"finite": bool(found.isfinite().all()), "steps": sorted({error.step for error in run.errors})}


def lora_hook(model):
    """A LoRA that a hook turns on for one prompt."""
    network = model.model.diffusion_model
    weight = network.blocks[0].ffn[2].weight
    lora = {"diffusion_model.blocks.0.ffn.2.diff": 0.1 * patched.drawn(3, *weight.shape)}
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    run = new_run(density=DENSITY)
    found = sample(with_run(model, run), hooks=hooks)
    return {"finite": bool(found.isfinite().all()), "steps": sorted({error.step for error in run.errors})}


def compiled(model):
    """By core's node, which does not notice what changes in the options: two samplings, each compared with the same
    without, and what their runs have seen."""
    found, patcher = [], model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=patcher, backend="eager", options={
        "guard_filter_fn": nodes_torch_compile.skip_torch_compile_dict})
    for density in (0.15, 0.3):
        runs = [new_run(density=density, error_limit=0.0) for _ in range(2)]
        distance = patched.relative(*(sample(with_run(each, run), guidance=1.0, steps=4)
                                      for each, run in zip((patcher, model), runs, strict=True)))
        errors = [{(error.step, error.layer): error.error for error in run.errors} for run in runs]
        found.append({"distance": distance, "places": errors[0].keys() == errors[1].keys(),
                      "errors": max(abs(errors[0][place] - errors[1][place]) for place in errors[1])
                      if errors[0].keys() == errors[1].keys() else None})
    return found


def other_attention(model, exact):
    """Attention of another node's: how far from the same with all of it computed, and what is told."""
    lines, found = [], {}
    with heard(lines):
        for name in ("attn1_patch", "override"):
            patch = getattr(patched, name)
            found[name] = patched.relative(sample(patch(model)), sample(patch(exact)))
    return {"distance": found, "told": [line for line in lines if "comes before attention" in line]}


def keys(model, exact):
    """Whether the wrapper of ours is part of a MODEL's key, and whether precisions have their own."""
    model_key = module(".comfy.keys").model_key
    bare = model.clone()
    bare.wrappers = WrappersMP.init_wrappers()
    return [model_key(bare) == model_key(model), model_key(exact) == model_key(model)]


class TestSparse(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSparse", category="test", is_output_node=True, inputs=[io.String.Input("path")],
                         outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path):
        load = module(".comfy.loader").load
        model, exact = load(path, {"attention": "sparse"}), load(path, {"attention": "pytorch"})
        facts = {fact.__name__: fact(model) for fact in (
            any_sampler, given_run, batched_or_not, context_windows, lora_hook, compiled)}
        facts |= {fact.__name__: fact(model, exact) for fact in (density_acts, other_attention, keys)}
        return io.NodeOutput(json.dumps(facts))
