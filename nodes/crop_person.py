"""Crop SCAIL-2 Person: a steady window around one person of a wide shot, so that they are made large."""

from __future__ import annotations

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from ..scail_model.comfy.clip_video import ClipVideo
from ..scail_model.comfy.faces import read_faces
from ..scail_model.comfy.mask_inputs import MASK_TYPES
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, CropType, IdentitiesType, PosesType, as_clip, option_inputs
from ..scail_model.drawing.previews import chosen_frames
from ..scail_model.drawing.window_preview import window_preview
from ..scail_model.geometry import check_picture_count, check_size
from ..scail_model.identity.identities import Identities
from ..scail_model.media.clips import Clip
from ..scail_model.plate.close_up import own_references, with_close_up
from ..scail_model.plate.person_crop import FACE, MARGIN, PARTS, PERSON, PersonCrop, crop_person
from ..scail_model.video.options import VideoOptions

_SHOWN = 4  # frames of the preview


class SCAIL2CropPerson(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2CropPerson",
            display_name="Crop SCAIL-2 Person",
            category=CATEGORY,
            description="Cuts a steady window around one person, or their face, out of the driving video and enlarges "
                        "it, so that a small person is made with all pixels of the model. Paste SCAIL-2 Person puts "
                        "the result back. Several people are made one by one.",
            search_aliases=["small person", "face detailer", "zoom", "face pass", "wide shot", "inpaint crop"],
            inputs=[
                io.MultiType.Input("driving", [io.Image, io.Video],
                                   tooltip="The driving video as it was filmed; for a pass over the face also a "
                                           "finished video. It is read a stretch at a time."),
                IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities, for this video."),
                io.Int.Input("person", default=1, min=1, max=6,
                             tooltip="Which person, by their number in Bind SCAIL-2 Identities."),
                io.Int.Input("width", default=512, min=32, max=8192, step=32,
                             tooltip="Width of what is made in pixels, a multiple of 32; as in Encode SCAIL-2 "
                                     "Reference."),
                io.Int.Input("height", default=896, min=32, max=8192, step=32,
                             tooltip="Height of what is made in pixels, a multiple of 32. The window has this shape."),
                io.Combo.Input("part", options=list(PARTS), default=PERSON,
                               tooltip=f"{'; '.join(f'{name}: {meaning}' for name, meaning in PARTS.items())}."),
                io.Float.Input("margin", default=MARGIN, min=0.0, max=2.0, step=0.01, optional=True,
                               tooltip="How much is seen around the person or head, as a share of the box on each "
                                       "side."),
                io.MultiType.Input("faces", [*MASK_TYPES[:-1], PosesType], optional=True,
                                   tooltip="For part face: masks of faces, or poses. Without them the head is "
                                           "estimated from the person's mask."),
                io.Image.Input("reference", optional=True,
                               tooltip="The reference pictures, to get them back for Encode SCAIL-2 Reference: those "
                                       "of this person, and for part face a close-up of the head after them."),
                *option_inputs("scene_cuts"),
            ],
            outputs=[
                io.Video.Output("driving", tooltip="What the window sees, at the width and height."),
                IdentitiesType.Output("identities", tooltip="This person alone, seen through the window. Use these "
                                                            "from here on."),
                CropType.Output("crop", tooltip="For Paste SCAIL-2 Person."),
                io.Image.Output("reference", tooltip="The reference pictures of this person."),
                io.Image.Output("preview", tooltip="A few frames with the window, and what is in it."),
                io.String.Output("report", tooltip="Size of the person before and after, and frames in which they are "
                                                   "missing or cut."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("cropping the person")
    def execute(cls, driving, identities: Identities, person: int, width: int, height: int, part: str,
                margin: float = MARGIN, faces=None, reference: torch.Tensor | None = None,
                scene_cuts: str = "") -> io.NodeOutput:
        check_size(width, height)
        clip, options = as_clip(driving, told_on=cls.hidden.unique_id), VideoOptions(scene_cuts=scene_cuts)
        options.check()
        heads = read_faces(faces, clip, identities, person) if part == FACE else None
        crop, seen, report, doubts = crop_person(
            clip, identities, person, (height, width), margin=margin, part=part, faces=heads, cuts=options.cuts(clip),
            tick=throw_exception_if_processing_interrupted)
        pictures = ExecutionBlocker("reference of Crop SCAIL-2 Person is not connected, so it has none to give back: "
                                    "connect the reference pictures there.")
        if reference is not None:
            check_picture_count(len(reference), len(seen.references))
            images, seen = own_references(list(reference), seen, identities)
            images, seen = with_close_up(images, seen) if part == FACE else (images, seen)
            pictures = torch.stack(images)
        preview, doubts = _preview(clip, crop), [*doubts, *_odd(clip)]
        report += [f"warning: {text}" for text in doubts]
        return io.NodeOutput(ClipVideo(crop.seen), seen, crop, pictures, preview, "\n".join(report),
                             ui=ui.PreviewImage(preview, cls=cls))


def _odd(clip: Clip) -> list[str]:
    """Said here, because Paste SCAIL-2 Person hears of it when everything has been made."""
    if not (clip.width % 2 or clip.height % 2):
        return []
    return [f"The driving video is {clip.width}x{clip.height}, but only codec lossless has odd sides: choose it in "
            "Paste SCAIL-2 Person, or crop the driving video by a pixel first."]


def _preview(clip: Clip, crop: PersonCrop) -> torch.Tensor:
    indices = chosen_frames(len(clip), _SHOWN)
    return window_preview(clip.at(indices), crop.seen.at(indices), crop.window.rectangles[indices], indices)
