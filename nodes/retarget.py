"""Retarget SCAIL-2 Poses: move the people of poses to where those of the reference picture stand."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, IdentitiesType, PosesType
from ..scail_model.drawing.before_after import drawn_over
from ..scail_model.geometry import check_size
from ..scail_model.poses.retarget import ERROR_LIMIT, retargeted_to
from ..scail_model.poses.scene import Scene
from ..scail_model.poses.value import Poses


class SCAIL2RetargetPoses(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2RetargetPoses",
            display_name="Retarget SCAIL-2 Poses",
            category=CATEGORY,
            description="Gives the skeletons of the driving video the size and place of the people in the reference "
                        "picture: each gets a camera under which the first frame stands on the reference.",
            search_aliases=["align", "use_align", "body proportions", "pose transfer", "scale skeleton", "nlf"],
            inputs=[
                PosesType.Input("poses", tooltip="From Read SCAIL-2 Poses."),
                io.Image.Input("image", tooltip="The reference picture, as it goes to Encode SCAIL-2 Reference; of "
                                                "several, the primary comes first."),
                io.MultiType.Input("keypoints", [io.Custom("POSE_KEYPOINT"), io.Custom("DWPOSES")],
                                   tooltip="Key points of the people in the reference picture: from core's SDPose, "
                                           "DWPose, or any other detector of these types."),
                IdentitiesType.Input("identities", optional=True,
                                     tooltip="From Bind SCAIL-2 Identities, made with the same reference picture: "
                                             "which person is which. Needed as soon as there are several people."),
                io.Int.Input("width", default=0, min=0, max=8192, optional=True,
                             tooltip="Width of the result in pixels; 0 for the shape of the driving video. Picture and "
                                     "driving video are cropped to this shape before they are compared."),
                io.Int.Input("height", default=0, min=0, max=8192, optional=True,
                             tooltip="Height of the result in pixels; 0 for the shape of the driving video."),
                io.Float.Input("error_limit", default=ERROR_LIMIT, min=0.01, max=10.0, step=0.01, optional=True,
                               advanced=True,
                               tooltip="The largest median distance between joints and reference that is accepted, as "
                                       "a share of the size of the reference's joints."),
            ],
            outputs=[
                PosesType.Output("poses", tooltip="The same joints before a camera for each person; faces and hands "
                                                  "have moved with them."),
                io.Image.Output("preview", tooltip="The frame that was aligned, over the reference picture."),
                io.String.Output("report", tooltip="Scale, stretch, move and error of each person, and what is at a "
                                                   "limit."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("retargeting poses")
    def execute(cls, poses: Poses, image: torch.Tensor, keypoints, identities=None, width: int = 0, height: int = 0,
                error_limit: float = ERROR_LIMIT) -> io.NodeOutput:
        size, result = (image.shape[1], image.shape[2]), None
        if bool(width) != bool(height):
            raise ValueError(f"width is {width} and height is {height}: set both, or neither.")
        if width or height:
            check_size(width, height)
            result = (height, width)
        moved, fits = retargeted_to(poses, keypoints, size, identities, result=result, limit=error_limit)
        first = fits[0].frame
        skeletons = Scene.of(moved).frames(first, first + 1)[0][0]
        preview = drawn_over(image[0, ..., :3], skeletons, *(result or poses.size))[None]
        return io.NodeOutput(moved, preview, "\n".join(moved.notes), ui=ui.PreviewImage(preview, cls=cls))
