"""The plan of a video as the page draws it on its nodes: segments, memory, time, and what is wrong with the settings.

Everything comes from the functions that a run uses, so the page says what the run will say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any

from ..geometry import check_size, nearest_sides
from ..plate.choice import OFF as NO_PLATE
from ..segments import Segment, check_length, check_overlap, nearest_lengths, nearest_overlaps, segment_at
from ..video.at_once import in_words, lanes_of
from ..video.draft import draft_size, draft_steps
from ..video.options import VideoOptions
from ..video.plan_parser import Changes
from .plan_costs import LATER, Estimate, costs
from .plan_pieces import Piece, frames_text, piece, pieces, rest, segments_text

_STATED_RATE = VideoOptions().fps
_DECISIVE = ("segment_length", "overlap", "lengths", "scene_cuts")  # a plan needs all of these


@dataclass(frozen=True)
class Question:
    """What the page knows of a node.

    node: its id in the schema. values: of its widgets; those that only a run computes are left out. size: "width" and
    "height" as they stand on Encode SCAIL-2 Reference. continued: whether frames of an earlier segment are connected.
    video, machine: what runs have told (`plan_facts`) of the driving video, None before the first, and of the rest.
    """

    node: str
    values: Mapping[str, Any]
    size: Mapping[str, int]
    continued: bool
    video: Mapping[str, Any] | None
    machine: Mapping[str, Any]

    @property
    def picked(self) -> float:
        """The setting rate; 0 for every frame."""
        return self.values.get("rate", (self.video or {}).get("rate", 0.0))

    @property
    def as_run(self) -> bool:
        """Whether the driving video is read at the rate of the last run."""
        return self.picked == (self.video or {}).get("rate", 0.0)

    @property
    def rate(self) -> Fraction | None:
        """Frames per second that the driving video has of its own, or that are picked from it."""
        if self.picked:
            return Fraction(self.picked).limit_denominator(100_000)
        fps = (self.video["fps"] if self.as_run else self.video["every"]["fps"]) if self.video else None
        return Fraction(fps) if fps else None

    @property
    def frames(self) -> int:
        """Of the driving video as it will be read; 0 before the first run."""
        if self.video is None or self.as_run:
            return self.video["frames"] if self.video else 0
        every = self.video["every"]
        if not self.rate:
            return every["frames"]
        seconds = every["seconds"] or every["frames"] / self.values.get("fps", _STATED_RATE)
        return max(1, round(seconds * self.rate)) if self.picked else every["frames"]

    @property
    def result(self) -> tuple[int, int] | None:
        """(width, height) of the result in pixels, if they are known."""
        width, height = (self.size.get(side) or (self.video or {}).get(side) for side in ("width", "height"))
        size = (width, height) if width and height else None
        return draft_size(*size) if size and self.values.get("draft") else size


@dataclass(frozen=True)
class KnownVideo:
    """As much of a `Clip` as a plan needs: its number of frames, and its frames per second."""

    frames: int
    rate: Fraction | None

    def __len__(self) -> int:
        return self.frames


@dataclass(frozen=True)
class Problem:
    """text: what a run would say. input: the widget that it is about. choices: values that are right. at: the input
    before which the widget's node is, None for the node itself."""

    text: str
    input: str
    choices: tuple[int, ...] = ()
    at: str | None = None


@dataclass(frozen=True)
class View:
    """What is drawn. estimate: the costs that are in `lines`, None where the size is not known."""

    problems: Sequence[Problem]
    lines: Sequence[str] = ()
    pieces: Sequence[Piece] = ()
    estimate: Estimate | None = None


