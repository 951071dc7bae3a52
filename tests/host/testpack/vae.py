"""Wan's VAE in the pack's way and in ComfyUI's, on this machine's device."""

import json
import threading
import time
from unittest import mock

import comfy.model_management as management
import torch
from comfy_api.latest import io

from .doors import pack


class TestVae(io.ComfyNode):
    """For clips of several lengths, whether both ways give the same bits; as JSON, and what happens if they do not."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestVae", category="test", inputs=[io.Vae.Input("vae")],
                         outputs=[io.String.Output("found")])

    @classmethod
    def execute(cls, vae):
        video_vae, wan_vae, kernels = pack("comfy.video_vae"), pack("comfy.wan_vae"), pack("kernels.causal_video")
        model = vae.first_stage_model
        found = {"known": wan_vae.is_known(model), "state": list(vars(model))}
        with mock.patch.object(model, "decode", model.decode):
            found["known when patched"] = wan_vae.is_known(model)
        found["decoded"] = {f"{frames} on {devices}": cls.decoded(vae, video_vae, frames, devices)
                            for frames in (1, 2, 3, 4, 5, 6) for devices in (1, 2, 3, 4, 50)}
        found["encoded"] = {frames: cls.encoded(vae, video_vae, frames) for frames in (1, 5, 9, 13, 15)}

        latent, pixels = drawn(vae, 5), torch.rand(17, 32, 64, 3)
        plain = vae.decode(latent), vae.encode(pixels)
        with mock.patch.object(kernels, "add_", lambda x, bias, *more: x * 1.001), \
                mock.patch.object(video_vae, "_is_faster", return_value=True):
            for _ in range(2):
                fallen = video_vae.decode(vae, latent), video_vae.encode(vae, pixels)
        found["fallen back"] = all(map(torch.equal, plain, fallen))
        found["noted"] = list(video_vae._equal.values())
        video_vae._equal.clear()
        found |= cls.together(vae, video_vae, wan_vae)
        found["unchanged"] = found.pop("state") == list(vars(model))
        return io.NodeOutput(json.dumps(found))

    @staticmethod
    def together(vae, video_vae, wan_vae):
        """What happens to a decoder on three devices that has to stop, and afterwards."""
        latent, head, found, asked = drawn(vae, 9), wan_vae.Head.__call__, {}, []
        expected, here = vae.decode(latent), threading.current_thread()
        others = [torch.device("cpu", 1), vae.device, torch.device("cpu", 2), torch.device("cpu", 1)]

        def decoded():
            video_vae._equal.clear()
            same = torch.equal(video_vae.decode(vae, latent, others), expected)
            return same, [len(key[1]) for key, equal in video_vae._equal.items() if equal]

        def interrupts(self, x):
            if not asked and threading.current_thread() is not here:
                asked.append(management.interrupt_current_processing())
            return head(self, x)

        def no_room(self, x):
            if threading.current_thread() is not here:
                raise torch.OutOfMemoryError("no room")
            return head(self, x)

        def differs(self, x):
            return head(self, x) + (threading.current_thread() is not here)

        with mock.patch.object(video_vae, "_is_faster", return_value=True), \
                mock.patch.object(video_vae.causal_video, "ready", return_value=True):
            found["together"], threads = decoded(), threading.active_count()
            with mock.patch.object(wan_vae.Head, "__call__", interrupts):
                begun = time.monotonic()
                try:
                    decoded()
                except management.InterruptProcessingException:
                    found["interrupted after"] = time.monotonic() - begun
            found["ended by the caller"] = [TestVae.ended(video_vae.decode, vae, latent, others),
                                            TestVae.ended(video_vae.encode, vae, torch.rand(33, 32, 64, 3))]
            for name, call in {"again": head, "no room": no_room, "differs": differs}.items():
                with mock.patch.object(wan_vae.Head, "__call__", call):
                    found[name] = decoded()
            free = management.get_free_memory
            with mock.patch.object(management, "get_free_memory",
                                   lambda device, **more: free(device, **more) if more or device.index != 2 else 0):
                found["one without memory"] = decoded()
        video_vae._equal.clear()
        found["more threads"] = threading.active_count() > threads  # some wait for more work
        return found

    @staticmethod
    def ended(way, vae, given, *others):
        """How often the caller was asked, who says no at the third time."""
        asked = []

        def check():
            asked.append(threading.current_thread())
            if len(asked) == 3:
                raise KeyError("nobody waits")

        try:
            way(vae, given, *others, check=check)
        except KeyError:
            return len(asked) < 6
        return False

    @staticmethod
    def decoded(vae, video_vae, frames, devices):
        latent = drawn(vae, frames)
        ours, core = video_vae._decode(vae, latent, ("_decode", (vae.device,) * devices, frames)), vae.decode(latent)
        return torch.equal(ours, core) and ours.stride() == core.stride()

    @staticmethod
    def encoded(vae, video_vae, frames):
        pixels = torch.rand(frames, 32, 64, 3)
        ours, core = video_vae._encode(vae, pixels, ("_encode", (vae.device,), frames)), vae.encode(pixels)
        return torch.equal(ours, core) and ours.stride() == core.stride()


class TestDecodingHost(io.ComfyNode):
    """How many devices decode for ComfyUI's host, and whether the frames are ComfyUI's; as JSON."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestDecodingHost", category="test", outputs=[io.String.Output()],
                         inputs=[io.Model.Input("model"), io.Vae.Input("vae")])

    @classmethod
    def execute(cls, model, vae):
        video_vae, latent = pack("comfy.video_vae"), drawn(vae, 5)
        with mock.patch.object(video_vae, "_is_faster", return_value=True), \
                mock.patch.object(video_vae.causal_video, "ready", return_value=True):
            frames = pack("comfy.host").ComfyHost(model, vae).decode(latent, lambda: None)
        ((_, devices, *_),) = video_vae._equal
        video_vae._equal.clear()
        return io.NodeOutput(json.dumps([len(devices), torch.equal(frames, vae.decode(latent)[0])]))


def drawn(vae, frames):
    return torch.randn(1, 16, frames, 4, 6, generator=torch.Generator().manual_seed(frames))
