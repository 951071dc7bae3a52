"""Every setting of a video, declared once: nodes and command line are made from `VideoOptions`.

The words for a choice come from the table of its kind (solvers, codecs, histories, colour matches, noises), so a new
row there appears on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, Protocol

from ..geometry import check_frame_count
from ..identity.identities import Identities
from ..identity.mask_set import MaskSet
from ..inputs.crops import BACKGROUNDS, BOXES, KEEP, MARGIN, STEADY_BOX, Crop
from ..inputs.reference import Pictures, Reference
from ..media import scene_cuts
from ..media.clips import Clip
from ..media.encoding import CODECS, Encoding, check_encoder
from ..media.retiming import retimed
from ..plate.choice import FEATHER, GROW, LOCK, MEASURED, OUTLINES, PLATES, Choice
from ..plate.choice import OFF as NO_PLATE
from ..plate.person_crop import PersonCrop
from ..preflight.job import Full
from ..segments import LENGTHS, SHORT_LAST, Segment, plan_scenes
from ..solvers import SOLVERS
from ..sparse.settings import KEYS, SparseSettings
from . import timing
from .colour_match import COLOUR_MATCHES, OFF
from .draft import draft_sigmas, draft_steps, drafted
from .noise import NOISES, ONE_GENERATOR
from .plan_parser import Changes, parse_cuts, parse_plan, with_remakes
from .task import FRAMES, HISTORIES, Settings, check_strength

AND_AFTER, ONLY = "and everything after", "only these"
REFUSE, TRIM = "refuse", "trim"
HIGHEST_SEED = 0xFFFFFFFFFFFFFFFF
_FIND = "find"
_SPARSE = SparseSettings()


@dataclass(frozen=True)
class Option:
    """How a setting is asked for. choices: allowed texts. low, high, step: of a number. flag: the official command
    line's name. basic: always shown, not an advanced setting. multiline: of a text. late: it came after the nodes'
    inputs that are objects, and stands after them. shown: of such a one, that it is no advanced setting."""

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    flag: str | None = None
    basic: bool = False
    multiline: bool = False
    late: bool = False
    shown: bool = False


class Timed(Protocol):
    """As much of a clip as a plan needs: its frames, and how many a second."""

    @property
    def rate(self) -> Fraction | None: ...

    def __len__(self) -> int: ...


def _option(default: Any, text: str, choices: Sequence[str] | Mapping[str, str] = (), **how: Any) -> Any:
    if isinstance(choices, Mapping):
        text = f"{text} {'; '.join(f'{name}: {meaning}' for name, meaning in choices.items())}."
    return field(default=default, metadata={"option": Option(text, tuple(choices), **how)})


def option(of: Field) -> Option:
    return of.metadata["option"]


def check_value(of: Field, value: Any, shown: str = "") -> None:
    """Raise ValueError for a value that a setting cannot have. shown: how it was given, after the value."""
    how = option(of)
    if isinstance(of.default, bool):
        right, meant = isinstance(value, bool), "true or false"
    elif how.choices:
        right, meant = value in how.choices, f"one of {', '.join(how.choices)}"
    elif isinstance(of.default, str):
        right, meant = isinstance(value, str), "a text"
    else:
        kind = int if isinstance(of.default, int) else (int, float)
        assert how.low is not None  # every number has a range
        assert how.high is not None
        right = isinstance(value, kind) and not isinstance(value, bool) and how.low <= value <= how.high  # NaN too
        meant = f"{'a whole number from ' * (kind is int)}{how.low} to {how.high}"
    if not right:
        value = f'"{value}"' if isinstance(value, str) else value
        raise ValueError(f"{of.name} is {value}{shown}, but it must be {meant}: correct it.")


def check_seed(seed: int) -> None:
    """Raise ValueError for a seed that a generator cannot have."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= HIGHEST_SEED:
        raise ValueError(f"seed is {seed}, but it must be a whole number of at most 64 bits, 0 to {HIGHEST_SEED}: "
                         "correct it.")


