"""Quality against time: what every mode, density and number of steps loses on the miniature, and how long it takes.

    python tests/bench/quality_plot.py LONG.json FAST.json OUT.png

LONG.json is the case `long` of `miniature_table.py` (13,248 tokens, where the truth is known), FAST.json holds reports
of `forward_gpu.py` (the 14B network at 48,832 tokens). A sparse way has as many keys for each query at both lengths.
Seconds of one that was not measured are those of sparse attention with the usual budget, less or more by the time of
the blocks that it leaves out or adds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from speed_plot import _FAINT, _GRID, _INK, _PAPER, _SMOOTH, COLOURS, LEFTS, TOP, Axes, _text  # noqa: E402

from scail_model.drift.plot import ticks  # noqa: E402

WIDTH, HEIGHT, PANEL_WIDTH, PANEL_HEIGHT = 860, 412, 350, 270
TOKENS, LONG_TOKENS = 48832, 13248
ATTENTION = 0.073  # seconds of a layer per density, measured alone at TOKENS: 7.3, 10.4 and 15.2 ms at 10, 15 and 20 %
LOST, MOST = "psnr_inside_lost", 2.0  # dB; what loses more stands at the upper edge
STEPS, FEW_STEPS = 20, 8


class Point(NamedTuple):
    name: str
    seconds: float
    lost: float


def points(table: dict[str, dict[str, float]], forward: dict, mode: str) -> Iterator[Point]:
    """Of the rows with two people in a mode."""
    seconds, usual = forward["rows"][0]["seconds"], forward["rows"][0]["layer_errors"]["sparse"]["density"]
    for row, measures in table.items():
        head, _, way = row.partition(": ")
        if head != f"{mode}, 2":
            continue
        kind, _, steps = way.partition(", ")
        each = seconds.get(kind)
        if each is None:  # "sparse 20%"
            density = float(kind.removeprefix("sparse ").rstrip("%")) / 100 * LONG_TOKENS / TOKENS
            each = seconds["sparse"] + forward["layers"] * ATTENTION * (density - usual)
        yield Point(way, each * (FEW_STEPS if steps else STEPS), measures[LOST])


def table(found: dict[str, list[Point]]) -> str:
    """By way: seconds, and dB lost in each mode."""
    ways = {point.name: point.seconds for listed in found.values() for point in listed}
    lines = [f"| | s | {' | '.join(found)} |", "|---" * (2 + len(found)) + "|"]
    for way, seconds in sorted(ways.items(), key=lambda item: -item[1]):
        lost = (next(point.lost for point in listed if point.name == way) for listed in found.values())
        lines.append(f"| {way} | {seconds:.1f} | {' | '.join(f'{value:.2f}' for value in lost)} |")
    return "\n".join(lines)


def draw(found: dict[str, list[Point]], gpu: str) -> Image.Image:
    """RGB page with a panel for each mode."""
    page = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    _text(page, LEFTS[0] - 30, 16, "dB lost inside people, against seconds of the network for 81 frames of 512x896 "
                                   f"({gpu})", _FAINT, 13)
    most = 1.06 * max(point.seconds for listed in found.values() for point in listed)
    for (mode, listed), left in zip(found.items(), LEFTS, strict=True):
        axes = Axes(left, TOP, most, MOST + 0.3)
        _text(page, left - 30, TOP - 18, mode, _INK, 15)
        _grid(page, axes)
        page.paste(_dots(page, axes, listed))
        _names(page, axes, listed)
    return page


def _grid(page: Image.Image, axes: Axes) -> None:
    canvas = ImageDraw.Draw(page)
    bottom = axes.top + PANEL_HEIGHT
    for value in (0, 0.5, 1, 1.5, MOST):
        row = axes.place(0, value + 0.3)[1]
        canvas.line((axes.left, row, axes.left + PANEL_WIDTH, row), _GRID)
        _text(page, axes.left - 8, row, f"{value:g}", _INK, 13, "rm")
    for seconds in ticks(0, axes.most_tokens, 5):
        column = axes.place(seconds, 0)[0]
        canvas.line((column, axes.top, column, bottom), _GRID)
        _text(page, column, bottom + 14, f"{seconds:g}", _INK, 13, "mm")
    canvas.line((axes.left, axes.top, axes.left, bottom, axes.left + PANEL_WIDTH, bottom), _FAINT)
    _text(page, axes.left + PANEL_WIDTH, bottom + 34, "seconds", _INK, 13, "rm")


def _place(axes: Axes, point: Point) -> tuple[float, float]:
    return axes.place(point.seconds, min(max(point.lost, -0.29), MOST) + 0.3)


def _dots(page: Image.Image, axes: Axes, listed: list[Point]) -> Image.Image:
    large = page.resize((page.width * _SMOOTH, page.height * _SMOOTH), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    for point in listed:
        x, y = (value * _SMOOTH for value in _place(axes, point))
        radius = 4 * _SMOOTH
        colour = COLOURS[point.name.split(",")[0].split(" ")[0]]
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return large.resize(page.size, Image.Resampling.BOX)


def _names(page: Image.Image, axes: Axes, listed: list[Point]) -> None:
    """Above the points; where that is taken, higher, with a line to it."""
    taken: list[tuple[float, float]] = []
    canvas = ImageDraw.Draw(page)
    for point in sorted(listed, key=lambda each: each.seconds):
        x, y = _place(axes, point)
        row = y - 14
        while any(abs(row - other) < 15 and abs(x - column) < 110 for column, other in taken):
            row -= 15
        taken.append((x, row))
        if row < y - 14:
            canvas.line((x, y - 5, x, row + 7), _FAINT)
        text = f"{point.name} ({point.lost:.1f})" if point.lost > MOST else point.name
        left = x < axes.left + PANEL_WIDTH - 90
        beside = 4 if row < y - 14 else -4  # the line
        _text(page, x + beside if left else x + 4, row, text, _INK, 12, "lm" if left else "rm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("long", type=Path, help="table.json of miniature_table.py --only long")
    parser.add_argument("fast", type=Path, help="reports of forward_gpu.py, a list; the first one is drawn")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    measured = json.loads(options.long.read_text())["tables"]["long"]
    forward = json.loads(options.fast.read_text())[0]
    found = {mode: list(points(measured, forward, mode)) for mode in ("animation", "replacement")}
    draw(found, forward["gpu"]).save(options.picture, optimize=True)
    print(table(found))


if __name__ == "__main__":
    main()
