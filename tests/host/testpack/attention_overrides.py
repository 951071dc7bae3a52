"""Attention that other nodes set, on ours and on core's with the same weights: the latents, and which rows were asked
for."""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module

import comfy.sd
from comfy.ldm.modules.attention import attention_pytorch
from comfy_api.latest import io
from comfy_extras import nodes_model_advanced

from . import model_optimization_nodes, nodes_sparse_attention, patched

OVERRIDE = "optimized_attention_override"


def with_override(model, override):
    model = model.clone()
    model.model_options["transformer_options"][OVERRIDE] = override
    return model


def sparse(model, calls, kept=2):
    """Core's Model Sparse Attention."""
    previous = model.model_options["transformer_options"].get(OVERRIDE)
    return with_override(model, nodes_sparse_attention.make_attention_override(
        {"calls": calls, "kept": kept}, previous))


def sparse_of_everything(model, calls):
    """It, where nothing is left out."""
    return sparse(model, calls, 10_000)


def sage(model, calls):
    """Patch Sage Attention KJ."""
    return model_optimization_nodes.PathchSageAttentionKJ().patch(model, calls)


def sparse_over_sage(model, calls):
    """Both: what the first leaves is for the second."""
    return sparse(sage(model, []), calls)


def sparse_over_unknown(model, calls):
    return sparse(unknown(model, []), calls)


def model_attention_backend(model, calls):
    """Core's node of that name, which is not in ComfyUI 0.27."""
    return nodes_model_advanced.ModelAttentionBackend().patch(model, "pytorch attention")[0]


def attention_of_a_strangers_node(model, calls):
    """The same way for a function that nobody knows."""

    def attention(q, k, v, heads, **options):
        calls.append((q.shape[1], k.shape[1]))
        return attention_pytorch(q, k, v, heads, **options) * (1 + 0.01 * q.shape[1])

    model = model.clone()
    model.set_model_optimized_attention(attention)
    return model


def unknown(model, calls):
    """Reads where a row stands, in every attention."""

    def override(func, q, k, v, heads, **options):
        calls.append((q.shape[1], k.shape[1]))
        out = func(q, k, v, heads, **options)
        out[:, : q.shape[1] // 2] *= 0.5
        return out

    return with_override(model, override)


def attn1_patch(model, calls):
    def patch(given):
        calls.append((given["q"].shape[1], given["k"].shape[1]))
        return given["x"] + 0.1 * (given["q"] * given["k"]).flatten(2)

    model = model.clone()
    model.set_model_attn1_patch(patch)
    return model


KINDS = {function.__name__: function for function in (
    sparse, sparse_of_everything, sage, sparse_over_sage, sparse_over_unknown, model_attention_backend,
    attention_of_a_strangers_node, unknown, attn1_patch)}


def asked_where_text_is_as_long(overrides):
    """Whether an override is asked for cross-attention of as many rows as the text has, which looks like
    self-attention, and what that is off by."""
    calls = []
    options = {OVERRIDE: nodes_sparse_attention.make_attention_override({"calls": calls, "kept": 1}, None)}
    q, k, v = (patched.drawn(seed, 1, 512, 256) for seed in range(3))
    found = overrides.Attention()(q, k, v, 2, options)
    return len(calls), patched.relative(found, attention_pytorch(q, k, v, 2))


def before_sparse(model, overrides):
    """Of the pack's own sparse attention: whether it computes, by what is on the model, and the log."""
    sparse_attention, run, settings = (import_module(f"..{name}", overrides.__package__) for name in (
        "kernels.sparse_attention", "sparse.run", "sparse.settings"))
    sparse_runs, preflight = (import_module(f".{name}", overrides.__package__) for name in ("sparse", "preflight"))
    computed, sparse_by_then, warned, lines = {}, {}, [], []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    overrides.log.addHandler(handler)
    with patched.mock.patch.object(sparse_attention, "FEWEST_KEYS", 0):
        for kind in (None, sage, attn1_patch, sage):
            sampling = run.SparseRun(settings.SparseSettings(density=0.3))
            given = model.clone() if kind is None else kind(model, [])
            given.model_options["transformer_options"][sparse_attention.RUN] = sampling
            patched.sample(given)
            name = str(kind and kind.__name__)
            computed[name], sparse_by_then[name] = bool(sampling.errors), sparse_runs.is_sparse(given)
            warned += [finding.text for finding in preflight._not_used(given, given.model.diffusion_model.backend)]
    overrides.log.removeHandler(handler)
    return {"computed": computed, "sparse": sparse_by_then, "warned": warned, "log": lines}


class TestOverrides(io.ComfyNode):
    """JSON: for each kind, with all rows at once and in chunks, the relative distance of our latent from core's and
    from ours without the node, and the pairs of numbers of queries and keys that the node was asked for."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestOverrides", category="test", is_output_node=True, inputs=[
            io.String.Input("path"), io.Int.Input("rows")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path, rows):
        loader, network, overrides = (next(
            module for name, module in sys.modules.items() if name.endswith(f".comfy.{last}"))
            for last in ("loader", "model", "overrides"))
        ours, core = loader.load(path), comfy.sd.load_diffusion_model(path)
        patched.unit_rotations(ours.model.diffusion_model)
        plain, found = patched.sample(ours), {"as long as text": asked_where_text_is_as_long(overrides)}
        for name, kind in KINDS.items():
            try:
                by_core = patched.sample(kind(core, []))
            except AttributeError as error:  # of a node that this ComfyUI does not have
                found[name] = {"missing": str(error)}
                continue
            found[name] = {}
            for way, limit in (("whole", None), ("chunks", rows)):
                calls = []
                with patched.mock.patch.object(network, "rows_at_once", lambda *_, limit=limit: limit):
                    latent = patched.sample(kind(ours, calls))
                found[name][way] = {"from core": patched.relative(latent, by_core),
                                    "effect": patched.relative(latent, plain), "calls": sorted({*calls})}
        found["before sparse"] = before_sparse(loader.load(path, {"attention": "sparse"}), overrides)
        return io.NodeOutput(json.dumps(found))
