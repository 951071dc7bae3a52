"""Preview SCAIL-2 Plate: what stays as filmed, what is made, and what has to be invented, before anything is made."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..scail_model.comfy.mask_inputs import plate_masks_input, read_plate_masks
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, DRIVING_TYPES, IdentitiesType, ReferenceType, as_clip, option_inputs
from ..scail_model.drawing.plate_preview import preview, sheet
from ..scail_model.drawing.previews import chosen_frames, read_frames
from ..scail_model.geometry import check_frame_count, check_shape, check_size
from ..scail_model.plate.choice import COMPOSITE, FEATHER, GROW, Choice
from ..scail_model.preflight import plate_checks
from ..scail_model.preflight.findings import report

_FRAMES = 4


class SCAIL2PlatePreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2PlatePreview",
            display_name="Preview SCAIL-2 Plate",
            category=CATEGORY,
            description="Shows what plate will keep of the driving video: driven people in their colours, what is "
                        "grown around them, pixels that have to be invented, and who stays as filmed.",
            search_aliases=["composite preview", "mask preview", "keep background", "grow mask", "feather"],
            inputs=[
                io.MultiType.Input("driving", DRIVING_TYPES, tooltip="The driving video, at its own size."),
                IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities, in replacement."),
                io.Int.Input("width", default=896, min=32, max=8192, step=32,
                             tooltip="Width at which people are made, a multiple of 32; as in Encode SCAIL-2 "
                                     "Reference."),
                io.Int.Input("height", default=512, min=32, max=8192, step=32,
                             tooltip="Height at which people are made, a multiple of 32."),
                *option_inputs("plate_grow", "plate_feather"),
                ReferenceType.Input("reference", optional=True,
                                    tooltip="From Encode SCAIL-2 Reference: its size takes the place of width and "
                                            "height."),
                plate_masks_input(),
                io.String.Input("frames", default="", optional=True,
                                tooltip=f'Driving frames to show, as in "0, 40, 80". Empty: {_FRAMES}, spread over the '
                                        "video."),
            ],
            outputs=[
                io.Image.Output("preview", tooltip="The frames, each over a legend."),
                io.String.Output("report", tooltip="What share stays, what has to be invented, and what is doubtful."),
            ],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("drawing the plate")
    def execute(cls, driving, identities, width: int, height: int, plate_grow: int = GROW,
                plate_feather: int = FEATHER, reference=None, plate_masks=None, frames: str = "") -> io.NodeOutput:
        if reference is not None:
            width, height = reference.width, reference.height
        check_size(width, height)
        video = as_clip(driving)
        check_frame_count(len(video), len(identities.driving), rate=video.rate)
        check_shape("driving mask", identities.driving.size, "driving video", video.size)
        plate = Choice(COMPOSITE, plate_grow, plate_feather, given=read_plate_masks(plate_masks)).plate(
            video, identities, (height, width), halved_colours=False)
        assert plate is not None  # composite is one
        shown = read_frames(frames, len(video)) if frames.strip() else chosen_frames(len(video), _FRAMES)
        text = report(list(plate_checks.found(plate, COMPOSITE)))
        return io.NodeOutput(preview(plate, shown), text,
                             ui={**ui.PreviewImage(sheet(plate, shown)[None], cls=cls).as_dict(),
                                 **ui.PreviewText(text).as_dict()})
