"""Nodes for the host tests only: stand-ins for gigabytes of weights, exact inputs from files, and a look inside."""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import comfy.clip_vision
import comfy.ldm.wan.vae
import comfy.memory_management
import comfy.samplers
import torch
from comfy.k_diffusion.sampling import sample_euler
from comfy.ldm.sam3.tracker import pack_masks
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import ComfyExtension, io
from comfy_extras import nodes_scail
from safetensors.torch import load_file, save_file

from .attention_overrides import TestOverrides
from .bodies import TestBodies, TestDrawnBodies, TestDrawnKeyPoints, TestSavePoses, missing_of_core
from .doors import TestRecordDoor, TestTwoHosts
from .expanded import TestExpandedSample
from .gpus import TestDevices, TestFailingGpu, TestGpusOf, TestLoaded, TestMoved, TestPatchedGpus
from .loading import TestLoading
from .packed import TestLoadPacked
from .patched import TestPatched
from .patches import TestNotingPatch, TestOtherNag
from .plate_lock import TestPlateLock
from .poses import TestKeyPoints, TestPoses, TestWithoutBodyRender
from .sam3 import TestDrawnDetect, TestDrawnTrack
from .sparse import TestSparse
from .text_models import TestTextModel
from .vae import TestDecodingHost, TestVae
from .videos import TestReadVideo

sys.path.append(str(Path(__file__).resolve().parents[2] / "demo"))
from faster import take_onednn  # noqa: E402

take_onednn()

# ViT-H of Wan 2.1 with 2 layers instead of 32
_CLIP = {"hidden_act": "gelu", "hidden_size": 1280, "image_size": 224, "intermediate_size": 64, "model_type":
         "clip_vision_model", "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 2, "patch_size": 14,
         "projection_dim": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "layer_norm_eps": 1e-05}


class TestText(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestText", category="test", inputs=[
            io.Int.Input("seed"), io.Int.Input("tokens", default=6, optional=True)], outputs=[io.Conditioning.Output()])

    @classmethod
    def execute(cls, seed, tokens=6):
        embedding = torch.zeros(1, max(512, tokens), 4096)
        embedding[:, :tokens] = torch.randn(1, tokens, 4096, generator=torch.Generator().manual_seed(seed)) * 0.2
        return io.NodeOutput([[embedding, {}]])


class TestTextEncoder(io.ComfyNode):
    """A CLIP in what its users call; every text has an embedding of its own, with a token for each letter."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTextEncoder", category="test", inputs=[], outputs=[io.Clip.Output()])

    @classmethod
    def execute(cls):
        return io.NodeOutput(_TextEncoder())


class _TextEncoder:
    def tokenize(self, text):
        return list(text.encode())

    def encode_from_tokens_scheduled(self, tokens):
        letters = torch.randn(256, 4096, generator=torch.Generator().manual_seed(0)) * 0.2
        embedding = torch.zeros(1, max(512, len(tokens)), 4096)
        embedding[0, : len(tokens)] = letters[tokens]
        return [[embedding, {}]]


class TestClipVision(io.ComfyNode):
    """Random weights, or those of a file that transformers has written; ComfyUI's own loader takes no CLIP so small."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestClipVision", category="test", inputs=[
            io.Int.Input("width", default=1280, optional=True), io.String.Input("weights", default="", optional=True)],
            outputs=[io.ClipVision.Output()])

    @classmethod
    def execute(cls, width=1280, weights=""):
        path = Path(tempfile.mkdtemp()) / "clip.json"
        path.write_text(json.dumps({**_CLIP, "hidden_size": width}))
        clip = comfy.clip_vision.ClipVisionModel(str(path))
        generator = torch.Generator().manual_seed(0)
        for parameter in clip.model.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
        if weights:
            missing, unexpected = clip.load_sd({f"vision_model.{name}": tensor
                                                for name, tensor in load_file(weights).items()})
            assert {*missing, *unexpected} <= {"visual_projection.weight"}, (missing, unexpected)
        return io.NodeOutput(clip)


