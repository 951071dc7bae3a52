"""Nodes that compare ComfyUI with the command line: what the engine's host is asked, and two hosts in one process."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import comfy.sd
import torch
from comfy_api.latest import io

sys.path.append(str(Path(__file__).resolve().parents[1]))
from door_records import DoorRecord  # noqa: E402

_records = []


def pack(module):
    """A module of the pack that is loaded here, by its name below `scail_model`."""
    return importlib.import_module(f"{_root()}.{module}")


def _root():
    (root,) = (name.removesuffix(".video.options") for name in sys.modules if name.endswith(".video.options"))
    return root


class TestRecordDoor(io.ComfyNode):
    """From here on, what ComfyUI's VAE and the pack's host are asked is recorded in `folder`; empty: no more."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestRecordDoor", category="test", is_output_node=True, not_idempotent=True,
                         inputs=[io.String.Input("folder")], outputs=[])

    @classmethod
    def execute(cls, folder):
        while _records:
            _records.pop().stop()
        if folder:
            _records.append(DoorRecord(
                Path(folder), vae=comfy.sd.VAE, host=pack("comfy.host").ComfyHost, frames=lambda frames: frames,
                reference=lambda host, inputs: host._reference(inputs.reference),
                clip=lambda reference: reference.clip["penultimate_hidden_states"],
                text=lambda host, inputs: inputs.positive[0][0]))
        return io.NodeOutput()


class TestTwoHosts(io.ComfyNode):
    """The engine run twice over one video, in `folder`/comfy and `folder`/headless.

    The second host is the command line's, with its own sampling and its own network from `weights`; but its VAE is
    ComfyUI's, and prompts and reference are those that ComfyUI has encoded.
    """

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTwoHosts", category="test", is_output_node=True, inputs=[
            io.Model.Input("model"), io.Conditioning.Input("positive"), io.Conditioning.Input("negative"),
            io.Vae.Input("vae"), io.Custom("SCAIL2_REFERENCE").Input("reference"), io.Video.Input("driving"),
            io.Custom("SCAIL2_IDENTITIES").Input("identities"), io.String.Input("weights"), io.String.Input("folder"),
            io.Int.Input("seed"), io.String.Input("solver"), io.Int.Input("steps"), io.Float.Input("guidance"),
            io.Int.Input("segment_length"), io.String.Input("history"), io.Float.Input("history_strength"),
            io.String.Input("plan"), io.Float.Input("rate"), io.Float.Input("driving_end"),
            io.Float.Input("sparse_density"), io.Float.Input("sparse_error"),
            io.Float.Input("negative_strength"), io.String.Input("plate")], outputs=[])

    @classmethod
    def execute(cls, model, positive, negative, vae, reference, driving, identities, weights, folder, seed, **options):
        options = pack("video.options").VideoOptions(codec="lossless", **options)
        clip, identities = options.timed(pack("comfy.schema").as_clip(driving), identities)
        given = pack("video.segment_inputs").Given
        hosts = {
            "comfy": (pack("comfy.host").ComfyHost(model, vae), given(positive, negative, [reference])),
            "headless": (_headless_host(model, vae, weights), given(
                *(pack("headless.host").Prompt(embedding=prompt[0][0]) for prompt in (positive, negative)),
                [replace(reference, clip=reference.clip["penultimate_hidden_states"])]))}
        for name, (host, inputs) in hosts.items():
            task, _ = pack("video.start").make_task(options, seed, (), inputs, clip, identities, host)
            job = pack("files.jobs").Job(Path(folder) / name, {})
            pack("video.engine").make_video(task, host, job, _Watch(), Path(folder) / f"{name}.mp4")
        return io.NodeOutput()


def _headless_host(model, vae, weights):
    """The command line's host around ComfyUI's VAE."""

    class Host(_command_line_host().HeadlessHost):
        key = "headless"
        _vae = SimpleNamespace(
            encode=lambda pixels, check: vae.encode(pixels.movedim(1, -1)),
            decode=lambda latent, check: vae.decode(latent)[0].movedim(-1, 1),
            normalised=model.model.process_latent_in, denormalised=model.model.process_latent_out)

        def prompt_key(self, positive, negative):
            return "prompt"

        def reference_key(self, reference):
            return "reference"

        def _reference(self, reference):
            return reference

    opened, network = pack("headless.weights").open_weights(Path(weights)), model.get_model_object("diffusion_model")
    host = Host(None, opened, torch.device("cpu"), torch.float32, offload=False, stage=lambda text: None,
                precision=network.precision, attention=network.attention)
    if network.backend.sparse:  # or the smallest rounding of what is exact in it would have other blocks chosen
        host.attention = network.backend
    return host


class _Unneeded(ModuleType):
    def __getattr__(self, name):
        return None


def _command_line_host():
    """The module of the command line's host, without the encoders: they need packages that ComfyUI does not have."""
    name = f"{_root()}.headless.encoders"
    sys.modules[name] = _Unneeded(name)
    try:
        return pack("headless.host")
    finally:
        del sys.modules[name]


class _Watch:
    def stage(self, segment, text):
        pass

    def step(self, segment, step, denoised):
        pass

    def finished(self, segment, part, *, kept):
        pass

    def tick(self):
        pass
