"""What other nodes do to a MODEL, done to ours and to core's with the same weights, and how far the latents differ.

Core's nodes are used where it has one. Patches of other packs are small ones of the same shape.
"""

from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace
from unittest import mock

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sample
import comfy.sd
import torch
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io
from comfy_extras import (
    nodes_freelunch,
    nodes_hypertile,
    nodes_model_patch,
    nodes_nag,
    nodes_pag,
    nodes_rope,
    nodes_slg,
)

FRAMES, HEIGHT, WIDTH = 3, 8, 12  # of the latent
WEIGHTS_SEED, CUT = 5, 2


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def conditioning(seed):
    masks = torch.zeros(1, 1 + FRAMES, 28, HEIGHT, WIDTH)
    masks[:, 0, :7] = 1
    values = {"reference_latents": [drawn(11, 1, 16, 1, HEIGHT, WIDTH)],
              "pose_video_latent": drawn(12, 1, 16, FRAMES, HEIGHT // 2, WIDTH // 2),
              "driving_mask_28ch": (drawn(13, 1, FRAMES, 28, HEIGHT // 2, WIDTH // 2) > 0).float(),
              "ref_mask_28ch": masks, "ref_mask_flag": True,
              "clip_vision_output": SimpleNamespace(penultimate_hidden_states=drawn(14, 1, 257, 1280))}
    return [[drawn(seed, 1, 512, 4096) * 0.2, values]]


def sample(model):
    noise = drawn(15, 1, 16, FRAMES, HEIGHT, WIDTH)
    return comfy.sample.sample(model, noise, 1, 3.0, "euler", "simple", conditioning(1), conditioning(2),
                               torch.zeros_like(noise), seed=0, disable_pbar=True)


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


# Patches between blocks and within them

def double_block(model):
    """Reads all that it is given."""

    def patch(given):
        image, start = given["img"], given["img_offset"]
        frames, rows, columns = given["transformer_options"]["grid_sizes"]
        area = frames * rows * columns - start
        shift = 1 + given["vec"].mean() + given["x"][:, :20].mean() + given["block_index"]
        image[:, start : start + area] += torch.tanh(shift) * image.roll(1, -1)[:, start : start + area]
        return {**given, "img": image}

    model = model.clone()
    model.set_model_patch(patch, "double_block")
    return model


def uni3c(model):
    """Core's node, with a Uni3C of two narrow blocks."""
    import comfy.ldm.wan.uni3c  # not in ComfyUI 0.27

    width = model.get_model_object("diffusion_model").dim
    networks = [comfy.ldm.wan.uni3c.WanUni3CControlnet(
        conv_out_dim=48, dim=24, ffn_dim=32, num_heads=2, num_layers=2, time_embed_dim=width, out_proj_dim=width,
        mid_channels=16, operations=operations) for operations in (torch.nn, comfy.ops.manual_cast)]
    network = networks[1]  # with dynamic memory, it has no weights before it loads them
    network.load_state_dict({name: drawn(number, *tensor.shape) * tensor[0].numel() ** -0.5
                             for number, (name, tensor) in enumerate(networks[0].state_dict().items())})
    device = comfy.model_management.get_torch_device()
    vae = SimpleNamespace(temporal_compression_decode=lambda: 4, spacial_compression_encode=lambda: 8,
                          encode=lambda frames: drawn(16, 1, 16, FRAMES, HEIGHT, WIDTH))
    return nodes_model_patch.WanUni3CControlnetApply().apply_patch(
        model, comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=torch.device("cpu")), vae,
        torch.zeros(9, 64, 96, 3), 1.0, 0.0, 1.0)[0]


def attn2_patch(model):
    model = model.clone()
    model.set_model_attn2_patch(lambda given: given["x"] * (1 + 0.1 * given["transformer_options"]["block_index"])
                                + 0.1 * given["x"].roll(1, 1))
    return model


def attn1_patch(model):
    model = model.clone()
    model.set_model_attn1_patch(lambda given: given["x"] + 0.1 * (given["q"] * given["k"]).flatten(2))
    return model


def override(model):
    """As sparse attention: only where queries and keys are as many, and the first half of them as core does."""

    def attention(core, q, k, v, heads, **options):
        if q.shape[1] != k.shape[1]:
            return core(q, k, v, heads, **options)
        half = q.shape[1] // CUT
        first = core(q[:, :half], k, v, heads=heads, mask=None, **options)
        return torch.cat((first, core(q[:, half:], k[:, half:], v[:, half:], heads=heads, **options)), 1)

    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    return model


def scale_rope(model):
    return nodes_rope.ScaleROPE.execute(model, 1.5, 0.5, 0.7, -1.0, 2.0, 3.0)[0]


def replaced_block(model):
    def replacement(given, extra):
        return {"img": (given["img"] + extra["original_block"](given)["img"]) / 2}

    model = model.clone()
    model.set_model_patch_replace(replacement, "dit", "double_block", 1)
    return model


# Patches of parts, as KJNodes makes them

def object_patches(model, function, *names):
    """`function(module, *arguments)` in place of parts of every block."""
    model = model.clone()
    for index, block in enumerate(model.get_model_object("diffusion_model").blocks):
        for name in names:
            module = block.get_submodule(name)
            model.add_object_patch(f"diffusion_model.blocks.{index}.{name}.forward",
                                   types.MethodType(function, module))
    return model


def nag(model):
    """Guidance within attention: a second context in every cross-attention, as WanVideoNAG."""
    device, network = comfy.model_management.get_torch_device(), model.get_model_object("diffusion_model")
    second = network.text_embedding.to(device)((drawn(17, 1, 512, 4096) * 0.2).to(device))

    def forward(self, x, context, context_img_len, transformer_options=None, **rest):
        image, text = context[:, :context_img_len], context[:, context_img_len:]
        q = self.norm_q(self.q(x))

        def attend(source, k, v, norm):
            return optimized_attention(q, norm(k(source)), v(source), heads=self.num_heads,
                                       transformer_options=transformer_options)

        positive = attend(text, self.k, self.v, self.norm_k)
        negative = attend(second.to(x).expand(len(x), -1, -1), self.k, self.v, self.norm_k)
        return self.o(1.5 * positive - 0.5 * negative + attend(image, self.k_img, self.v_img, self.norm_k_img))

    return object_patches(model, forward, "cross_attn")


def enhance(model):
    """Self-attention written anew, as WanVideoEnhanceAVideoKJ and the memory-efficient sage attention."""

    def forward(self, x, freqs, transformer_options=None):
        batch, length, heads, channels = *x.shape[:2], self.num_heads, self.head_dim
        q = self.norm_q(self.q(x)).view(batch, length, heads, channels)
        k = self.norm_k(self.k(x)).view(batch, length, heads, channels)
        q, k = apply_rope(q, k, freqs)
        attended = optimized_attention(q.flatten(2), k.flatten(2), self.v(x), heads=heads,
                                       transformer_options=transformer_options)
        return self.o(attended) * (1 + (q * k).mean())

    return object_patches(model, forward, "self_attn")


def wrapped(model):
    """Calls what it replaces."""

    def forward(self, *given, **named):
        return 1.5 * type(self).forward(self, *given, **named)

    return object_patches(model, forward, "self_attn", "cross_attn", "ffn")


def chunked_feed_forward(model):
    """As WanChunkFeedForward, and then the sign turned, so that it shows."""

    def forward(self, x):
        return torch.cat([torch.nn.Sequential.forward(self, part) for part in x.chunk(3, dim=1)], dim=1) * -1

    return object_patches(model, forward, "ffn")


def linear(model):
    """A linear's own forward, in three places."""

    def forward(self, x):
        return 1.5 * type(self).forward(self, x)

    return object_patches(model, forward, "self_attn.q", "cross_attn.v_img", "ffn.2")


def several(model):
    """All at once."""
    for patch in (nag, enhance, chunked_feed_forward, attn2_patch):
        model = patch(model)
    return model


# Patches that find nothing to act on

def nag_of_core(model):
    return nodes_nag.NAGuidance.execute(model, 5.0, 0.5, 1.5)[0]


def free_u(model):
    return nodes_freelunch.FreeU_V2.execute(_with_unet_channels(model), 1.3, 1.4, 0.9, 0.2)[0]


def _with_unet_channels(model):
    model = model.clone()
    model.model.model_config.unet_config |= {"model_channels": 8}
    return model


def hyper_tile(model):
    return nodes_hypertile.HyperTile.execute(_with_unet_channels(model), 256, 2, 0, False)[0]


def perturbed_attention(model):
    """Sets its replacement while it samples."""
    return nodes_pag.PerturbedAttentionGuidance.execute(model, 3.0)[0]


def infinite_talk(model):
    from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch

    model = model.clone()
    model.set_model_patch(MultiTalkCrossAttnPatch(None), "attn2_patch")
    return model


def enhance_a_video(model):
    """What WanVideoEnhanceAVideoKJ leaves in the options."""
    model = model.clone()
    model.model_options["transformer_options"]["enhance_weight"] = 2.0
    return enhance(model)


def rotary_embedder(model):
    """As RifleX for Wan."""
    model = model.clone()
    model.add_object_patch("diffusion_model.rope_embedder", _RifleX())
    return model


def tea_cache(model):
    """As TeaCache and MagCache: core's forward exchanged while they sample."""
    network = model.get_model_object("diffusion_model")

    def wrapper(function, given):
        with mock.patch.multiple(network, forward_orig=lambda *rest, **options: None):
            return function(given["input"], given["timestep"], **given["c"])

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


class _RifleX(torch.nn.Module):
    pass


def norm(model):
    def forward(self, x):
        return x

    return object_patches(model, forward, "norm3")


# Patches that may be there

def skipped_layers_of_others(model):
    """Core's node replaces single blocks too, which no Wan model has, and double blocks that a small one has not."""
    return nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "90, 91", "7, 8, 9", 0.0)[0]


def nothing(model):
    model = model.clone()
    model.model_options["transformer_options"]["patches"] = {"input_block_patch": []}
    return model


KINDS = {function.__name__: function for function in (
    double_block, uni3c, attn2_patch, attn1_patch, override, scale_rope, replaced_block, nag, enhance,
    wrapped, chunked_feed_forward, linear, several, nag_of_core, free_u, hyper_tile, perturbed_attention, infinite_talk,
    enhance_a_video, tea_cache, rotary_embedder, norm, skipped_layers_of_others, nothing)}


class TestPatched(io.ComfyNode):
    """JSON: for each kind of patch the relative distance of our latent from core's and from ours without the patch, or
    the error. Core turns driving tokens by other rotations than ours, so ours get core's."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestPatched", category="test", is_output_node=True, inputs=[
            io.String.Input("path"), io.Combo.Input("precision", options=["exact", "8-bit"])],
            outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path, precision):
        (loader,) = (module for name, module in sys.modules.items() if name.endswith(".comfy.loader"))
        ours, core = loader.load(path, {"precision": precision}), comfy.sd.load_diffusion_model(path)
        unit_rotations(ours.model.diffusion_model)
        return io.NodeOutput(json.dumps(compared(ours, core)))


def unit_rotations(network):
    rotations = type(network).rotations

    def unit(layout, device):
        cos, sin = rotations(network, layout, device)
        length = (cos**2 + sin**2).sqrt()
        return cos / length, sin / length

    network.rotations = unit


def compared(ours, core, kinds=KINDS):
    plain, plain_core, found = sample(ours), sample(core), {}
    found["plain"] = {"from core": relative(plain, plain_core)}
    for name, patch in kinds.items():
        try:
            patched = sample(patch(ours))
        except Exception as error:
            found[name] = {"error": str(error)}
            continue
        by_core = sample(patch(core))
        found[name] = {"from core": relative(patched, by_core), "effect": relative(patched, plain),
                       "effect on core": relative(by_core, plain_core)}
    return found