class TestMakeVae(io.ComfyNode):
    """Write a narrow Wan 2.1 VAE with random weights, which VAELoader takes for the real one."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestMakeVae", category="test", is_output_node=True, inputs=[
            io.String.Input("path"), io.Int.Input("width")], outputs=[])

    @classmethod
    def execute(cls, path, width):
        vae = comfy.ldm.wan.vae.WanVAE(dim=width, z_dim=16, temperal_downsample=[False, True, True])
        generator = torch.Generator().manual_seed(0)
        tensors = {}
        for name, parameter in vae.state_dict().items():
            spread = (1.5 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            drawn = torch.randn(parameter.shape, generator=generator) * spread
            tensors[name] = torch.ones(parameter.shape) if name.endswith("gamma") else drawn
        save_file(tensors, path)
        return io.NodeOutput()


class TestImages(io.ComfyNode):
    """Frames [T, h, w, 3] from a file, uint8 or float; the MASK is where anything is not black."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestImages", category="test", inputs=[
            io.String.Input("path"), io.String.Input("name"), io.Int.Input("frames", default=10000, optional=True)],
            outputs=[io.Image.Output(), io.Mask.Output()])

    @classmethod
    def execute(cls, path, name, frames=10000):
        images = load_file(path)[name][:frames]
        images = images / 255 if images.dtype == torch.uint8 else images
        return io.NodeOutput(images, (images.amax(-1) > 0.5).float())


class TestAnything(io.ComfyNode):
    """A value, written as JSON, for any input: as nodes give that are for every type."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestAnything", category="test", inputs=[io.String.Input("text")],
                         outputs=[io.AnyType.Output()])

    @classmethod
    def execute(cls, text):
        return io.NodeOutput(json.loads(text))


class TestLatent(io.ComfyNode):
    """A latent from a file of a job."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestLatent", category="test", inputs=[io.String.Input("path")],
                         outputs=[io.Latent.Output()])

    @classmethod
    def execute(cls, path):
        return io.NodeOutput(load_file(path))


class TestTrack(io.ComfyNode):
    """A colour mask's people as SAM3_VideoTrack gives them: one object for each colour, in the palette's order, as
    often as `copies` says; no objects at all for 0."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTrack", category="test", inputs=[
            io.String.Input("path"), io.String.Input("name"), io.Int.Input("frames", default=10000, optional=True),
            io.Int.Input("copies", default=1, optional=True)], outputs=[io.Custom("SAM3_TRACK_DATA").Output()])

    @classmethod
    def execute(cls, path, name, frames=10000, copies=1):
        images = load_file(path)[name][:frames] > 127
        objects = [(images == torch.tensor(colour)).all(-1) for colour in nodes_scail.DEFAULT_PALETTE]
        people = [mask for mask in objects if mask.any()] * copies
        packed = pack_masks(torch.stack(people, 1)) if people else None
        return io.NodeOutput({"packed_masks": packed, "orig_size": images.shape[1:3], "n_frames": len(images),
                              "scores": [1.0] * len(people)})


class TestConditioning(io.ComfyNode):
    """Conditioning, noise and latent exactly as a file gives them, latents as the network sees them (normalised)."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestConditioning", category="test", inputs=[
            io.Model.Input("model"), io.String.Input("path")], outputs=[
                io.Conditioning.Output(), io.Conditioning.Output(), io.Noise.Output(), io.Latent.Output()])

    @classmethod
    def execute(cls, model, path):
        tensors, outside = load_file(path), model.model.process_latent_out
        clip = comfy.clip_vision.Output()
        clip["penultimate_hidden_states"] = tensors["clip"]
        values = {
            "reference_latents": [outside(latent) for latent in tensors["references"].split(1)],
            "ref_mask_28ch": tensors["reference_masks"].movedim(1, 2),
            "pose_video_latent": outside(tensors["pose"]),
            "driving_mask_28ch": tensors["driving_masks"].movedim(1, 2),
            "ref_mask_flag": bool(tensors["animation"]),
            "clip_vision_output": clip,
        }
        latent = {"samples": torch.zeros_like(tensors["noise"])}
        if "history" in tensors:
            frames = tensors["history"].shape[2]
            latent["samples"] = outside(latent["samples"])
            latent["samples"][:, :, :frames] = outside(tensors["history"])
            latent["noise_mask"] = torch.ones_like(latent["samples"][:, :1])
            latent["noise_mask"][:, :, :frames] = 0
        prompts = [[[tensors[name], values]] for name in ("positive", "negative")]
        return io.NodeOutput(*prompts, FixedNoise(tensors["noise"]), latent)


class FixedNoise:
    seed = 0

    def __init__(self, noise):
        self.noise = noise

    def generate_noise(self, latent):
        return self.noise.clone()


