"""Reframe SCAIL-2 Reference: give the reference person the size and place of the driving person."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, DRIVING_TYPES, IdentitiesType, as_clip
from ..scail_model.drawing.before_after import before_after
from ..scail_model.geometry import check_picture_count, check_shape, check_size
from ..scail_model.inputs import reframe
from ..scail_model.masks import people


class SCAIL2ReframeReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2ReframeReference",
            display_name="Reframe SCAIL-2 Reference",
            category=CATEGORY,
            description="Gives the reference person the size and place of the driving person in the first driving "
                        "frame: same height, feet on the same line, same centre. The picture is padded, not cropped.",
            search_aliases=["reference scale", "align reference", "letterbox", "pad reference", "person too large"],
            inputs=[
                io.Image.Input("image", tooltip="The reference pictures, the primary first. Only the primary is "
                                                "reframed; the others are cropped to the size of the result."),
                IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities, made with these pictures."),
                io.Int.Input("width", default=896, min=32, max=8192, step=32,
                             tooltip="Width of the result in pixels, a multiple of 32; as in Encode SCAIL-2 "
                                     "Reference."),
                io.Int.Input("height", default=512, min=32, max=8192, step=32,
                             tooltip="Height of the result in pixels, a multiple of 32."),
                io.MultiType.Input("driving", DRIVING_TYPES, optional=True,
                                   tooltip="The driving video, only for the preview."),
                io.Combo.Input("fill", options=["as the mode needs", *reframe.FILLS], default="as the mode needs",
                               optional=True, advanced=True,
                               tooltip="How to fill what the picture does not cover. As the mode needs: extend in "
                                       "animation, black in replacement. extend continues the picture's edges."),
                io.Float.Input("scale", default=1.0, min=0.1, max=10.0, step=0.01, optional=True, advanced=True,
                               tooltip="Additional scale, with the feet in place. For bodies that are cut off, or a "
                                       "child in place of an adult."),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The pictures at the size of the result."),
                io.Mask.Output("mask", tooltip="All people in the reframed primary."),
                IdentitiesType.Output("identities", tooltip="The same people, with masks that fit the new pictures. "
                                                            "Use these from here on."),
                io.Image.Output("preview", tooltip="Before, after, and the driving frame, with lines at the driving "
                                                   "person's head and feet."),
                io.String.Output("report", tooltip="What was done, and the size of the person before and after."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("reframing the references")
    def execute(cls, image: torch.Tensor, identities, width: int, height: int, driving=None,
                fill: str = "as the mode needs", scale: float = 1.0) -> io.NodeOutput:
        check_size(width, height)
        check_picture_count(len(image), len(identities.references))
        check_shape("mask of reference 1", identities.references[0].size, "picture", (image.shape[1], image.shape[2]))
        if fill not in reframe.FILLS:
            fill = reframe.BLACK_FILL if identities.replacement else reframe.EXTEND_FILL
        done = reframe.reframe_references(image[..., :3], identities, height, width, fill, scale)
        frame = None
        if driving is not None:
            video = as_clip(driving)
            check_shape("driving mask", identities.driving.size, "driving video", video.size)
            frame = video.at([min(done.frame, len(video) - 1)])[0]
        preview = before_after(image[0, ..., :3], done.original_labels, done.images[0], done.labels, frame,
                                       identities.driving_labels(done.frame, done.frame + 1)[0])[None]
        mask = people(done.labels)[None].float()
        return io.NodeOutput(done.images, mask, done.identities, preview, done.report,
                             ui=ui.PreviewImage(preview, cls=cls))
