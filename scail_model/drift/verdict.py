"""Whether one sees where segments meet, and how far colours have gone from the first segment to the last.

A seam is compared with what the video does anyway in the frames around it, because a step that movement makes all the
time is no seam. The limits are in Delta E, see `drift`: what an eye can just see in a direct comparison, and what it
notices. The factors keep what moves fast from being called a seam: at all 473 places of real clips and pans that have
no seam, the largest of the three measures was 1.4 times the usual one where it was 1 above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from .measure import Series, distance
from .plan import FIRST_FRAMES, Part, Plan

GOOD, VISIBLE, STRONG, UNSEEN = "good", "visible", "strong", "not judged"
LIMITS = {VISIBLE: 1.0, STRONG: 2.3}  # Delta E above the usual
TIMES = {VISIBLE: 1.5, STRONG: 2.5}  # the usual, which is reached besides
WINDOW = 4  # frames on either side; as many as a latent frame holds, over which a seam may be smeared
AROUND = 24  # frames on either side that say what is usual
USUAL = 0.9  # of them stay below what is called usual


@dataclass(frozen=True)
class Seam:
    """Where a part goes on from the one before.

    part, frame: the part that begins here, and its first frame. What cannot be measured is nan.
    step: Delta E between the frames before and after, over all tones and with the trend taken out. shift: the same of
    L, a and b, averaged over the tones. darks, lights: that of L in the darker and in the lighter half of the pixels,
    because a step of contrast has two signs. fade: Delta E by which the tones move within the first frames of the part,
    for a seam that is smeared. jump: Delta E of the pixels between the two frames. sharpness: change of the mean over
    the window, as a share; it is not judged.
    """

    part: int
    frame: int
    verdict: str
    step: float
    usual_step: float
    shift: tuple[float, float, float]
    darks: float
    lights: float
    fade: float
    usual_fade: float
    jump: float
    usual_jump: float
    sharpness: float


@dataclass(frozen=True)
class Change:
    """One quantity in a scene: mean in its first and last segment; slopes by least squares over the means of segments
    (nan for fewer than two) and over the frames."""

    first: float
    last: float
    per_segment: float
    per_100_frames: float


@dataclass(frozen=True)
class Drift:
    """scene: its parts. frames: the first and the one behind the last. changes: by quantity. from_first: distance of
    the last segment's colours to the first's."""

    scene: list[int]
    frames: tuple[int, int]
    changes: dict[str, Change]
    from_first: float


@dataclass(frozen=True)
class Result:
    """All that is known about one video. size: (height, width). rate: frames per second, or None. areas: the measured
    ones. judged: the one that seams and drift are told of. reference: (mean, spread) of the reference picture in the
    judged area, or None."""

    size: tuple[int, int]
    rate: Fraction | None
    plan: Plan
    areas: dict[str, Series]
    judged: str
    reference: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def series(self) -> Series:
        """Of the judged area."""
        return self.areas[self.judged]

    @cached_property
    def seams(self) -> list[Seam]:
        return seams(self.series, self.plan)

    @cached_property
    def drifts(self) -> list[Drift]:
        return drifts(self.series, self.plan)

    @cached_property
    def from_first(self) -> np.ndarray:
        """[T]."""
        return from_first(self.series, self.plan)

    @cached_property
    def from_reference(self) -> np.ndarray | None:
        """[T]."""
        return None if self.reference is None else distance(self.series.mean, self.series.spread, *self.reference)

    @property
    def ok(self) -> bool:
        """Whether no seam is seen."""
        return not {seam.verdict for seam in self.seams} & {VISIBLE, STRONG}


def quantities(series: Series) -> dict[str, np.ndarray]:
    """What is followed through a video, each [T]."""
    lightness, a, b = series.mean.T
    return {"L": lightness, "a": a, "b": b, "chroma": series.chroma, "contrast": series.contrast,
            "sharpness": series.sharpness}


def seams(series: Series, plan: Plan) -> list[Seam]:
    """All places where one segment goes on from another, judged."""
    return [_seam(series, plan, index) for index in plan.seams]


def drifts(series: Series, plan: Plan) -> list[Drift]:
    """Every scene, in order."""
    return [_drift(series, plan, scene) for scene in plan.scenes]


def from_first(series: Series, plan: Plan) -> np.ndarray:
    """Distance of each frame [T] to the first segment of its scene."""
    found = np.full(plan.frames, np.nan)
    for scene in plan.scenes:
        frames = slice(plan.parts[scene[0]].start, plan.parts[scene[-1]].stop)
        found[frames] = distance(series.mean[frames], series.spread[frames], *_look(series, plan.first(scene)))
    return found


def mean(values: np.ndarray) -> np.ndarray | float:
    """Over the frames, nan left out; nan if there is nothing else."""
    seen = values[~np.isnan(values).reshape(len(values), -1).any(1)]
    return seen.mean(0) if len(seen) else np.full(values.shape[1:], np.nan)[()]


def _seam(series: Series, plan: Plan, index: int) -> Seam:
    before, after = plan.parts[index - 1 : index + 1]
    start, stop = max(before.start, after.start - WINDOW), min(after.stop, after.start + WINDOW)
    near = _near(before, after, WINDOW)
    tones = _step(series.tones, start, after.start, stop)  # [8, 3]
    step, usual_step = _size(tones), _usual([
        _size(_step(series.tones, frame - WINDOW, frame, frame + WINDOW)) for frame in near])
    trend = _trend(series.tones[_near(before, after, 1)])
    fade, usual_fade = _fade(series.tones[after.start : stop], trend), _usual([
        _fade(series.tones[frame : frame + WINDOW], trend) for frame in near])
    jump, usual_jump = float(series.jump[after.start]), _usual(series.jump[_near(before, after, 1)])
    half = len(tones) // 2
    return Seam(index, after.start, _verdict((step, usual_step), (fade, usual_fade), (jump, usual_jump)),
                step, usual_step, tuple(tones.mean(0).tolist()), float(tones[:half, 0].mean()),
                float(tones[half:, 0].mean()), fade, usual_fade, jump, usual_jump,
                _growth(mean(series.sharpness[start : after.start]), mean(series.sharpness[after.start : stop])))


def _near(before: Part, after: Part, window: int) -> list[int]:
    """Frames near the seam that have `window` frames on either side in the same part."""
    return [frame for part in (before, after) for frame in range(part.start + window, part.stop - window + 1)
            if abs(frame - after.start) <= AROUND and frame < part.stop]


def _step(tones: np.ndarray, start: int, seam: int, stop: int) -> np.ndarray:
    """Step of each tone [8, 3] at the seam: of two parallel lines through the frames before and after it, by least
    squares, so that what changes evenly is no step."""
    course = np.concatenate((np.zeros_like(tones[:1]), tones[start + 1 : stop].cumsum(0)))  # [n, 8, 3]
    time = np.arange(start, stop)
    lines = np.stack((time < seam, time >= seam, time - seam + 0.5), 1).astype(float)
    if len(time) < 4:
        lines = lines[:, :2]  # no trend can be told from so few
    weights = np.linalg.pinv(lines)
    return np.tensordot(weights[1] - weights[0], course, 1)


def _trend(tones: np.ndarray) -> np.ndarray:
    """What is usual from one frame to the next, [n, 8, 3] -> [8, 3]; 0 if nothing can be said."""
    seen = tones[~np.isnan(tones).any((1, 2))]
    return np.median(seen, axis=0) if len(seen) else np.zeros(tones.shape[1:])


def _fade(tones: np.ndarray, trend: np.ndarray) -> float:
    """Delta E by which all tones move in some frames, [n, 8, 3], more than usual."""
    return _size((tones - trend).sum(0))


def _growth(old: float, new: float) -> float:
    return float(new / old - 1) if old else np.nan


def _size(tones: np.ndarray) -> float:
    """Delta E [8, 3] -> root mean square over the tones."""
    return float(np.sqrt((tones**2).sum(-1).mean()))


def _usual(values: Sequence[float]) -> float:
    """What nine tenths stay below; nan if nothing can be said."""
    seen = np.array([value for value in values if not np.isnan(value)])
    return float(np.quantile(seen, USUAL)) if len(seen) else np.nan


def _verdict(*found: tuple[float, float]) -> str:
    """Each is what was measured at the seam, and what is usual; the worst counts."""
    if any(np.isnan(value) for value, _ in found):
        return UNSEEN
    for verdict in (STRONG, VISIBLE):
        for value, usual in np.nan_to_num(found):
            if value - usual >= LIMITS[verdict] and value >= TIMES[verdict] * usual:
                return verdict
    return GOOD


def _drift(series: Series, plan: Plan, scene: list[int]) -> Drift:
    parts = [plan.parts[index] for index in scene]
    first, last = plan.first(scene), parts[-1]
    if not plan.known:  # as many frames from the end, if there are so many
        last = Part(max(first.stop, last.stop - FIRST_FRAMES), last.stop) if len(last) > len(first) else first
    changes = {name: _changes(values, parts, first, last) for name, values in quantities(series).items()}
    return Drift(scene, (parts[0].start, parts[-1].stop), changes,
                 float(distance(*_look(series, last), *_look(series, first))))


def _changes(values: np.ndarray, parts: list[Part], first: Part, last: Part) -> Change:
    means = np.array([mean(values[part.start : part.stop]) for part in parts])
    frames = np.arange(parts[0].start, parts[-1].stop)
    return Change(
        float(mean(values[first.start : first.stop])), float(mean(values[last.start : last.stop])),
        _slope(np.arange(len(parts)), means, np.array([len(part) for part in parts])),
        100 * _slope(frames, values[frames], np.ones(len(frames))))


def _slope(places: np.ndarray, values: np.ndarray, weights: np.ndarray) -> float:
    """By weighted least squares, nan left out; nan for fewer than two values."""
    seen = ~np.isnan(values)
    places, values, weights = places[seen], values[seen], weights[seen]
    if len(places) < 2:
        return np.nan
    away = places - np.average(places, weights=weights)
    return float((weights * away * values).sum() / (weights * away**2).sum())


def _look(series: Series, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread [3] each, of a usual frame."""
    return mean(series.mean[part.start : part.stop]), mean(series.spread[part.start : part.stop])