class TestToyModel(io.ComfyNode):
    """The network replaced by the toy model of golden case D, whose [2, 8] state lies in the 16 latent channels."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestToyModel", category="test", inputs=[
            io.Model.Input("model"), io.String.Input("path")], outputs=[io.Model.Output(), io.Noise.Output(),
                                                                        io.Latent.Output()])

    @classmethod
    def execute(cls, model, path):
        tensors = load_file(path)

        def velocity(executor, x, timestep, *rest, **conditions):
            state = x[:, :16].reshape(2, 8)
            return (state @ tensors["A"].T + tensors["b"] * (timestep / 1000)).reshape(1, 16, 1, 1, 1)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test_toy", velocity)
        noise = tensors["noise"].reshape(1, 16, 1, 1, 1)
        return io.NodeOutput(model, FixedNoise(noise), {"samples": torch.zeros_like(noise)})


class TestRecord(io.ComfyNode):
    """Every call of the diffusion model as a file in `folder`: the tensors it gets and the velocity it gives."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestRecord", category="test", inputs=[
            io.Model.Input("model"), io.String.Input("folder")], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, folder):
        model = model.clone()

        def record(executor, x, timestep, context, clip, *rest, **conditions):
            # counted by the files, because a job is found again only while nothing in a patch changes
            path = Path(folder) / f"{len(list(Path(folder).glob('*.safetensors'))):04}.safetensors"
            tensors = {"x": x, "timestep": timestep, "context": context, "clip": clip, **conditions,
                       "ref_mask_flag": torch.tensor(bool(conditions.get("ref_mask_flag")))}
            tensors = {name: value.clone().cpu().contiguous() for name, value in tensors.items()
                       if isinstance(value, torch.Tensor)}
            velocity = executor(x, timestep, context, clip, *rest, **conditions)
            save_file({**tensors, "velocity": velocity.cpu().contiguous()}, path)
            return velocity

        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test_record", record)
        return io.NodeOutput(model)


class TestReplaceBlock(io.ComfyNode):
    """A block replacement that does what the block does; it writes down which keys it was given."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestReplaceBlock", category="test", inputs=[
            io.Model.Input("model"), io.Int.Input("block"), io.String.Input("path")], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, block, path):
        def replacement(arguments, extra):
            kept = arguments["img"].clone()
            result = extra["original_block"](arguments)
            Path(path).write_text(json.dumps({
                "arguments": sorted(arguments), "input_kept": torch.equal(kept, arguments["img"]),
                "index": arguments["transformer_options"]["block_index"],
                "total": arguments["transformer_options"]["total_blocks"]}))
            return result

        model = model.clone()
        model.set_model_patch_replace(replacement, "dit", "double_block", block)
        return io.NodeOutput(model)


class TestAttention(io.ComfyNode):
    """Scales what attention returns, through an attn1_patch or an override, and writes down the calls."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestAttention", category="test", inputs=[
            io.Model.Input("model"), io.Combo.Input("way", options=["attn1_patch", "override"]),
            io.Float.Input("scale"), io.String.Input("path")], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model, way, scale, path):
        model, calls = model.clone(), []

        def note(**shapes):
            calls.append({name: list(shape) for name, shape in shapes.items()})
            Path(path).write_text(json.dumps(calls))

        def patch(arguments):
            note(x=arguments["x"].shape, q=arguments["q"].shape, k=arguments["k"].shape)
            return arguments["x"] * scale

        def override(attention, q, k, v, *rest, **options):
            note(q=q.shape, k=k.shape, v=v.shape)
            return attention(q, k, v, *rest, **options) * scale

        if way == "attn1_patch":
            model.set_model_attn1_patch(patch)
        else:
            model.model_options["transformer_options"]["optimized_attention_override"] = override
        return io.NodeOutput(model)


class TestSaveTensors(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSaveTensors", category="test", is_output_node=True, inputs=[
            io.String.Input("path"), io.Latent.Input("latent", optional=True), io.Image.Input("image", optional=True),
            io.Conditioning.Input("conditioning", optional=True),
            io.Model.Input("model", optional=True, tooltip="Saves the latent as this model sees it: normalised."),
            io.Sigmas.Input("sigmas", optional=True)],
            outputs=[])

    @classmethod
    def execute(cls, path, latent=None, image=None, conditioning=None, model=None, sigmas=None):
        tensors = {}
        if latent is not None:
            tensors |= {key: value for key, value in latent.items() if isinstance(value, torch.Tensor)}
            if model is not None:
                tensors["samples"] = model.model.process_latent_in(tensors["samples"])
        if image is not None:
            tensors["image"] = image
        if sigmas is not None:
            tensors["sigmas"] = sigmas
        if conditioning is not None:
            embedding, options = conditioning[0]
            tensors["embedding"] = embedding
            tensors |= {key: value for key, value in options.items() if isinstance(value, torch.Tensor)}
        save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, path)
        return io.NodeOutput()


