"""How our loader meets what today's ComfyUI brings, as facts in JSON: without a GPU, and for newer versions with
objects of their shape."""

from __future__ import annotations

import json
import logging
import sys
import types
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

import comfy.cli_args
import comfy.memory_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from comfy.quant_ops import QuantizedTensor, get_layout_class
from comfy_api.latest import io
from comfy_extras import nodes_rope
from safetensors.torch import load_file, save_file

from . import patched


def module(ending):
    """A module of the pack, which ComfyUI has loaded under a name of its own."""
    (found,) = (module for name, module in sys.modules.items() if name.endswith(ending))
    return found


@contextmanager
def dynamic_memory():
    """What a GPU with dynamic memory changes for a loader: linears may get their parameters only from the file."""
    with mock.patch.object(comfy.memory_management, "aimdo_enabled", True):
        yield


def legacy_memory(path, load):
    """The dtypes that parameters of a bf16 file are kept in, if the run is in float16 and dynamic memory is off."""
    with dynamic_memory():
        weights = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
        model = load.load_state_dict(weights, {}, {"dtype": torch.float16}, disable_dynamic=True)
    return sorted({str(parameter.dtype) for parameter in model.model.parameters()})


def fast_disk(path, load):
    """What a patcher that asks for it is told of the disk, by a `comfy.storage` that knows it."""
    told = []

    class Patcher(comfy.model_patcher.ModelPatcher):
        def __init__(self, *arguments, fast_disk=False, **options):
            told.append(fast_disk)
            super().__init__(*arguments, **options)

    storage = types.ModuleType("comfy.storage")
    storage.__spec__ = mock.Mock()
    storage.state_dict_fast_disk = lambda weights: sorted(weights) == sorted(load_file(path))
    with mock.patch.dict(sys.modules, {"comfy.storage": storage}), \
            mock.patch.object(comfy.model_patcher, "CoreModelPatcher", Patcher):
        load.load(path)
    return told


def attention_preferences(path, load):
    """What is logged of a file whose layers name an attention."""
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        note = torch.tensor(list(json.dumps({"attention": "comfy_kitchen_int8"}).encode()), dtype=torch.uint8)
        load.load_state_dict(load_file(path) | {f"blocks.{index}.self_attn.comfy_attention.config": note
                                                for index in range(2)}, {})
    finally:
        logging.getLogger().removeHandler(handler)
    return [line for line in heard if "attention functions" in line or "unexpected" in line]


def rotated_int8(path, load):
    """A file whose feed-forwards are int8 with rotated weights: distance from core, and how often ComfyUI computed GELU
    and linear together."""
    weights = load_file(path)
    for name in [name for name in weights if name.endswith("ffn.2.weight")]:
        values, params = get_layout_class("TensorWiseINT8Layout").quantize(
            weights[name].bfloat16(), per_channel=True, convrot=True)
        note = {"format": "int8_tensorwise", "convrot": True}
        weights |= {name: values, f"{name}_scale": params.scale, name.replace("weight", "comfy_quant"): torch.tensor(
            list(json.dumps(note).encode()), dtype=torch.uint8)}
    with TemporaryDirectory() as folder:
        file = str(Path(folder) / "rotated.safetensors")
        save_file(weights, file)
        ours, core = load.load(file), comfy.sd.load_diffusion_model(file)
    assert isinstance(ours.model.diffusion_model.blocks[0].ffn[2].weight, QuantizedTensor)
    patched.unit_rotations(ours.model.diffusion_model)
    fused = getattr(comfy.ops, "linear_input_act", None)
    with mock.patch.object(comfy.ops, "linear_input_act", fused and mock.Mock(wraps=fused), create=True):
        ours = patched.sample(ours)
        calls = comfy.ops.linear_input_act.call_count if fused else None
    return {"from core": patched.relative(ours, patched.sample(core)), "fused": calls}


def precision_of_attention(path, load):
    """For each number of keys, whether kernels in few bits may be used."""
    allowed = {}

    def override(attention, q, k, v, heads, low_precision_attention=True, **options):
        allowed[k.shape[1]] = low_precision_attention
        return attention(q, k, v, heads, **options)

    model = load.load(path)
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    patched.sample(model)
    return allowed


def automatic_attention(path, load):
    """What is chosen, and why, on a GPU where an exact attention is fastest, by the attention that ComfyUI has and by
    what it was started with."""
    attention, choice, chosen = module(".comfy.attention"), module(".kernels.attention_choice"), {}
    for fastest in choice.BACKENDS[1:3]:
        for has, option in (("pytorch", None), ("pytorch", "use_pytorch_cross_attention"), ("xformers", None),
                            ("sage", "use_sage_attention"), ("flash", "use_flash_attention"),
                            ("split", "use_split_cross_attention"), ("sub_quad", "use_quad_cross_attention"),
                            ("comfy_kitchen_int8", "use_ck_attention")):
            started = {option: True} if option else {}
            with mock.patch.object(choice, "fastest", return_value=(fastest, [])), \
                    mock.patch.object(attention, "CORE_NAME", has), \
                    mock.patch.object(comfy.cli_args, "args", SimpleNamespace(verbose=True, **started)):
                backend = attention.choose("automatic", torch.device("cpu"), "exact")
            chosen[f"{fastest.name} {has} {option}"] = [backend.name, backend.reason]
    return chosen


def job_key(path, load):
    """Whether the key of a MODEL is the same with our own check and without, and another one with a patch."""
    keys, model = module(".comfy.keys"), load.load(path)
    bare = model.clone()
    bare.wrappers = comfy.model_patcher.WrappersMP.init_wrappers()
    stretched = nodes_rope.ScaleROPE.execute(model, 1.5, 0.0, 1.0, 0.0, 1.0, 0.0)[0]
    return [keys.model_key(other) == keys.model_key(model) for other in (bare, stretched)]


class TestLoading(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestLoading", category="test", is_output_node=True, inputs=[io.String.Input("path")],
                         outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path):
        facts = (legacy_memory, fast_disk, attention_preferences, rotated_int8, precision_of_attention,
                 automatic_attention, job_key)
        return io.NodeOutput(json.dumps({fact.__name__: fact(path, module(".comfy.loader")) for fact in facts}))
