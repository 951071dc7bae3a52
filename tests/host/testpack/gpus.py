"""Several GPUs without any: CPU devices with numbers, which PyTorch computes on as on the one that there is."""

from __future__ import annotations

import gc
import json
import logging
import threading
from unittest import mock

import comfy.hooks
import comfy.model_management as management
import comfy.sample
import torch
from comfy_api.latest import io
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_multigpu

from . import patched, sparse
from .loading import module

_all_devices = management.get_all_torch_devices


class TestDevices(io.ComfyNode):
    """Let ComfyUI find so many devices from now on, and name the threads of several GPUs that there are."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDevices", category="test", is_output_node=True, inputs=[
            io.Int.Input("count"), io.Int.Input("asked")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, count, asked):
        def devices(exclude_current=False):
            return [torch.device("cpu"), *(torch.device("cpu", number) for number in range(1, count))][exclude_current:]

        management.get_all_torch_devices = devices if count > 1 else _all_devices
        return io.NodeOutput(json.dumps([thread.name for thread in threading.enumerate()
                                         if thread.name.startswith(("SCAIL-2", "scail2-lane"))
                                         or "worker_loop" in thread.name]))


class TestFailingGpu(io.ComfyNode):
    """A MODEL whose GPU with this place does something in the middle of one forward: it runs out of memory, fails, or
    computes until the user cancels."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestFailingGpu", category="test", inputs=[
            io.Model.Input("model"), io.Int.Input("place"),
            io.Combo.Input("how", options=["memory", "error", "cancel"]), io.Int.Input("asked")],
            outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, place, how, asked):
        patcher = [model, *model.get_additional_models_with_key("multigpu")][place]

        def fail(*_):
            hook.remove()
            if how == "memory":
                raise torch.OutOfMemoryError("no room on this GPU")
            if how == "error":
                raise RuntimeError("this GPU is broken")
            cancelled = threading.Event()
            interrupt = management.interrupt_current_processing

            def heard(value=True):
                interrupt(value)
                cancelled.set()

            with mock.patch.object(management, "interrupt_current_processing", heard):
                logging.info("in the middle of a forward")  # here the user cancels
                assert cancelled.wait(60)

        hook = patcher.model.diffusion_model.blocks[0].register_forward_pre_hook(fail)
        return io.NodeOutput(model)


class TestMoved(io.ComfyNode):
    """What Select Model Device does for a GPU; a CPU with a number it would take for the CPU."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestMoved", category="test", inputs=[
            io.Model.Input("model"), io.Int.Input("place"), io.Int.Input("asked")], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, place, asked):
        device = management.get_all_torch_devices()[place]
        moved = nodes_multigpu._retarget_patcher(model.clone(), device, torch.device("cpu"))
        nodes_multigpu._prune_multigpu_collision(moved, moved.load_device)
        return io.NodeOutput(moved)


class TestGpusOf(io.ComfyNode):
    """What is said of a MODEL's GPUs, and its key. apart: whether none of them reaches another."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestGpusOf", category="test", outputs=[io.String.Output(), io.String.Output()],
                         inputs=[io.Model.Input("model"), io.Int.Input("asked"),
                                 io.Boolean.Input("apart", default=False, optional=True)])

    @classmethod
    def execute(cls, model, asked, apart=False):
        reason = "no peer access" if apart else None
        with mock.patch.object(module(".gpus.probe"), "why_apart", return_value=reason):
            line = module(".comfy.gpus").line(model)
        return io.NodeOutput(line, module(".comfy.keys").model_key(model))


class TestLoaded(io.ComfyNode):
    """JSON: of each MODEL that ComfyUI has loaded, on which device it is, and which device the patcher is for that
    would free it, when Python has looked for cycles."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestLoaded", category="test", is_output_node=True, inputs=[io.Int.Input("asked")],
                         outputs=[io.String.Output()])

    @classmethod
    def execute(cls, asked):
        gc.collect()
        return io.NodeOutput(json.dumps([[str(each.device), str(each.model and each.model.load_device)]
                                         for each in management.current_loaded_models]))


def sample(model, **more):
    """At guidance 1: with patches core's batch of two prompts is one, as it always was."""
    positive = patched.conditioning(1)
    positive[0][1].update(more)
    noise = patched.drawn(15, 1, 16, patched.FRAMES, patched.HEIGHT, patched.WIDTH)
    return comfy.sample.sample(model, noise, 1, 1.0, "euler", "simple", positive,
                               patched.conditioning(2), torch.zeros_like(noise), seed=0, disable_pbar=True)


def compiled(model):
    """One layer: to compile all takes a minute."""
    model = model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=model, backend="eager", keys=["diffusion_model.blocks.0.ffn.0"])
    return model


def unchanged(model):
    return model


def hook(model):
    """A LoRA that is on for one prompt."""
    weight = model.model.diffusion_model.blocks[0].ffn[2].weight
    lora = {"diffusion_model.blocks.0.ffn.2.diff": 0.1 * patched.drawn(3, *weight.shape)}
    return comfy.hooks.create_hook_lora(lora, 1.0, 0.0)


class TestPatchedGpus(io.ComfyNode):
    """JSON: for each kind of patch whether two GPUs give what one gives, and what is told of them."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestPatchedGpus", category="test", is_output_node=True,
                         inputs=[io.String.Input("path")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path):
        load, facts = module(".comfy.loader").load, {}
        one, two = load(path), load(path, wanted_gpus=2)
        names = ("double_block", "attn2_patch", "attn1_patch", "override", "scale_rope", "replaced_block", "nag",
                 "enhance", "wrapped", "chunked_feed_forward", "linear", "several")
        kinds = {name: (patched.KINDS[name], {}) for name in names}
        kinds |= {"compiled": (compiled, {}), "hook": (unchanged, {"hooks": hook(one)})}
        for name, (patch, more) in kinds.items():
            lines = []
            expected = sample(patch(one), **more)
            with sparse.heard(lines):
                found = sample(patch(two), **more)
            (told,) = [line for line in lines if "computes all" in line or "on one GPU" in line or "rows of" in line]
            facts[name] = {"equal": torch.equal(found, expected), "told": told}
        return io.NodeOutput(json.dumps(facts))
