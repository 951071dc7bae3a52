"""Build SCAIL-2 Motion Latent: one segment of the driving video -> conditioning and latent for any sampler."""

from comfy_api.latest import io

from ..scail_model import segments
from ..scail_model.comfy import conditioning
from ..scail_model.comfy.mask_inputs import plate_masks_input, read_plate_masks
from ..scail_model.comfy.plan_facts import plan_facts
from ..scail_model.comfy.progress import working
from ..scail_model.comfy.schema import CATEGORY, as_clip, option_inputs, segment_inputs
from ..scail_model.plate.choice import LOCK, OFF
from ..scail_model.video.options import TRIM, VideoOptions
from ..scail_model.video.timing import timed


class SCAIL2MotionTransfer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2MotionTransfer",
            display_name="Build SCAIL-2 Motion Latent",
            category=CATEGORY,
            description="Prepares one segment: encodes the driving frames and masks, and continues the previous "
                        "segment if its frames are connected. For KSampler, SamplerCustom and the like.",
            search_aliases=["WanSCAILToVideo", "scail to video", "motion transfer", "extend"],
            inputs=[
                *segment_inputs(),
                io.Int.Input("start_frame", default=0, min=0, max=1_000_000,
                             tooltip="Driving frame at which the new frames begin: 0, then the number of frames made "
                                     "so far."),
                io.Int.Input("length", default=81, min=1, max=8193, step=4,
                             tooltip="Frames of this segment, 4n+1, including the previous frames; the model was "
                                     "trained with at most 81."),
                io.Image.Input("previous_frames", optional=True,
                               tooltip="Decoded frames of the previous segment; its last ones begin this segment."),
                io.Int.Input("overlap", default=5, min=1, max=81, step=4, optional=True, advanced=True,
                             tooltip="Number of previous frames to continue from, 4n+1; the model was trained with 5."),
                *option_inputs("driving_background"),
                *option_inputs("rate", "driving_start", "driving_end", "length_mismatch", "driving_margin",
                               "negative_strength"),
                io.Combo.Input("plate", options=[OFF, LOCK], default=OFF, optional=True,
                               tooltip="What is kept of the driving video in replacement. lock: outside of the people "
                                       "every sampler is held to what was filmed, so that what is made fits what "
                                       "stays."),
                *option_inputs("plate_grow", "plate_feather", "plate_person"),
                plate_masks_input(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the inputs of this segment."),
                io.Conditioning.Output(display_name="negative",
                                       tooltip="The negative prompt with the inputs of this segment."),
                io.Latent.Output(display_name="latent", tooltip="Empty latent, with the previous frames in place."),
                io.Int.Output("frames", tooltip="Number of real frames: where the driving video ends, the segment is "
                                                "padded by repeating the last driving frame."),
            ],
            has_intermediate_output=True,  # sent again to a page that is reopened
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @working("encoding the driving video")
    def execute(cls, positive, negative, vae, reference, driving, identities, start_frame: int, length: int,
                previous_frames=None, overlap: int = 5, plate_masks=None, **settings) -> io.NodeOutput:
        options = VideoOptions(**settings)
        options.check_values()
        segments.check_length(length, "length")
        conditioning.check_prompt(positive, "positive")
        conditioning.check_prompt(negative, "negative")
        conditioning.check_steering(negative, options.negative_strength)
        clip, identities = timed(as_clip(driving), identities, options.picked_rate,
                                 trim=options.length_mismatch == TRIM)
        history = None
        if previous_frames is not None:
            segments.check_overlap(overlap, length)
            history = conditioning.history_frames(previous_frames, overlap, reference)
        plate = options.plate_choice(read_plate_masks(plate_masks)).plate(
            clip, identities, (reference.height, reference.width), halved_colours=False)
        conditioning.check_vae(vae)
        segment = conditioning.single_segment(clip, identities, start_frame, length,
                                              0 if history is None else overlap)
        motion = conditioning.encode_motion(
            vae, reference, clip, identities, segment, history=None if history is None else vae.encode(history),
            crop=options.crop, plate=plate)
        positive = conditioning.steered(positive, negative, options.negative_strength)
        prompts = (conditioning.with_motion(prompt, motion.values, options.driving_start, options.driving_end)
                   for prompt in (positive, negative))
        return io.NodeOutput(*prompts, motion.latent, motion.frames, ui=plan_facts(clip, reference, options.rate))
