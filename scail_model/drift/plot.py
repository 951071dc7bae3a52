"""Plot of the measurements over the frames, with segments and seams marked. Drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..drawing.lettering import FAINT, INK, LINE, PAPER, TEXT, as_tensor, cut, font_for
from .measure import BACKGROUND, PEOPLE, PICTURE, Series
from .report import area_name
from .verdict import GOOD, STRONG, UNSEEN, VISIBLE, Result, mean

WIDTH = 1600
LEFT, RIGHT = 92, 1576  # columns of the first and the last frame
PANEL, GAP = 132, 44  # pixels; the title of a panel is in the gap above it
TOP, BOTTOM = 104, 62  # rows above the first panel's gap and below the last panel
VERDICT_COLOURS = {GOOD: (76, 175, 80), VISIBLE: (255, 179, 0), STRONG: (239, 68, 68), UNSEEN: LINE}
_CUT = (150, 150, 156)
_GROUND, _GRID, _MEAN = (22, 22, 24), (48, 48, 52), (228, 228, 232)
_SMOOTH = 3  # curves are drawn this many times larger and shrunk
_BLUE, _RED, _YELLOW, _TEAL = (96, 165, 250), (248, 113, 113), (250, 204, 21), (45, 212, 191)
_AREA_COLOURS = {PICTURE: _BLUE, PEOPLE: _YELLOW, BACKGROUND: _TEAL}


class Curve(NamedTuple):
    """values: [T], nan for gaps."""

    name: str
    colour: tuple[int, int, int]
    values: np.ndarray


class Panel(NamedTuple):
    """curves: the first one also gets a line for its mean in each segment. span: the smallest range of the axis, so
    that noise does not look like a change. zero: whether the axis starts at 0."""

    title: str
    curves: list[Curve]
    span: float
    zero: bool = False


def draw(result: Result) -> Tensor:
    """Draw the plot, 1600 pixels wide, float32 [H, W, 3] in 0..1."""
    panels = _panels(result)
    page = Image.new("RGB", (WIDTH, panel_top(len(panels)) - GAP + BOTTOM), PAPER)
    _head(page, result)
    for index, panel in enumerate(panels):
        _panel(page, panel_top(index), panel, result)
    _time_axis(page, panel_top(len(panels) - 1) + PANEL, result)
    return as_tensor(page)


def column(frame: float, frames: int) -> float:
    """Centre of a frame, in pixels from the left."""
    return LEFT + (RIGHT - LEFT) * (frame + 0.5) / frames


def panel_top(index: int) -> int:
    """Row of a panel's top edge."""
    return TOP + GAP + index * (PANEL + GAP)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from low to high, 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / rough)))
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _panels(result: Result) -> list[Panel]:
    change, of = "change from the first segment", "of the first segment"
    colours = [Curve(name, colour, _change(result, values)) for name, colour, values in (
        ("chroma", _YELLOW, result.series.chroma), ("a: green to red", _RED, result.series.mean[:, 1]),
        ("b: blue to yellow", _BLUE, result.series.mean[:, 2]))]
    panels = [
        Panel(f"Lightness L, {change}", _by_area(result, lambda one: _change(result, one.mean[:, 0])), 4),
        Panel(f"Colour a, b and chroma, {change}", colours, 4),
        Panel(f"Contrast (spread of L), % {of}", _by_area(result, lambda one: _percent(result, one.contrast)), 20),
        Panel(f"Sharpness (gradient), % {of}", _by_area(result, lambda one: _percent(result, one.sharpness)), 20),
        Panel("Distance to the first segment, Delta E", [Curve(result.judged, _AREA_COLOURS[result.judged],
                                                               result.from_first)], 2, zero=True),
        Panel("Jump from the previous frame, Delta E", _by_area(result, lambda one: one.jump), 2, zero=True)]
    if result.from_reference is not None:
        panels.insert(5, Panel("Distance to the reference, Delta E", [
            Curve(result.judged, _AREA_COLOURS[result.judged], result.from_reference)], 4))
    return panels


def _by_area(result: Result, values: Callable[[Series], np.ndarray]) -> list[Curve]:
    """One curve per area, the judged one first."""
    areas = sorted(result.areas, key=lambda area: area != result.judged)
    return [Curve(area, _AREA_COLOURS[area], values(result.areas[area])) for area in areas]


