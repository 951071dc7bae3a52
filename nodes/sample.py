"""Sample SCAIL-2 Video: everything in one node, for driving videos of any length."""

import time
from fractions import Fraction

import comfy.utils
import latent_preview
from comfy_api.latest import InputImpl, Types, io
from server import PromptServer

from ..scail_model import comfy_preflight, comfy_video, findings
from ..scail_model.segments import plan_segments
from .types import CATEGORY, driving_frames, segment_inputs, solver_inputs


def setting_inputs() -> list[io.Input]:
    """All but the seed of what decides how a video is sampled."""
    return [
        *solver_inputs(),
        io.Float.Input("guidance", default=5.0, min=1.0, max=30.0, step=0.1,
                       tooltip="Classifier-free guidance. 5 is the official default; 1 with a distilled LoRA, "
                               "which also halves the time."),
        io.Int.Input("segment_length", default=81, min=5, max=8193, step=4, optional=True, advanced=True,
                     tooltip="Frames per segment, 4n+1. The model was trained up to 81."),
        io.Int.Input("overlap", default=5, min=1, max=81, step=4, optional=True, advanced=True,
                     tooltip="Frames that a segment takes over from the one before, 4n+1. Trained with 5."),
        io.Combo.Input("driving_background", options=["keep", "black"], default="keep", optional=True,
                       advanced=True,
                       tooltip="black hides everything but the masked people from the model."),
        io.Float.Input("fps", default=16.0, min=1.0, max=240.0, step=0.01, optional=True, advanced=True,
                       tooltip="Frame rate of the result if driving is an IMAGE; a VIDEO brings its own."),
    ]


class SCAIL2SampleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SCAIL2SampleVideo",
            display_name="Sample SCAIL-2 Video",
            category=CATEGORY,
            description="Makes the whole video: plans segments, samples and decodes one after the other, and gives "
                        "back exactly as many frames as the driving video has, at its frame rate and with its sound.",
            search_aliases=["long video", "extend", "scail sampler", "loop"],
            inputs=[
                io.Model.Input("model", tooltip="The SCAIL-2 transformer, with LoRAs and patches as you like."),
                *segment_inputs(),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True,
                             tooltip="One seed for the whole video; each segment draws on from the one before."),
                *setting_inputs(),
            ],
            outputs=[
                io.Video.Output(tooltip="The finished video."),
                io.String.Output("report", tooltip="Warnings, then size, number of segments and seconds."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, positive, negative, vae, reference, driving, identities, seed: int, solver: str,
                steps: int, shift: float, guidance: float, segment_length: int = 81, overlap: int = 5,
                driving_background: str = "keep", fps: float = 16.0) -> io.NodeOutput:
        frames, frame_rate, audio = driving_frames(driving)
        frame_rate = frame_rate or Fraction(fps)
        settings = comfy_video.Settings(solver, steps, shift, guidance, seed, segment_length, overlap,
                                        driving_background == "black")
        found = comfy_preflight.check(model, positive, negative, vae, reference, frames, identities, settings,
                                      float(frame_rate), timed=False)
        findings.refuse(found)
        plan = plan_segments(len(frames), segment_length, overlap)
        watch = _Progress(model, len(plan), steps, cls.hidden.unique_id)
        images = comfy_video.sample_video(model, positive, negative, vae, reference, frames, identities, settings,
                                          watch.update)
        video = InputImpl.VideoFromComponents(
            Types.VideoComponents(images=images, audio=audio, frame_rate=frame_rate))
        doubts = [f"warning: {finding.text}" for finding in findings.of_level(found, findings.WARNING)]
        result = (f"{len(images)} frames of {reference.width}x{reference.height} in {len(plan)} segment(s), "
                  f"{time.monotonic() - watch.started:.1f} s")
        return io.NodeOutput(video, "\n".join((*doubts, result)))


class _Progress:
    """The node's progress bar and preview over all segments, and one line of text with the time left."""

    def __init__(self, model, segments: int, steps: int, node_id: str) -> None:
        self.steps, self.total, self.node_id = steps, segments * steps, node_id
        self.bar = comfy.utils.ProgressBar(self.total)
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self.started = time.monotonic()

    def update(self, segment: int, segments: int, step: int, denoised) -> None:
        done = segment * self.steps + step + 1
        left = (time.monotonic() - self.started) / done * (self.total - done)
        preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised) if self.previewer else None
        self.bar.update_absolute(done, self.total, preview)
        PromptServer.instance.send_progress_text(
            f"segment {segment + 1} of {segments}, step {step + 1} of {self.steps}, about {_duration(left)} left",
            self.node_id)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
