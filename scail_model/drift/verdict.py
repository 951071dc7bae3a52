"""Verdicts: whether seams between segments are visible, and how far colours drift from the first segment to the last.

A seam is compared with the usual changes in the frames around it, because a step that movement causes all the time is
not a seam. Limits are in Delta E (see `measure`): just visible in a direct comparison, and noticeable. The factors keep
fast movement from being reported as a seam: at 473 places without a seam, in real clips and pans, no measure that was 1
above the usual value was more than 1.4 times that value.
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
LIMITS = {VISIBLE: 1.0, STRONG: 2.3}  # Delta E above the usual value
TIMES = {VISIBLE: 1.5, STRONG: 2.5}  # and this many times the usual value
WINDOW = 4  # frames on either side; a seam may be smeared over a latent frame, which holds 4
AROUND = 24  # frames on either side that determine the usual value
USUAL = 0.9  # quantile of their changes


@dataclass(frozen=True)
class Seam:
    """The seam between a part and the previous one. Values that cannot be measured are nan.

    part, frame: the part that starts here, and its first frame. step: Delta E between the frames before and after, over
    all tones, without the trend. shift: the same for L, a and b, averaged over the tones. darks, lights: the shift of L
    in the darker and in the lighter half of the pixels (a step of contrast has two signs). fade: Delta E by which the
    tones move within the first frames of the part, for a smeared seam. jump: Delta E of the pixels between the two
    frames. sharpness: relative change of the mean over the window; not judged. usual_*: the usual value of a measure.
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
    """Change of one quantity in a scene: means of its first and last segment; least-squares slopes over the means of
    the segments (nan for fewer than two) and over the frames."""

    first: float
    last: float
    per_segment: float
    per_100_frames: float


@dataclass(frozen=True)
class Drift:
    """Drift within one scene. scene: its parts. frames: start and stop, stop exclusive. changes: by quantity.
    from_first: distance between the colours of the last and the first segment."""

    scene: list[int]
    frames: tuple[int, int]
    changes: dict[str, Change]
    from_first: float


@dataclass(frozen=True)
class Result:
    """Measurements and verdicts of one video. size: (height, width). rate: frames per second, or None. areas: series of
    each area. judged: the area whose seams and drift are reported. reference: (mean, spread) of the reference picture
    in that area, or None."""

    size: tuple[int, int]
    rate: Fraction | None
    plan: Plan
    areas: dict[str, Series]
    judged: str
    reference: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def series(self) -> Series:
        """The series of the judged area."""
        return self.areas[self.judged]

    @cached_property
    def seams(self) -> list[Seam]:
        return seams(self.series, self.plan)

    @cached_property
    def drifts(self) -> list[Drift]:
        return drifts(self.series, self.plan)

    @cached_property
    def from_first(self) -> np.ndarray:
        """Distance of each frame [T] to the first segment of its scene."""
        return from_first(self.series, self.plan)

    @cached_property
    def from_reference(self) -> np.ndarray | None:
        """Distance of each frame [T] to the reference picture."""
        return None if self.reference is None else distance(self.series.mean, self.series.spread, *self.reference)

    @property
    def ok(self) -> bool:
        """Whether no seam is visible."""
        return not {seam.verdict for seam in self.seams} & {VISIBLE, STRONG}


def quantities(series: Series) -> dict[str, np.ndarray]:
    """The quantities whose drift is reported, [T] each."""
    lightness, a, b = series.mean.T
    return {"L": lightness, "a": a, "b": b, "chroma": series.chroma, "contrast": series.contrast,
            "sharpness": series.sharpness}


def seams(series: Series, plan: Plan) -> list[Seam]:
    """Judge every seam."""
    return [_seam(series, plan, index) for index in plan.seams]


def drifts(series: Series, plan: Plan) -> list[Drift]:
    """The drift of every scene, in order."""
    return [_drift(series, plan, scene) for scene in plan.scenes]


def from_first(series: Series, plan: Plan) -> np.ndarray:
    """Distance of each frame [T] to the first segment of its scene."""
    distances = np.full(plan.frames, np.nan)
    for scene in plan.scenes:
        frames = slice(plan.parts[scene[0]].start, plan.parts[scene[-1]].stop)
        distances[frames] = distance(series.mean[frames], series.spread[frames], *_look(series, plan.first(scene)))
    return distances


