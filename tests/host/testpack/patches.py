"""Patches of the shapes that other packs give them."""

import types

from comfy_api.latest import io

from .model_optimization_nodes import WanCrossAttentionPatch


class _Bound:
    """A patched `forward` of a module of the network, which writes its setting on the module while it runs."""

    def __init__(self, scale, original):
        self.scale, self.original = scale, original

    def __get__(self, module, kind=None):
        def wrapped(module, *args, **kwargs):
            module.noted_scale = self.scale
            module.noted_calls = getattr(module, "noted_calls", 0) + 1
            return self.original(*args, **kwargs) * module.noted_scale

        return types.MethodType(wrapped, module)


class TestNotingPatch(io.ComfyNode):
    """Scales what cross attention gives, as KJNodes' NAG replaces it: an object patch for each block. `through` says
    how the patch comes by its setting."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestNotingPatch", category="test", inputs=[
            io.Model.Input("model"), io.Float.Input("scale"),
            io.Combo.Input("through", options=["closure", "model"], default="closure", optional=True)],
            outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, scale, through="closure"):
        patched = model.clone()
        for number, block in enumerate(patched.get_model_object("diffusion_model").blocks):
            attention = block.cross_attn
            # of the class: the module itself may be patched at this time
            original = type(attention).forward.__get__(attention)
            if through == "closure":
                forward = _Bound(scale, original).__get__(attention)
            else:  # holds a whole MODEL, whose state changes when it is loaded
                forward = _through_model(model, original, scale)
            patched.add_object_patch(f"diffusion_model.blocks.{number}.cross_attn.forward", forward)
        return io.NodeOutput(patched)


def _through_model(model, original, scale):
    def forward(*args, **kwargs):
        assert model.model is not None
        return original(*args, **kwargs) * scale

    return forward


class TestOtherNag(io.ComfyNode):
    """Replaces the cross-attention of every block: as KJNodes' WanVideoNAG does, or by a function that nobody knows."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestOtherNag", category="test", inputs=[
            io.Model.Input("model"), io.Boolean.Input("known")], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, known):
        patched = model.clone()
        for number, block in enumerate(patched.get_model_object("diffusion_model").blocks):
            forward = (WanCrossAttentionPatch().__get__(block.cross_attn) if known else
                       types.MethodType(_own_attention, block.cross_attn))
            patched.add_object_patch(f"diffusion_model.blocks.{number}.cross_attn.forward", forward)
        return io.NodeOutput(patched)


def _own_attention(module, x, context, *rest, **options):
    return module.o(module.q(x) * context.mean())
