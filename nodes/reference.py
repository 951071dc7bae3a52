"""Encode SCAIL-2 Reference: pictures of the characters -> latents, mask channels and CLIP features."""

from functools import partial

from comfy_api.latest import io

from ..scail_model.comfy import conditioning
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, IdentitiesType, ReferenceType
from ..scail_model.inputs.reference import ADDITIONAL_PICTURES, EACH_ALONE, STILL_VIDEO, Pictures, encode_reference


class SCAIL2EncodeReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2EncodeReference",
            display_name="Encode SCAIL-2 Reference",
            category=CATEGORY,
            description="Encodes the reference picture, and additional views if there are any, at the size of the "
                        "result. Pictures are scaled to cover the size and cropped at the centre.",
            search_aliases=["reference image", "character", "multi reference"],
            inputs=[
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                io.ClipVision.Input("clip_vision", tooltip="clip_vision_h, the CLIP of Wan 2.1 image-to-video."),
                io.Image.Input("image", tooltip="The primary reference first; then additional views of the characters "
                                                "or of the place, each with a mask of its own."),
                IdentitiesType.Input("identities", tooltip="From Bind SCAIL-2 Identities."),
                io.Int.Input("width", default=896, min=32, max=8192, step=32,
                             tooltip="Width of the result in pixels, a multiple of 32."),
                io.Int.Input("height", default=512, min=32, max=8192, step=32,
                             tooltip="Height of the result in pixels, a multiple of 32."),
                io.Combo.Input("replacement_background", options=["cut out", "keep"], default="cut out",
                               optional=True, advanced=True,
                               tooltip="Replacement only. cut out: paint the surroundings of the reference black "
                                       "before encoding, as the authors advise. keep: keep them, as the official "
                                       "script does."),
                io.Combo.Input("additional_pictures", options=list(ADDITIONAL_PICTURES), default=EACH_ALONE,
                               optional=True, advanced=True,
                               tooltip="How additional pictures are encoded. each alone: as the official code does. "
                                       "still video: together with the primary as a still video, as other "
                                       "implementations do to prevent distortion of the result."),
            ],
            outputs=[ReferenceType.Output("reference", tooltip="The encoded references and the size of the result.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("encoding the references")
    def execute(cls, vae, clip_vision, image, identities, width: int, height: int,
                replacement_background: str = "cut out", additional_pictures: str = EACH_ALONE) -> io.NodeOutput:
        conditioning.check_vae(vae)
        pictures = Pictures(width, height, image, identities,
                            cut_out=identities.replacement and replacement_background == "cut out",
                            as_video=additional_pictures == STILL_VIDEO)
        return io.NodeOutput(encode_reference(pictures, vae.encode, partial(conditioning.encode_clip, clip_vision)))