def plan_view(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `Question`, both as JSON has them."""
    question = Question(**asked)
    views: dict[str, Callable[[Question], View]] = {
        "SCAIL2EncodeReference": _size, "SCAIL2MotionTransfer": _one_segment}
    return asdict(views.get(question.node, _whole_video)(question))


def _size(question: Question) -> View:
    problems = _size_problems(question.size)
    return View(problems, [] if problems else ["Width and height are multiples of 32."])


def _whole_video(question: Question) -> View:
    values = question.values
    decisive = _DECISIVE if question.rate else (*_DECISIVE, "fps")
    if missing := [name for name in decisive if name not in values]:
        return _computed(missing)
    problems = [*_size_problems(question.size, "reference"), *_length_problems(values, "segment_length")]
    if problems:
        return View(problems)
    options = VideoOptions(**{"solver": "", "steps": 0, "shift": 0.0, "guidance": 1.0} | {
        field.name: values[field.name] for field in fields(VideoOptions) if field.name in values})
    video, found_cuts = KnownVideo(question.frames, question.rate), None
    if question.video and question.as_run:
        found_cuts = question.video["found_cuts"]
    try:
        cuts = tuple(found_cuts or ()) if options.finds_cuts else options.written_cuts(video)
        segments = options.segments(video, cuts) if question.video else []
    except ValueError as error:
        return View([Problem(str(error), "scene_cuts")])
    if not segments:
        estimate, cost = _costs(question, [options.segment_length])
        lines = [f"{_size_text(question)}segments of {options.segment_length}, overlap {options.overlap}. Frames: "
                 f"{LATER}.", cost]
        return View([], lines, estimate=estimate)
    problems, changed, remade = _named(options, video, segments)
    lanes = lanes_of(segments, question.machine.get("lanes") or 0)
    lengths = [segment.length for segment in segments]
    estimate, cost = _costs(question, lengths, [[lengths[index] for index in order] for order in lanes.values()])
    unsure = f" Scene cuts: {LATER}." if options.finds_cuts and found_cuts is None else ""
    rate = options.result_rate(video)
    lines = [f"{_size_text(question)}{frames_text(len(video), rate)}: {segments_text(segments)}.{unsure}", cost]
    if lanes:
        lines.insert(1, f"Scenes at the same time: {in_words(lanes)}.")
    return View(problems, lines, pieces(segments, rate, changed, remade, lanes), estimate)


def _one_segment(question: Question) -> View:
    values, video = question.values, question.video
    decisive = ("start_frame", "length", *(("overlap",) if question.continued else ()))
    if missing := [name for name in decisive if name not in values]:
        return _computed(missing)
    problems = [*_size_problems(question.size, "reference"),
                *_length_problems(values, "length", overlapping=question.continued)]
    if problems:
        return View(problems)
    start, length, overlap = values["start_frame"], values["length"], values["overlap"] if question.continued else 0
    total = question.frames if video else start - overlap + length
    try:
        segment = segment_at(total, start, length, overlap)
    except ValueError as error:
        return View([Problem(str(error), "start_frame")])
    estimate, cost = _costs(question, [segment.length])
    taken = f"{overlap} taken over, " if overlap else ""
    text = f"new frames {start} to {segment.stop - 1}, {taken}{segment.length} in all"
    if video is None:
        return View([], [f"{_size_text(question)}{text}; the video's end: {LATER}.", cost], estimate=estimate)
    rate = question.rate
    shown = [*rest(0, segment.start, rate), replace(piece([segment], 0, rate), name=""),
              *rest(segment.stop, total, rate)]
    return View([], [f"{_size_text(question)}{frames_text(total, rate)}: {text}.", cost], shown, estimate)


def _computed(missing: Sequence[str]) -> View:
    return View([], [f"{missing[0]} is computed in the run, so the plan is not known before."])


# What is wrong

def _size_problems(size: Mapping[str, int], at: str | None = None) -> list[Problem]:
    right = 32
    given = {"width": (size.get("width", right), right), "height": (right, size.get("height", right))}
    return [Problem(text, side, nearest_sides(size[side]), at)
            for side, sizes in given.items() if (text := _refusal(check_size, *sizes))]


def _length_problems(values: Mapping[str, Any], name: str, *, overlapping: bool = True) -> list[Problem]:
    length = values[name]
    if text := _refusal(check_length, length, name):
        return [Problem(text, name, nearest_lengths(length))]
    if overlapping and (text := _refusal(check_overlap, values["overlap"], length)):
        return [Problem(text, "overlap", nearest_overlaps(values["overlap"], length))]
    return []


def _refusal(check: Callable[..., None], *given: Any) -> str | None:
    try:
        check(*given)
    except ValueError as error:
        return str(error)
    return None


def _named(options: VideoOptions, video: KnownVideo, segments: list[Segment]
           ) -> tuple[list[Problem], list[bool], list[bool]]:
    """What is wrong with `plan` and `remake`; and by segment whether each of them names it."""
    problems, named = [], []
    for name, other in (("plan", "remake"), ("remake", "plan")):
        try:
            changes = replace(options, **{other: ""}).changes(video, segments)
        except ValueError as error:
            problems.append(Problem(str(error), name))
            changes = [Changes()] * len(segments)
        named.append([change != Changes() for change in changes])
    return problems, *named


# In words

def _costs(question: Question, lengths: Sequence[int], lanes: Sequence[Sequence[int]] = ()
           ) -> tuple[Estimate | None, str]:
    if question.result is None:
        return None, f"Memory: {LATER}."
    values, additional = question.values, (question.video or {}).get("additional", 0)
    steps = draft_steps(values["steps"]) if values.get("steps") and values.get("draft") else values.get("steps")
    return costs(*question.result, additional, lengths, steps, values.get("guidance"), question.machine, lanes)


def _size_text(question: Question) -> str:
    sizes = ["{}×{}".format(*question.result)] if question.result else []
    if question.values.get("plate", NO_PLATE) != NO_PLATE:
        filmed = (question.video or {}).get("filmed")
        sizes.append("put into {}".format("{}×{}".format(*filmed) if filmed else "the driving video"))
    return "draft, " * bool(question.values.get("draft")) + (" ".join(sizes) + ", " if sizes else "")
