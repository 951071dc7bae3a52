"""Types and inputs that several nodes share."""

from __future__ import annotations

from dataclasses import Field
from pathlib import Path

import comfy.model_management
import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ..files.jobs import FOLDER
from ..media.clips import Clip, TensorClip
from ..poses.pose_clip import PoseClip
from ..poses.value import Poses
from ..video.options import option, option_fields
from .shown_node import say
from .videos import clip_of

CATEGORY = "SCAIL-2"
_TOLD_EVERY = 250  # frames
_MOST_REFERENCES = 6

IdentitiesType = io.Custom("SCAIL2_IDENTITIES")
ReferenceType = io.Custom("SCAIL2_REFERENCE")
TrackType = io.Custom("SAM3_TRACK_DATA")  # of core's SAM3 nodes
PosesType = io.Custom("SCAIL2_POSES")
CropType = io.Custom("SCAIL2_CROP")
NLFModelType = io.Custom("NLFMODEL")  # of other packs' NLF nodes too: NLF's torchscript module
DRIVING_TYPES = [io.Image, io.Video, PosesType]  # what `as_clip` reads


def segment_inputs() -> list[io.Input]:
    """What every node that makes frames needs."""
    return [
        io.Conditioning.Input("positive", tooltip="The prompt: describe the finished video."),
        io.Conditioning.Input("negative", tooltip="The negative prompt; the official one is empty."),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
        ReferenceType.Input("reference", tooltip="From Encode SCAIL-2 Reference; it sets the size."),
        io.MultiType.Input("driving", DRIVING_TYPES,
                           tooltip="The driving video whose motion is followed, as frames, as a VIDEO, or as poses, "
                                   "which are rendered. One driving frame gives one frame of the result, unless rate "
                                   "asks for another."),
        IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities."),
    ]


def option_inputs(*names: str) -> list[io.Input]:
    """Some of the settings of a video, for nodes that have these alone."""
    return [_widget(each) for each in option_fields() if each.name in names]


def setting_inputs() -> list[io.Input]:
    """All but the seed of what decides how a video is sampled."""
    early, late = ([_widget(each) for each in option_fields() if option(each).late is late] for late in (False, True))
    return [*early, *_object_inputs(), *late]


def jobs_folder() -> Path:
    return Path(folder_paths.get_output_directory(), FOLDER)


def _widget(of: Field) -> io.Input:
    how, default = option(of), of.default
    common = {"default": default, "optional": not how.basic, "advanced": not (how.basic or how.shown) or None,
              "tooltip": how.help}
    if how.choices:
        return io.Combo.Input(of.name, options=list(how.choices), **common)
    if isinstance(default, bool):
        return io.Boolean.Input(of.name, **common)
    if isinstance(default, str):
        return io.String.Input(of.name, multiline=how.multiline, **common)
    kind = io.Int.Input if isinstance(default, int) else io.Float.Input
    return kind(of.name, min=how.low, max=how.high, step=how.step, **common)


def _object_inputs() -> list[io.Input]:
    names = [f"reference_{number}" for number in range(2, _MOST_REFERENCES + 1)]
    tooltip = "Further references from Encode SCAIL-2 Reference, which the plan can choose for a segment by number."
    template = io.Autogrow.TemplateNames(ReferenceType.Input("reference", tooltip=tooltip), names=names, min=0)
    return [
        io.Clip.Input("clip", optional=True, tooltip="The text encoder, if the plan has prompts."),
        io.Autogrow.Input("more_references", template=template, optional=True, tooltip=tooltip),
        io.Sampler.Input("sampler", optional=True, tooltip="Any SAMPLER, which takes the place of solver."),
        io.Sigmas.Input("sigmas", optional=True, tooltip="Noise levels from any scheduler, which take the place of "
                                                         "steps and shift. They have to lead from 1 to 0."),
    ]


def as_clip(video, name: str = "driving video", told_on: str | None = None) -> Clip:
    """IMAGE, VIDEO or poses -> a clip that is read a stretch at a time; `name` is what messages call it. told_on: id of
    the node that shows how far the first reading of a file is."""
    tick = _Tick(name, told_on)
    if isinstance(video, Poses):
        return PoseClip(video, tick)
    return TensorClip(video, tick=tick) if isinstance(video, Tensor) else clip_of(video, name, tick)


class _Tick:
    """Called for every frame: ends work that the user has cancelled, and now and then tells of it."""

    def __init__(self, name: str, node_id: str | None) -> None:
        self.name, self.node_id, self.count = name, node_id, 0

    def __call__(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.count += 1
        if self.node_id is not None and self.count % _TOLD_EVERY == 0:
            say(f"{self.name}: {self.count} frames read", self.node_id)
