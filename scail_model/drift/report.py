"""The measurements of a video as text for people, CSV for spreadsheets and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np

from .measure import LONGEST, PICTURE, SMALLEST_SHARE, Series
from .plan import FIRST_FRAMES
from .verdict import AROUND, GOOD, LIMITS, STRONG, TIMES, UNSEEN, VISIBLE, WINDOW, Change, Drift, Result, Seam, mean

_AREAS = {PICTURE: "the whole picture"}
_SHARES = ("contrast", "sharpness")  # reported in percent of the first segment
_NAMES = {"L": "lightness L", "chroma": "saturation (chroma)"}
_DIGITS = 4


def report(result: Result) -> str:
    """Facts, seams, drift and limits, one line each."""
    return "\n".join((_heading(result), *_seam_lines(result), *_drift_lines(result), "", *limits()))


def limits() -> list[str]:
    """Explanation of the verdicts."""
    return [
        f"Limits: a seam is {VISIBLE} if its colour step, the change within its first {WINDOW} frames, or its jump is "
        f"at least {LIMITS[VISIBLE]} Delta E above the usual value and {TIMES[VISIBLE]} times as large; {STRONG} from "
        f"{LIMITS[STRONG]} above and {TIMES[STRONG]} times.",
        f"The usual value is the 90th percentile of all places within {AROUND} frames in the same two segments. "
        f"{LIMITS[VISIBLE]:g} Delta E is just visible in a direct comparison, {LIMITS[STRONG]} is noticeable.",
        f"Colours are CIE LAB with the longest side at {LONGEST} pixels at most; sharpness is the mean gradient of the "
        "luma at the video's size. Movement changes these numbers too: compare videos of the same motion.",
    ]


def as_csv(result: Result) -> str:
    """One line per frame, one column per measure; empty where nothing can be measured."""
    columns = _columns(result)
    lines = (",".join("" if value is None else str(value) for value in row)
             for row in zip(*columns.values(), strict=True))
    return "\n".join((",".join(columns), *lines)) + "\n"


def as_json(result: Result) -> str:
    """{"ok", "frames", "fps", "width", "height", "judged", "limits", "seams", "drift", "per_frame"}; per_frame has the
    columns of the CSV. What cannot be measured is null."""
    height, width = result.size
    return json.dumps({
        "ok": result.ok, "frames": result.plan.frames, "fps": str(result.rate) if result.rate else None,
        "width": width, "height": height, "judged": result.judged, "segments_known": result.plan.known,
        "limits": {"above_usual": LIMITS, "times_usual": TIMES, "window": WINDOW, "around": AROUND},
        "seams": [_seam_values(seam) for seam in result.seams],
        "drift": [_drift_values(drift) for drift in result.drifts],
        "per_frame": _columns(result),
    })


def at(result: Result, frame: int) -> str:
    """A frame number, with its time if the frame rate is known."""
    return f"frame {frame}" + (f" ({float(frame / result.rate):.1f} s)" if result.rate else "")


def area_name(result: Result) -> str:
    return _AREAS.get(result.judged, f"the {result.judged}")


def _heading(result: Result) -> str:
    height, width = result.size
    time = f", {float(result.plan.frames / result.rate):.1f} s at {float(result.rate):g} fps" if result.rate else ""
    return (f"{result.plan.frames} frames of {width}x{height}{time}, {len(result.plan.parts)} segment(s), "
            f"{len(result.plan.scenes)} scene(s); judged on {area_name(result)}")


def _seam_lines(result: Result) -> Iterator[str]:
    if not result.plan.known:
        yield "Seams are not judged: no segments are connected."
        return
    verdicts = [seam.verdict for seam in result.seams]
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in (GOOD, VISIBLE, STRONG, UNSEEN) if kind in verdicts)
    yield f"Seams: {counts or 'none'}"
    yield from (_seam_line(result, seam) for seam in result.seams)


def _seam_line(result: Result, seam: Seam) -> str:
    place = f"- {at(result, seam.frame)}, segment {seam.part + 1}: {seam.verdict}"
    if seam.verdict == UNSEEN:
        return f"{place}, {area_name(result)} cover less than {SMALLEST_SHARE:.1%} of the picture there"
    lightness, a, b = seam.shift
    return (f"{place}, colour step {seam.step:.2f}{_up_to(seam.usual_step)}: L {lightness:+.1f} (darks "
            f"{seam.darks:+.1f}, lights {seam.lights:+.1f}), a {a:+.1f}, b {b:+.1f}; within {WINDOW} "
            f"frames {seam.fade:.2f}{_up_to(seam.usual_fade)}; jump {seam.jump:.2f}{_up_to(seam.usual_jump)}; "
            f"sharpness {seam.sharpness:+.1%}")


def _up_to(usual: float) -> str:
    return "" if math.isnan(usual) else f" (usual: up to {usual:.2f})"


def _drift_lines(result: Result) -> Iterator[str]:
    for number, drift in enumerate(result.drifts, start=1):
        start, stop = drift.frames
        scene = f"Scene {number}, frames {start} to {stop - 1}" if len(result.drifts) > 1 else "Drift"
        if not result.plan.known:
            scene += f", from the first {min(FIRST_FRAMES, stop)} frames (taken as the first segment) to as many last"
        elif len(drift.scene) == 1:
            scene += " within its one segment"
        else:
            scene += f" from the first segment to the last of {len(drift.scene)}"
        yield f"{scene}: distance {drift.from_first:.2f} Delta E{_from_reference(result, drift)}"
        yield from (_change_line(name, change) for name, change in drift.changes.items())


def _from_reference(result: Result, drift: Drift) -> str:
    if result.from_reference is None:
        return ""
    first, last = (result.plan.parts[drift.scene[index]] for index in (0, -1))
    ends = [mean(result.from_reference[part.start : part.stop]) for part in (first, last)]
    return "; to the reference {:.2f} in the first segment, {:.2f} in the last".format(*ends)


def _change_line(name: str, change: Change) -> str:
    unit, scale = ("", 1.0)
    if name in _SHARES:
        unit, scale = " %", 100 / change.first if change.first else math.nan
    total, segment, frames = (f"{value * scale:+.2f}{unit}" for value in (
        change.last - change.first, change.per_segment, change.per_100_frames))
    each = "" if math.isnan(change.per_segment) else f"{segment} per segment, "
    return (f"- {_NAMES.get(name, name)}: {each}{frames} per 100 frames; {change.first:.2f} at first, "
            f"{change.last:.2f} at last ({total})")


def _columns(result: Result) -> dict[str, list]:
    """Name -> a value or None for each frame."""
    plan = result.plan
    columns: dict[str, list] = {"frame": list(range(plan.frames))}
    if result.rate:
        columns["seconds"] = [round(float(frame / result.rate), _DIGITS) for frame in range(plan.frames)]
    columns["segment"] = [number for number, part in enumerate(plan.parts, start=1) for _ in range(len(part))]
    for area, series in result.areas.items():
        columns |= {f"{area}_{name}": _rounded(values) for name, values in _measures(series).items()}
    columns["distance_to_first"] = _rounded(result.from_first)
    if result.from_reference is not None:
        columns["distance_to_reference"] = _rounded(result.from_reference)
    return columns


def _measures(series: Series) -> dict[str, np.ndarray]:
    lightness, a, b = series.mean.T
    return {"L": lightness, "a": a, "b": b, "contrast": series.contrast, "a_spread": series.spread[:, 1],
            "b_spread": series.spread[:, 2], "chroma": series.chroma, "sharpness": series.sharpness,
            "jump": series.jump}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), _DIGITS)


def _seam_values(seam: Seam) -> dict:
    shift = dict(zip("Lab", map(_number, seam.shift), strict=True))
    numbers = {name: _number(getattr(seam, name)) for name in (
        "step", "usual_step", "darks", "lights", "fade", "usual_fade", "jump", "usual_jump", "sharpness")}
    return {"segment": seam.part + 1, "frame": seam.frame, "verdict": seam.verdict, **numbers, "shift": shift}


def _drift_values(drift: Drift) -> dict:
    changes = {name: {key: _number(getattr(change, key)) for key in ("first", "last", "per_segment", "per_100_frames")}
               for name, change in drift.changes.items()}
    return {"segments": [index + 1 for index in drift.scene], "start": drift.frames[0], "stop": drift.frames[1],
            "distance": _number(drift.from_first), "changes": changes}
