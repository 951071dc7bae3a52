"""Render SCAIL-2 Poses: poses as a driving video and its masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..scail_model.comfy.pose_render import render
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, PosesType
from ..scail_model.poses.report import look_report
from ..scail_model.poses.value import MESH, OFFICIAL, Look, Poses


class SCAIL2RenderPoses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2RenderPoses",
            display_name="Render SCAIL-2 Poses",
            category=CATEGORY,
            description="Draws poses as the driving video that SCAIL-2 was trained with, a 3D skeleton with face and "
                        "hands on black, and the masks that belong to it. Or draws body meshes.",
            search_aliases=["nlf render", "skeleton", "pose video", "taichi", "mesh", "sam3d body", "capsules"],
            inputs=[
                PosesType.Input("poses", tooltip="From Read SCAIL-2 Poses or Retarget SCAIL-2 Poses."),
                io.Combo.Input("style", options=[OFFICIAL, MESH], default=OFFICIAL,
                               tooltip="official: the 3D skeleton of the authors' script, to within a level of 255. "
                                       "mesh: whole bodies of SAM3D Body, drawn by ComfyUI's own node."),
                io.Boolean.Input("face", default=True, tooltip="Draw the points of faces on the skeleton."),
                io.Boolean.Input("hands", default=True, tooltip="Draw the hands on the skeleton."),
                io.Int.Input("width", default=0, min=0, max=8192, optional=True,
                             tooltip="Width in pixels; 0 for that of the driving video. With height: scaled and "
                                     "cropped as Encode SCAIL-2 Reference does it."),
                io.Int.Input("height", default=0, min=0, max=8192, optional=True,
                             tooltip="Height in pixels; 0 for that of the driving video."),
                io.Int.Input("start", default=0, min=0, max=1000000, optional=True, advanced=True,
                             tooltip="The first frame that is drawn, from 0."),
                io.Int.Input("frames", default=0, min=0, max=1000000, optional=True, advanced=True,
                             tooltip="How many frames are drawn; 0 for all. Few of a long video to look at them: the "
                                     "output poses has all frames anyway."),
            ],
            outputs=[
                io.Image.Output("driving", tooltip="The driving video."),
                io.Image.Output("driving_masks", tooltip="Each person in the colour of their reference, on black. For "
                                                         "driving_masks of Bind SCAIL-2 Identities."),
                PosesType.Output("poses", tooltip="All frames in this look and size, not drawn yet. For driving and "
                                                  "driving_masks of other nodes, which draw a segment at a time."),
                io.String.Output("report", tooltip="Who is in which frames, and what is drawn."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("rendering poses")
    def execute(cls, poses: Poses, style: str, face: bool, hands: bool, width: int = 0, height: int = 0,
                start: int = 0, frames: int = 0) -> io.NodeOutput:
        poses = replace(poses.covering(*_size(poses, width, height)), look=Look(style, face, hands))
        if start >= poses.frames:
            raise ValueError(f"start is {start}, but the poses have frames 0 to {poses.frames - 1}: lower it.")
        stop = min(start + frames, poses.frames) if frames else poses.frames
        driving, masks = render(poses, start, stop)
        shown = torch.cat([driving[len(driving) // 2], masks[len(masks) // 2]], 1)[None]
        return io.NodeOutput(driving, masks, poses, look_report(poses, start, stop),
                             ui=ui.PreviewImage(shown, cls=cls))


def _size(poses: Poses, width: int, height: int) -> tuple[int, int]:
    """(height, width) in pixels; a side of 0 follows from the other one."""
    own_height, own_width = poses.size
    if not width and not height:
        return poses.size
    return (height or max(1, round(own_height * width / own_width)),
            width or max(1, round(own_width * height / own_height)))