class TestDefaults(io.ComfyNode):
    """The pack's `VideoOptions` as a program gets them that leaves out what it may, as JSON."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDefaults", category="test", is_output_node=True, inputs=[],
                         outputs=[io.String.Output()])

    @classmethod
    def execute(cls):
        (module,) = (module for name, module in sys.modules.items() if name.endswith(".video.options"))
        fields = dataclasses.fields(module.VideoOptions)
        return io.NodeOutput(json.dumps({field.name: None if field.default is dataclasses.MISSING else field.default
                                         for field in fields}))


class TestStoredDtypes(io.ComfyNode):
    """The dtypes that the network's parameters are kept in with weight_dtype fp8_e4m3fn, by name, as JSON; loaded as
    on a GPU with dynamic memory, where linears may get their parameters only when the file is read."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestStoredDtypes", category="test", is_output_node=True, inputs=[
            io.String.Input("path")], outputs=[io.String.Output()])

    @classmethod
    def execute(cls, path):
        (loader,) = (module for name, module in sys.modules.items() if name.endswith(".comfy.loader"))
        before, comfy.memory_management.aimdo_enabled = comfy.memory_management.aimdo_enabled, True
        try:
            model = loader.load_state_dict(load_file(path), {}, {"dtype": torch.float8_e4m3fn})
        finally:
            comfy.memory_management.aimdo_enabled = before
        network = model.model.diffusion_model
        stored = {}
        for name, _ in network.named_parameters():
            module, _, parameter = name.rpartition(".")
            dtype = getattr(network.get_submodule(module), f"{parameter}_comfy_model_dtype")
            stored[name] = str(dtype).removeprefix("torch.")
        return io.NodeOutput(json.dumps(stored))


class TestPath(io.ComfyNode):
    """Packages of another environment behind those of this one, or no more."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestPath", category="test", is_output_node=True, inputs=[
            io.String.Input("folder"), io.Boolean.Input("there")], outputs=[])

    @classmethod
    def execute(cls, folder, there):
        (sys.path.append if there else sys.path.remove)(folder)
        return io.NodeOutput()


class TestSlowSampler(io.ComfyNode):
    """An Euler sampler that sleeps in each step; and how long a run may be silent, in seconds, from here on."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSlowSampler", category="test", is_output_node=True, inputs=[
            io.Float.Input("sleep"), io.Float.Input("silence")], outputs=[io.Sampler.Output()])

    @classmethod
    def execute(cls, sleep, silence):
        def slow(*given, **named):
            time.sleep(sleep)
            return sample_euler(*given, **named)

        voice = next(module for name, module in sys.modules.items() if name.endswith("scail_model.video.voice"))
        voice.SILENCE = silence
        return io.NodeOutput(comfy.samplers.KSAMPLER(slow))


class TestSleep(io.ComfyNode):
    """Hands a video on after some seconds."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestSleep", category="test", outputs=[io.Video.Output()],
                         inputs=[io.Video.Input("video"), io.Float.Input("seconds")])

    @classmethod
    def execute(cls, video, seconds):
        time.sleep(seconds)
        return io.NodeOutput(video)


class TestExtension(ComfyExtension):
    async def get_node_list(self):
        return [TestText, TestClipVision, TestMakeVae, TestImages, TestTrack, TestConditioning, TestToyModel,
                TestRecord, TestReplaceBlock, TestAttention, TestSaveTensors, TestDrawnTrack, TestDrawnDetect,
                TestTextEncoder, TestTextModel, TestLatent, TestAnything, TestDefaults, TestStoredDtypes, TestPath,
                TestRecordDoor, TestTwoHosts, TestLoadPacked, TestReadVideo, TestNotingPatch, TestOtherNag, TestPatched,
                TestLoading, TestSleep, TestDevices, TestFailingGpu, TestGpusOf, TestPatchedGpus,
                TestSlowSampler, TestOverrides, TestExpandedSample, TestBodies, TestDrawnBodies, TestDrawnKeyPoints,
                TestSavePoses, TestWithoutBodyRender, TestPoses, TestKeyPoints, TestPlateLock, TestSparse, TestVae,
                TestDecodingHost, TestLoaded, TestMoved,
                *missing_of_core()]


async def comfy_entrypoint():
    return TestExtension()
