"""The settings of a whole video: inputs that Sample SCAIL-2 Video and Check SCAIL-2 Inputs share, and their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..media import scene_cuts as cut_finder
from ..media.clips import Clip
from ..media.encoding import CODECS, Encoding, check_encoder
from ..segments import LENGTHS, SHORT_LAST, Segment, plan_scenes
from ..video.noise import NOISES
from ..video.plan_parser import Changes, parse_cuts, parse_plan, with_remakes
from .schema import ReferenceType, solver_inputs
from .work import COLOURS, HISTORIES, OFF, Settings

_FIND = "find"
AND_AFTER, ONLY = "and everything after", "only these"
_MOST_REFERENCES = 6


@dataclass(frozen=True)
class VideoOptions:
    """Widget values of `setting_inputs`, with the defaults of those that a program may leave out."""

    solver: str
    steps: int
    shift: float
    guidance: float
    segment_length: int = 81
    overlap: int = 5
    driving_background: str = "keep"
    fps: float = 16.0
    lengths: str = SHORT_LAST
    scene_cuts: str = ""
    history: str = HISTORIES[0]
    history_strength: float = 1.0
    colour_match: str = OFF
    noise: str = NOISES[0]
    plan: str = ""
    remake: str = ""
    remake_scope: str = AND_AFTER
    remake_seed: int = 1
    codec: str = next(iter(CODECS))
    quality: int = 14
    jobs_limit: float = 100.0

    def rate(self, clip: Clip) -> Fraction:
        """Frames per second of the result."""
        return clip.rate or Fraction(self.fps).limit_denominator(1001)

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.codec, self.quality)

    @property
    def finds_cuts(self) -> bool:
        return self.scene_cuts.strip() == _FIND

    def found(self, cuts: tuple[int, ...]) -> tuple[int, ...] | None:
        """The cuts if they were looked for, None if they are as written."""
        return cuts if self.finds_cuts else None

    def settings(self, seed: int, cuts: tuple[int, ...] = ()) -> Settings:
        return Settings(self.solver, self.steps, self.shift, self.guidance, seed, self.segment_length, self.overlap,
                        self.driving_background == "black", self.lengths, cuts, self.history, self.colour_match,
                        self.noise)

    def check(self) -> None:
        """Raise RuntimeError if a library or an encoder is missing that an option needs."""
        check_encoder(self.codec)
        if self.finds_cuts:
            cut_finder.check_installed()

    def cuts(self, clip: Clip) -> tuple[int, ...]:
        """Frames at which scenes begin. Raises ValueError as `parse_cuts` does."""
        if self.finds_cuts:
            return tuple(cut_finder.find_cuts(clip))
        return tuple(parse_cuts(self.scene_cuts, self.rate(clip)))

    def segments(self, clip: Clip, cuts: tuple[int, ...]) -> list[Segment]:
        return plan_scenes(len(clip), cuts, self.segment_length, self.overlap, self.lengths)

    def changes(self, clip: Clip, segments: list[Segment]) -> list[Changes]:
        """What differs, by segment. Raises ValueError for a plan or remake that cannot be read."""
        return with_remakes(parse_plan(self.plan, segments, self.rate(clip)), self.remake, self.remake_seed,
                            self.remake_scope == ONLY)


def jobs_folder() -> Path:
    return Path(folder_paths.get_output_directory(), "scail2_jobs")


def setting_inputs() -> list[io.Input]:
    """All but the seed of what decides how a video is sampled."""
    return [*solver_inputs(), *_length_inputs(), *_drift_inputs(), *_plan_inputs(), *_file_inputs(), *_object_inputs()]


def _length_inputs() -> list[io.Input]:
    return [
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
        io.Combo.Input("lengths", options=list(LENGTHS), default=SHORT_LAST, optional=True, advanced=True,
                       tooltip="The frames that fill no whole segment. short last: the last segment is shorter. even: "
                               "all are about equally long. full last: the last one is filled up with a still picture "
                               "that is cut off again."),
        io.String.Input("scene_cuts", default="", optional=True, advanced=True,
                        tooltip="Where the driving video cuts to another scene; each scene starts without history. "
                                'Frames or times, as in "120, 0:12.5", or find (needs the package scenedetect).'),
    ]


def _drift_inputs() -> list[io.Input]:
    return [
        io.Combo.Input("history", options=list(HISTORIES), default=HISTORIES[0], optional=True, advanced=True,
                       tooltip="What a segment takes over. frames: the decoded last frames, encoded again (official). "
                               "latents: the last latents as they were sampled."),
        io.Float.Input("history_strength", default=1.0, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                       tooltip="How firmly the history is held in the first step; it rises to 1 in the last. 1 is "
                               "official."),
        io.Combo.Input("colour_match", options=list(COLOURS), default=OFF, optional=True, advanced=True,
                       tooltip="Draws a segment's colours back. overlap: by what the frames it repeats have shifted. "
                               "first segment: to the colours of the scene's first segment. In replacement only the "
                               "people change."),
        io.Combo.Input("noise", options=list(NOISES), default=NOISES[0], optional=True, advanced=True,
                       tooltip="one generator draws the noise of all segments (official). seed per segment: seed, "
                               "seed + 1 and so on. same noise: the seed's noise in every segment."),
    ]


def _plan_inputs() -> list[io.Input]:
    return [
        io.String.Input("plan", default="", multiline=True, optional=True, advanced=True,
                        tooltip='What is different in some segments, as JSON: [{"segments": "2-3", "prompt": "..."}, '
                                '{"time": "0:10-0:15", "seed": 7}]. See the help page.'),
        io.String.Input("remake", default="", optional=True, advanced=True,
                        tooltip='Segments to make again with remake_seed, counted from 1, as in "3, 5-6".'),
        io.Combo.Input("remake_scope", options=[AND_AFTER, ONLY], default=AND_AFTER, optional=True, advanced=True,
                       tooltip="and everything after: the segments behind go on from the new ones. only these: all "
                               "others stay, and both ends of the new ones are blended in."),
        io.Int.Input("remake_seed", default=1, min=0, max=0xFFFFFFFFFFFFFFFF, optional=True, advanced=True,
                     tooltip="Seed of the first remade segment, + 1 for each further one. The same number finds the "
                             "same result again."),
    ]


def _file_inputs() -> list[io.Input]:
    return [
        io.Combo.Input("codec", options=list(CODECS), default=next(iter(CODECS)), optional=True, advanced=True,
                       tooltip="h264 plays everywhere. h265 10-bit has finer steps of colour. lossless keeps 12 bits "
                               "of every colour, for further work."),
        io.Int.Input("quality", default=14, min=0, max=51, optional=True, advanced=True,
                     tooltip="CRF: lower is better and larger; without effect on lossless."),
        io.Float.Input("jobs_limit", default=100.0, min=1.0, max=100000.0, step=1.0, optional=True, advanced=True,
                       tooltip="GiB that all jobs in output/scail2_jobs may take together; beyond it the oldest "
                               "finished ones are removed."),
    ]


def _object_inputs() -> list[io.Input]:
    names = [f"reference_{number}" for number in range(2, _MOST_REFERENCES + 1)]
    tooltip = "Further references from Encode SCAIL-2 Reference, which the plan can choose for a segment by number."
    template = io.Autogrow.TemplateNames(ReferenceType.Input("reference", tooltip=tooltip), names=names, min=0)
    return [
        io.Clip.Input("clip", optional=True, tooltip="The text encoder, if the plan has prompts."),
        io.Autogrow.Input("more_references", template=template, optional=True, tooltip=tooltip),
    ]