def _change(result: Result, values: np.ndarray) -> np.ndarray:
    """[T], minus the mean of the first segment of the scene."""
    return values - _first(result, values)


def _percent(result: Result, values: np.ndarray) -> np.ndarray:
    """[T], in percent of the mean of the first segment of the scene."""
    first = _first(result, values)
    return 100 * values / np.where(first == 0, np.nan, first)


def _first(result: Result, values: np.ndarray) -> np.ndarray:
    """[T], for each frame the mean of the first segment of its scene."""
    means = np.empty(len(values))
    for scene in result.plan.scenes:
        first = result.plan.first(scene)
        means[result.plan.parts[scene[0]].start : result.plan.parts[scene[-1]].stop] = mean(
            values[first.start : first.stop])
    return means


def _head(page: Image.Image, result: Result) -> None:
    """Title, facts, legend of the seams, and segment numbers."""
    plan, (height, width) = result.plan, result.size
    time = f", {float(plan.frames / result.rate):.1f} s at {float(result.rate):g} fps" if result.rate else ""
    _text(page, LEFT, 30, "Video drift", INK, 24)
    _text(page, LEFT, 62, f"{plan.frames} frames of {width}x{height}{time}   ·   judged on {area_name(result)}", FAINT)
    if not plan.known:
        _text(page, RIGHT, 62, f"segments unknown; the first {len(plan.first([0]))} frames count as the first", FAINT,
              anchor="rm")
    else:
        _verdict_legend(page, result)
        _text(page, RIGHT, 62, f"seams of {len(plan.parts)} segments; white lines are the segments' means", FAINT,
              anchor="rm")
        _segment_numbers(page, result)


def _verdict_legend(page: Image.Image, result: Result) -> None:
    """Number of seams and cuts of each colour."""
    kinds = [seam.verdict for seam in result.seams]
    entries = [(f"{kinds.count(kind)} {kind}", colour) for kind, colour in VERDICT_COLOURS.items()
               if kind != UNSEEN or kind in kinds]
    cuts = len(result.plan.scenes) - 1
    entries += [(f"{cuts} cut" + "s" * (cuts > 1), _CUT)] if cuts else []
    left = RIGHT
    for text, colour in reversed(entries):
        left -= round(font_for(TEXT, text).getlength(text))
        _text(page, left, 30, text, INK)
        ImageDraw.Draw(page).rectangle((left - 22, 29, left - 8, 32), fill=colour)
        left -= 46


def _segment_numbers(page: Image.Image, result: Result) -> None:
    """Segment numbers above the first panel, as many as fit."""
    free = 0.0
    for number, part in enumerate(result.plan.parts, start=1):
        text = f"segment {number}" if len(part) * (RIGHT - LEFT) / result.plan.frames > 110 else str(number)
        middle = column((part.start + part.stop - 1) / 2, result.plan.frames)
        half = font_for(13, text).getlength(text) / 2
        if middle - half > free:
            _text(page, middle, 98, text, FAINT, 13, "mm")
            free = middle + half + 8


def _panel(page: Image.Image, top: int, panel: Panel, result: Result) -> None:
    low, high = _range(panel)
    draw = ImageDraw.Draw(page)
    draw.rectangle((LEFT, top, RIGHT, top + PANEL), _GROUND)
    for value in ticks(low, high, 4):
        row = _row(value, low, high) + top
        draw.line((LEFT, row, RIGHT, row), _GRID)
        _text(page, LEFT - 10, row, f"{value:.6g}", FAINT, 13, "rm")
    _marks(draw, top, result)
    page.paste(_curves(page.crop((LEFT, top, RIGHT, top + PANEL)), panel, low, high, result), (LEFT, top))
    draw.rectangle((LEFT, top, RIGHT, top + PANEL), outline=LINE)
    _legend(page, top - 15, panel)


def _legend(page: Image.Image, row: int, panel: Panel) -> None:
    _text(page, LEFT, row, panel.title, INK)
    left = RIGHT
    for curve in reversed(panel.curves):
        left -= round(font_for(13, curve.name).getlength(curve.name))
        _text(page, left, row, curve.name, FAINT, 13)
        ImageDraw.Draw(page).rectangle((left - 24, row - 1, left - 8, row + 1), fill=curve.colour)
        left -= 44