def mean(values: np.ndarray) -> float:
    """Mean of [T], ignoring nan; nan if all are."""
    seen = values[~np.isnan(values)]
    return float(seen.mean()) if len(seen) else np.nan


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
    jump, usual_jump = float(series.jump[after.start]), _usual(series.jump[_near(before, after, 1)].tolist())
    lightness, a, b = tones.mean(0).tolist()
    half = len(tones) // 2
    return Seam(index, after.start, _verdict((step, usual_step), (fade, usual_fade), (jump, usual_jump)),
                step, usual_step, (lightness, a, b), float(tones[:half, 0].mean()),
                float(tones[half:, 0].mean()), fade, usual_fade, jump, usual_jump,
                _growth(mean(series.sharpness[start : after.start]), mean(series.sharpness[after.start : stop])))


def _near(before: Part, after: Part, window: int) -> list[int]:
    """Frames near the seam with `window` frames of the same part on either side."""
    return [frame for part in (before, after) for frame in range(part.start + window, part.stop - window + 1)
            if abs(frame - after.start) <= AROUND and frame < part.stop]


def _step(tones: np.ndarray, start: int, seam: int, stop: int) -> np.ndarray:
    """Step of each tone [8, 3] at the seam: the offset between two parallel least-squares lines through the frames
    before and after it, so that an even change does not count."""
    course = np.concatenate((np.zeros_like(tones[:1]), tones[start + 1 : stop].cumsum(0)))  # [n, 8, 3]
    time = np.arange(start, stop)
    lines = np.stack((time < seam, time >= seam, time - seam + 0.5), 1).astype(float)
    if len(time) < 4:
        lines = lines[:, :2]  # too few frames for a trend
    weights = np.linalg.pinv(lines)
    return np.tensordot(weights[1] - weights[0], course, 1)


def _trend(tones: np.ndarray) -> np.ndarray:
    """Usual change from one frame to the next, [n, 8, 3] -> [8, 3]; 0 if it cannot be measured."""
    seen = tones[~np.isnan(tones).any((1, 2))]
    return np.median(seen, axis=0) if len(seen) else np.zeros(tones.shape[1:])


def _fade(tones: np.ndarray, trend: np.ndarray) -> float:
    """Delta E by which the tones move over n frames, [n, 8, 3], beyond the trend."""
    return _size((tones - trend).sum(0))


def _growth(old: float, new: float) -> float:
    return float(new / old - 1) if old else np.nan


def _size(tones: np.ndarray) -> float:
    """Delta E [8, 3] -> root mean square over the tones."""
    return float(np.sqrt((tones**2).sum(-1).mean()))


def _usual(values: Sequence[float]) -> float:
    """The 90th percentile, ignoring nan; nan if all are."""
    seen = np.array([value for value in values if not np.isnan(value)])
    return float(np.quantile(seen, USUAL)) if len(seen) else np.nan


def _verdict(*measures: tuple[float, float]) -> str:
    """The worst verdict over all measures, each (value at the seam, usual value)."""
    if any(np.isnan(value) for value, _ in measures):
        return UNSEEN
    for verdict in (STRONG, VISIBLE):
        for value, usual in np.nan_to_num(measures):
            if value - usual >= LIMITS[verdict] and value >= TIMES[verdict] * usual:
                return verdict
    return GOOD


def _drift(series: Series, plan: Plan, scene: list[int]) -> Drift:
    parts = [plan.parts[index] for index in scene]
    first, last = plan.first(scene), parts[-1]
    if not plan.known:  # as many frames from the end, if the video is long enough
        last = Part(max(first.stop, last.stop - FIRST_FRAMES), last.stop) if len(last) > len(first) else first
    changes = {name: _changes(values, parts, first, last) for name, values in quantities(series).items()}
    return Drift(scene, (parts[0].start, parts[-1].stop), changes,
                 float(distance(*_look(series, last), *_look(series, first))))


def _changes(values: np.ndarray, parts: list[Part], first: Part, last: Part) -> Change:
    means = np.array([mean(values[part.start : part.stop]) for part in parts])
    frames = np.arange(parts[0].start, parts[-1].stop)
    return Change(
        mean(values[first.start : first.stop]), mean(values[last.start : last.stop]),
        _slope(np.arange(len(parts)), means, np.array([len(part) for part in parts])),
        100 * _slope(frames, values[frames], np.ones(len(frames))))


def _slope(places: np.ndarray, values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted least-squares slope, ignoring nan; nan for fewer than two values."""
    seen = ~np.isnan(values)
    places, values, weights = places[seen], values[seen], weights[seen]
    if len(places) < 2:
        return np.nan
    away = places - np.average(places, weights=weights)
    return float((weights * away * values).sum() / (weights * away**2).sum())


def _look(series: Series, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the part's frames of mean and spread, [3] each; nan if no frame shows the area."""
    means, spreads = (values[part.start : part.stop] for values in (series.mean, series.spread))
    seen = ~np.isnan(means).any(1)
    return (means[seen].mean(0), spreads[seen].mean(0)) if seen.any() else (np.full(3, np.nan), np.full(3, np.nan))
