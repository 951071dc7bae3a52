"""Types and inputs that several nodes share."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import InputImpl, io
from server import PromptServer
from torch import Tensor

from ..media.clips import Clip, FileClip, TensorClip, Window

CATEGORY = "SCAIL-2"
_TOLD_EVERY = 250  # frames
SOLVERS = ["unipc", "dpm++", "euler"]

IdentitiesType = io.Custom("SCAIL2_IDENTITIES")
ReferenceType = io.Custom("SCAIL2_REFERENCE")
TrackType = io.Custom("SAM3_TRACK_DATA")  # of core's SAM3 nodes


def segment_inputs() -> list[io.Input]:
    """What every node that makes frames needs."""
    return [
        io.Conditioning.Input("positive", tooltip="The prompt: describe the finished video."),
        io.Conditioning.Input("negative", tooltip="The negative prompt; the official one is empty."),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
        ReferenceType.Input("reference", tooltip="From Encode SCAIL-2 Reference; it sets the size."),
        io.MultiType.Input("driving", [io.Image, io.Video],
                           tooltip="The driving video whose motion is followed, as frames or as a VIDEO. One driving "
                                   "frame gives one frame of the result; nothing is resampled."),
        IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities."),
    ]


def solver_inputs() -> list[io.Input]:
    return [
        io.Combo.Input("solver", options=SOLVERS, default="unipc",
                       tooltip="unipc is the official default; dpm++ is official too; euler is usual with distilled "
                               "LoRAs."),
        io.Int.Input("steps", default=40, min=1, max=1000,
                     tooltip="Sampling steps. 40 is the official default; 8 (or 4 to 6) with a distilled LoRA."),
        io.Float.Input("shift", default=3.0, min=0.01, max=100.0, step=0.01,
                       tooltip="How far the steps lean towards high noise. 3 is the official default; 1 with the "
                               "official distilled-LoRA recipe."),
    ]


def as_clip(video, name: str = "driving video", told_on: str | None = None) -> Clip:
    """IMAGE or VIDEO -> a clip that is read a stretch at a time; `name` is what messages call it. told_on: id of the
    node that shows how far the first reading of a file is."""
    tick = _Tick(name, told_on)
    if isinstance(video, Tensor):
        return TensorClip(video, tick=tick)
    if isinstance(video, InputImpl.VideoFromFile):
        return FileClip(video.get_stream_source(), Window(*video.get_active_trim_window()), name, tick)
    parts = video.get_components()
    return TensorClip(parts.images, parts.frame_rate, parts.audio, tick)


class _Tick:
    """Called for every frame: ends work that the user has cancelled, and now and then tells of it."""

    def __init__(self, name: str, node_id: str | None) -> None:
        self.name, self.node_id, self.count = name, node_id, 0

    def __call__(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.count += 1
        if self.node_id is not None and self.count % _TOLD_EVERY == 0:
            PromptServer.instance.send_progress_text(f"{self.name}: {self.count} frames read", self.node_id)
