"""Read SCAIL-2 Poses: bodies, faces and hands from any detector, as poses of the people of masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui

from ..scail_model.comfy.mask_inputs import MASK_TYPES, more_masks, read_masks
from ..scail_model.comfy.nlf import run_nlf
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, NLFModelType, PosesType, as_clip
from ..scail_model.drawing import previews
from ..scail_model.identity.binding import LEFT_TO_RIGHT, ORDERS
from ..scail_model.identity.mask_sources import DRIVING, Source
from ..scail_model.media.clips import Clip
from ..scail_model.poses.detections import Bodies
from ..scail_model.poses.keypoints import read_keypoints
from ..scail_model.poses.mhr import read_mhr
from ..scail_model.poses.nlf import read_nlf
from ..scail_model.poses.nlf_model import is_nlf
from ..scail_model.poses.reading import HOLD, read_again, read_poses
from ..scail_model.poses.report import read_report
from ..scail_model.poses.scene import Scene
from ..scail_model.poses.value import Poses

_BODIES = [io.Custom("NLFPRED"), io.Custom("MHR_POSE_DATA"), NLFModelType, PosesType]
_DETAIL = [io.Custom("POSE_KEYPOINT"), io.Custom("DWPOSES")]


class SCAIL2Poses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2Poses",
            display_name="Read SCAIL-2 Poses",
            category=CATEGORY,
            description="Reads the bodies, faces and hands that other nodes have found in the driving video, and gives "
                        "each person the colour of its mask. The poses take the place of the driving video, and of its "
                        "masks.",
            search_aliases=["pose", "skeleton", "nlf", "sam3d body", "dwpose", "openpose", "pose-driven", "scail pose"],
            inputs=[
                io.MultiType.Input("poses", _BODIES,
                                   tooltip="Bodies in space: NLFPRED of an NLF node, MHR_POSE_DATA of Run SAM3D Body "
                                           "Prediction, the model of Load NLF Model, which then is run over driving, "
                                           "or poses, for other masks, detail or settings."),
                io.MultiType.Input("detail", _DETAIL, optional=True,
                                   tooltip="Faces and hands, POSE_KEYPOINT or DWPOSES, of the same frames. Without it "
                                           "only SAM3D Body gives hands."),
                io.MultiType.Input("driving", [io.Image, io.Video], optional=True,
                                   tooltip="The driving video: gives the poses its size, rate and sound, and is shown "
                                           "in the preview. NLF's poses need it, or masks."),
                io.MultiType.Input("masks", MASK_TYPES, optional=True,
                                   tooltip="Who is who: a SAM3 track, the MASK of one person, a colour video, or "
                                           "identities, whose colours and names are taken over. Whoever is in no mask "
                                           "is left out. Without masks people are linked over time."),
                more_masks("more_masks", "Plain MASKs of further people, if masks is the MASK of person 1."),
                io.Combo.Input("order", options=list(ORDERS), default=LEFT_TO_RIGHT, optional=True, advanced=True,
                               tooltip="How the people of a SAM3 track are numbered, as in Bind SCAIL-2 Identities."),
                io.Int.Input("hold", default=HOLD, min=0, max=1000, optional=True, advanced=True,
                             tooltip="Whoever is overlooked for at most this many frames keeps the last pose. 0: "
                                     "nobody, as in the official script."),
                io.Float.Input("smooth", default=0.0, min=0.0, max=20.0, step=0.1, optional=True, advanced=True,
                               tooltip="Smooth joints and points over about this many frames to both sides, without "
                                       "delay; 1 calms a jittery detector. 0: not at all. A mesh stays as it is."),
                io.Int.Input("preview_frames", default=4, min=1, max=64, optional=True, advanced=True,
                             tooltip="How many frames the preview shows, spread over the video."),
            ],
            outputs=[
                PosesType.Output("poses", tooltip="For driving and driving_masks of the other nodes, and for Retarget "
                                                  "and Render SCAIL-2 Poses."),
                io.Image.Output("preview", tooltip="A few driving frames with the people in their colours, each beside "
                                                   "the rendered poses."),
                io.String.Output("report", tooltip="Who is seen in which frames, and what was left out, held or "
                                                   "smoothed."),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,  # sent again to a page that is reopened
        )

    @classmethod
    @working("reading the poses")
    def execute(cls, poses, detail=None, driving=None, masks=None, more_masks=None, order: str = LEFT_TO_RIGHT,
                hold: int = HOLD, smooth: float = 0.0, preview_frames: int = 4) -> io.NodeOutput:
        clip = None if driving is None else as_clip(driving)
        if masks is None and more_masks:
            raise ValueError("more_masks is connected, but masks is not: connect the MASK of person 1 to masks.")
        people = None if masks is None else read_masks(masks, more_masks, DRIVING, order, connected="masks",
                                                       more_name="more_masks")
        found = poses if isinstance(poses, Poses) else _bodies(poses, clip, people)
        points = None if detail is None else read_keypoints(detail, found.size)
        if isinstance(found, Poses):
            read = read_again(found, points, people, clip, hold=hold, smooth=smooth)
        else:
            read = read_poses(found, points, people, clip, hold=hold, smooth=smooth)
        preview = _preview(read, preview_frames)
        return io.NodeOutput(read, preview, read_report(read), ui=ui.PreviewImage(preview, cls=cls))


def _bodies(poses, clip: Clip | None, masks: Source | None) -> Bodies:
    """Bodies from any supported input."""
    if is_nlf(poses):
        if clip is None:
            raise ValueError("poses is an NLF model, but driving is not connected: connect the driving video, in which "
                             "it then finds the bodies.")
        return run_nlf(poses, clip, masks)
    if isinstance(poses, Mapping) and "frames" in poses:
        return read_mhr(poses)
    size = clip.size if clip is not None else masks.mask_set.size if masks is not None else None
    if size is None:
        raise ValueError("NLF's poses do not say how large the pictures were: connect the driving video to driving, or "
                         "its masks to masks.")
    return read_nlf(poses, size)


def _preview(poses: Poses, count: int) -> torch.Tensor:
    """A few driving frames with the people in their colours, each beside its rendered poses: an IMAGE."""
    indices = previews.chosen_frames(poses.frames, count)
    scene = Scene.of(poses)
    pixels, people = (torch.cat(parts) for parts in zip(*(scene.frames(index, index + 1) for index in indices),
                                                        strict=True))
    labels = torch.tensor((0, *poses.labels), dtype=torch.uint8)[people.long()]
    filmed = None if poses.filmed is None else poses.filmed.at(indices)
    left = previews.overlay(filmed, labels, dict(zip(poses.labels, poses.names, strict=True)), indices)
    right = F.interpolate(pixels.movedim(-1, 1).float() / 255, left.shape[1:3], mode="area").movedim(1, -1)
    return torch.cat((left, right), 2)