def check_range(start: float, end: float) -> None:
    """Raise ValueError for a part of the sampling that is none; start, end: driving_start and driving_end."""
    if not 0 <= start < end <= 1:
        raise ValueError(f"driving_start is {start:g} and driving_end {end:g}, but the driving video must be followed "
                         "from one part of the sampling to a later one, 0 to 1: raise driving_end, or lower "
                         "driving_start.")


def option_fields() -> tuple[Field, ...]:
    """All settings, in the order in which the nodes show them."""
    return fields(VideoOptions)


@dataclass(frozen=True)
class VideoOptions:
    """All but the seed of what decides how a video is sampled and written."""

    solver: str = _option("unipc", "The solver.", {name: solver.help for name, solver in SOLVERS.items()},
                          flag="sample_solver", basic=True)
    steps: int = _option(40, "Sampling steps. 40 is the official default; 8 (or 4 to 6) with a distilled LoRA.",
                         low=1, high=1000, flag="sample_steps", basic=True)
    shift: float = _option(3.0, "How far the steps lean towards high noise. 3 is the official default; 1 with the "
                                "official distilled-LoRA recipe.",
                           low=0.01, high=100.0, step=0.01, flag="sample_shift", basic=True)
    guidance: float = _option(5.0, "Classifier-free guidance. 5 is the official default; 1 with a distilled LoRA, "
                                   "which also halves the time.",
                              low=1.0, high=30.0, step=0.1, flag="sample_guide_scale", basic=True)
    segment_length: int = _option(81, "Frames per segment, 4n+1. The model was trained up to 81.",
                                  low=5, high=8193, step=4, flag="segment_len")
    overlap: int = _option(5, "Frames that a segment repeats of the one before, 4n+1. The model was trained with 5.",
                           low=1, high=81, step=4, flag="segment_overlap")
    driving_background: str = _option(KEEP, "What the model sees of the driving video; the rest is black.", BACKGROUNDS)
    fps: float = _option(16.0, "Frame rate of the result where the driving video has none, as images do.",
                         low=1.0, high=240.0, step=0.01)
    lengths: str = _option(SHORT_LAST, "What happens to frames that do not fill a segment. short last: the last "
                                       "segment is shorter. even: all are about equally long. full last: the last one "
                                       "is filled up with a still picture that is cut off again.", LENGTHS)
    scene_cuts: str = _option("", "Where the driving video cuts to another scene; each scene starts without history. "
                                  'Frames or times, as in "120, 0:12.5", or find (needs the package scenedetect).')
    history: str = _option(FRAMES, "What a segment takes over from the one before.", HISTORIES)
    history_strength: float = _option(1.0, "How firmly the history is held in the first step; it rises to 1 in the "
                                           "last. 1 is official.", low=0.0, high=1.0, step=0.05)
    colour_match: str = _option(OFF, "Corrects colour drift; in replacement only the people change.", COLOUR_MATCHES)
    noise: str = _option(ONE_GENERATOR, "The noise of each segment.", NOISES)
    plan: str = _option("", 'What is different in some segments, as JSON: [{"segments": "2-3", "prompt": "..."}, '
                            '{"time": "0:10-0:15", "seed": 7}]. See the help page.', multiline=True)
    remake: str = _option("", 'Segments to make again with remake_seed, counted from 1, as in "3, 5-6".')
    remake_scope: str = _option(AND_AFTER, f"{AND_AFTER}: later segments continue from the new ones. {ONLY}: later "
                                           "segments stay as they are, and both ends of the new ones are cross-faded.",
                                (AND_AFTER, ONLY))
    remake_seed: int = _option(1, "Seed of the first remade segment, + 1 for each further one. The same number finds "
                                  "the same result again.", low=0, high=HIGHEST_SEED)
    codec: str = _option(next(iter(CODECS)), "How the video is encoded.",
                         {name: codec.help for name, codec in CODECS.items()})
    quality: int = _option(14, "CRF: lower is better and larger; without effect on lossless.", low=0, high=51)
    jobs_limit: float = _option(100.0, "GiB that all job folders together may take; beyond it the oldest finished "
                                       "ones are removed.", low=1.0, high=100000.0, step=1.0)
    rate: float = _option(0.0, "Frames per second of the result, picked from the driving video and its masks by time "
                               "stamp; it stays as many seconds long. 0: every frame. The model was trained with 16.",
                          low=0.0, high=240.0, step=0.01)
    driving_start: float = _option(0.0, "From which part of the sampling on the driving video is followed, as core's "
                                        "pose_start: 0 is the first step.", low=0.0, high=1.0, step=0.01)
    driving_end: float = _option(1.0, "Up to which part of the sampling the driving video is followed, as core's "
                                      "pose_end: 1 is the last step.", low=0.0, high=1.0, step=0.01)
    length_mismatch: str = _option(REFUSE, "What to do if the masks have another number of frames than the driving "
                                           "video. trim: leave the frames at the end out that only one of them has.",
                                   (REFUSE, TRIM))
    driving_margin: float = _option(MARGIN, "How much wider and higher a box of driving_background is on each side, as "
                                            "a share of it.", low=0.0, high=1.0, step=0.01, late=True)
    draft: bool = _option(False, "A quick look first: half the size and at most 8 steps; frames, people, segments, "
                                 "plan, sound and seed as they will be. Without it the full video is made, and shown "
                                 "beside its draft.", late=True, shown=True)
    sparse_density: float = _option(_SPARSE.density, "For precision fast or attention sparse: which share of a layer's "
                                                     "attention is computed at first. Less is faster and less exact. "
                                                     f"0: {KEYS} keys for each query, however long the sequence.",
                                    low=0.0, high=1.0, step=0.01, late=True)
    sparse_error: float = _option(_SPARSE.error_limit, "For precision fast or attention sparse: the error of a layer, "
                                                       "measured while it samples, above which it computes more of its "
                                                       "attention. 0: no limit. The report says what the errors were.",
                                  low=0.0, high=1.0, step=0.01, late=True)
    plate: str = _option(NO_PLATE, "What is kept of the driving video in replacement.", PLATES, late=True, shown=True)
    plate_grow: int = _option(GROW, "For plate: how far beyond the people's outline the made picture reaches, in "
                                    "pixels of the size at which it is made.", low=0, high=256, late=True)
    plate_feather: int = _option(FEATHER, "For plate: over how many more of these pixels the made picture fades into "
                                          "what was filmed.", low=0, high=256, late=True)
    plate_person: str = _option(MEASURED, "For plate: what the people's outline is.", OUTLINES, late=True)
    negative_strength: float = _option(0.0, "How firmly attention steers away from the negative prompt, which has no "
                                            "other effect at guidance 1 (normalised attention guidance, nag_scale). 0: "
                                            "not at all. 11 is usual for Wan with a distilled LoRA, 9 beside guidance.",
                                       low=0.0, high=100.0, step=0.1, late=True)

    def result_rate(self, clip: Timed) -> Fraction:
        """Frames per second of the result; clip: as `timing.timed` gives it."""
        return clip.rate or self.stated_rate

    @property
    def stated_rate(self) -> Fraction:
        """Frames per second of a driving video that has no rate of its own."""
        return Fraction(self.fps).limit_denominator(1001)

    @property
    def picked_rate(self) -> Fraction | None:
        """Frames per second that were asked for; None for every frame."""
        return Fraction(self.rate).limit_denominator(100_000) if self.rate else None

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.codec, self.quality)

    @property
    def finds_cuts(self) -> bool:
        return self.scene_cuts.strip() == _FIND

    def found(self, cuts: tuple[int, ...]) -> tuple[int, ...] | None:
        """The cuts if they were looked for, None if they are as written."""
        return cuts if self.finds_cuts else None

    def settings(self, seed: int, cuts: tuple[int, ...] = (), sigmas: tuple[float, ...] = (), *,
                 sparse: bool = False) -> Settings:
        """sigmas: noise levels that take the place of steps and shift, if there are any. sparse: whether the host's
        attention is."""
        if self.draft and sigmas:
            sigmas = draft_sigmas(sigmas)
        steps = len(sigmas) - 1 if sigmas else draft_steps(self.steps) if self.draft else self.steps
        boxes = self.driving_background if self.driving_background in (BOXES, STEADY_BOX) else ""
        return Settings(self.solver, steps, self.shift, self.guidance, seed, self.segment_length, self.overlap,
                        self.driving_background != KEEP, self.lengths, cuts, self.history, self.colour_match,
                        self.noise, sigmas, self.driving_start, self.driving_end, boxes,
                        self.driving_margin if boxes else 0.0, self.sparse if sparse else None,
                        self.negative_strength, self.plate == LOCK)

    @property
    def sparse(self) -> SparseSettings:
        return SparseSettings(self.sparse_density, self.sparse_error)

    def plate_choice(self, given: MaskSet | None = None, crop: PersonCrop | None = None) -> Choice:
        """What is chosen of the plate. given: masks of the made people, if there are any."""
        return Choice(self.plate, self.plate_grow, self.plate_feather, self.plate_person, given, crop)

    def sized(self, reference: Reference | Pictures) -> Reference | Pictures:
        """A reference at the size of the result."""
        return drafted(reference) if self.draft else reference

    def full(self, reference: Reference | Pictures, sigmas: tuple[float, ...] = ()) -> Full | None:
        """What a draft with this reference, at its full size, and these noise levels has less of than the video."""
        if not self.draft:
            return None
        return Full(reference.width, reference.height, replace(self, draft=False).settings(0, (), sigmas).steps)

    @property
    def crop(self) -> Crop | None:
        """What the model sees of the driving frames, None for everything."""
        return self.settings(0).crop

    def timed(self, driving: Clip, identities: Identities) -> tuple[Clip, Identities]:
        """Driving video and masks as a run reads them (`timing.timed`)."""
        return timing.timed(driving, identities, self.picked_rate, assumed=self.stated_rate,
                            trim=self.length_mismatch == TRIM)

    def check_masks(self, driving: Clip, masks: int) -> None:
        """Raise ValueError if `timed` will not bring masks of this number and the driving video together."""
        clip = retimed(driving, self.picked_rate, assumed=self.stated_rate)
        if masks != clip.stored and self.length_mismatch != TRIM:
            check_frame_count(len(clip), masks, stored=clip.stored, trim=True, rate=self.result_rate(clip))

    def check_values(self) -> None:
        """Raise ValueError for a value that an option cannot have."""
        for each in option_fields():
            check_value(each, getattr(self, each.name))
        check_range(self.driving_start, self.driving_end)
        check_strength(self.negative_strength)

    def check(self) -> None:
        """Raise RuntimeError if a library or an encoder is missing that an option needs."""
        check_encoder(self.codec)
        if self.finds_cuts:
            scene_cuts.check_installed()

    def cuts(self, clip: Clip) -> tuple[int, ...]:
        """Frames at which scenes begin. Raises ValueError as `parse_cuts` does."""
        return tuple(scene_cuts.find_cuts(clip)) if self.finds_cuts else self.written_cuts(clip)

    def written_cuts(self, clip: Timed) -> tuple[int, ...]:
        """Cuts that need no search. Raises ValueError as `parse_cuts` does."""
        return tuple(parse_cuts(self.scene_cuts, self.result_rate(clip)))

    def segments(self, clip: Timed, cuts: tuple[int, ...]) -> list[Segment]:
        return plan_scenes(len(clip), cuts, self.segment_length, self.overlap, self.lengths)

    def changes(self, clip: Timed, segments: list[Segment]) -> list[Changes]:
        """What differs, by segment. Raises ValueError for a plan or remake that cannot be read."""
        return with_remakes(parse_plan(self.plan, segments, self.result_rate(clip)), self.remake, self.remake_seed,
                            self.remake_scope == ONLY)