def _marks(draw: ImageDraw.ImageDraw, top: int, result: Result) -> None:
    """Lines at seams and cuts, each between two frames."""
    for seam in result.seams:
        place = round(column(seam.frame - 0.5, result.plan.frames))
        draw.line((place, top, place, top + PANEL), VERDICT_COLOURS[seam.verdict], 2)
    for scene in result.plan.scenes[1:]:
        place = round(column(result.plan.parts[scene[0]].start - 0.5, result.plan.frames))
        for row in range(top, top + PANEL, 12):
            draw.line((place, row, place, min(row + 6, top + PANEL)), _CUT, 2)


def _curves(ground: Image.Image, panel: Panel, low: float, high: float, result: Result) -> Image.Image:
    """Draw the curves over the ground, then the means of the first one in each segment."""
    large = ground.resize((ground.width * _SMOOTH, ground.height * _SMOOTH), Image.Resampling.NEAREST)
    draw, frames = ImageDraw.Draw(large), result.plan.frames

    def place(frame: float, value: float) -> tuple[float, float]:
        return (column(frame, frames) - LEFT) * _SMOOTH, _row(value, low, high) * _SMOOTH

    widths = [round((1.9 if index == 0 else 1.2) * _SMOOTH) for index in range(len(panel.curves))]
    for curve, width in reversed(list(zip(panel.curves, widths, strict=True))):  # the first one on top
        for run in _runs(curve.values):
            points = [place(frame, curve.values[frame]) for frame in run]
            if len(points) > 1:
                draw.line(points, curve.colour, width, joint="curve")
            else:
                _dot(draw, points[0], curve.colour)
    for part in result.plan.parts if result.plan.known else ():
        value = mean(panel.curves[0].values[part.start : part.stop])
        if not math.isnan(value):
            draw.line((*place(part.start - 0.5, value), *place(part.stop - 0.5, value)), _MEAN, round(1.4 * _SMOOTH))
    return large.resize(ground.size, Image.Resampling.BOX)


def _dot(draw: ImageDraw.ImageDraw, place: tuple[float, float], colour: tuple[int, int, int]) -> None:
    x, y = place
    draw.ellipse((x - 2 * _SMOOTH, y - 2 * _SMOOTH, x + 2 * _SMOOTH, y + 2 * _SMOOTH), colour)


def _runs(values: np.ndarray) -> Iterable[Sequence[int]]:
    """Frames of each stretch without gaps."""
    seen = np.flatnonzero(~np.isnan(values))
    return [run.tolist() for run in np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1) if len(run)]


def _range(panel: Panel) -> tuple[float, float]:
    """Lowest and highest value of the axis, with a margin."""
    values = np.concatenate([curve.values for curve in panel.curves])
    values = values[~np.isnan(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if panel.zero:
        return 0.0, max(1.08 * high, panel.span)
    spread = max(1.16 * (high - low), panel.span)
    middle = (low + high) / 2
    return middle - spread / 2, middle + spread / 2


def _row(value: float, low: float, high: float) -> float:
    """Pixels below the panel's top edge."""
    return PANEL * (high - value) / (high - low)


def _time_axis(page: Image.Image, bottom: int, result: Result) -> None:
    """Seconds, with frame numbers below them."""
    frames, rate, draw = result.plan.frames, result.rate, ImageDraw.Draw(page)
    end = float((frames - 1) / rate) if rate else frames - 1
    for value in ticks(0, end, 12) if end > 0 else [0.0]:
        frame = value * float(rate) if rate else value
        if abs(frame - round(frame)) > 1e-6 and not rate:
            continue  # between two frames
        place = round(column(frame, frames))
        draw.line((place, bottom, place, bottom + 5), LINE)
        _text(page, place, bottom + 18, f"{value:g} s" if rate else f"{value:g}", INK, 13, "mm")
        if rate:
            _text(page, place, bottom + 38, f"{round(frame)}", FAINT, 13, "mm")
    if rate:
        _text(page, LEFT - 10, bottom + 38, "frame", FAINT, 13, "rm")
    else:
        _text(page, LEFT - 10, bottom + 18, "frame", INK, 13, "rm")


def _text(page: Image.Image, left: float, middle: float, text: str, colour: tuple[int, ...], size: int = TEXT,
          anchor: str = "lm") -> None:
    font = font_for(size, text)
    ImageDraw.Draw(page).text((left, middle), cut(text, font, WIDTH), colour, font, anchor=anchor)
