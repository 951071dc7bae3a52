"""The result of `forward_gpu.py` as picture and table: seconds and memory of a forward against its tokens.

    python tests/bench/speed_plot.py FORWARD.json OUT.png

Points are measured; thin grey lines are `scail_model/budget.py`'s formulas for bfloat16 with PyTorch's attention, which
were fitted on an H200, and are scaled to the layers that were run. The ground is white, to be read on any page.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[2]))

from scail_model.config import TransformerConfig  # noqa: E402
from scail_model.drawing.lettering import font_for  # noqa: E402
from scail_model.drift.plot import ticks  # noqa: E402
from scail_model.preflight.budget import activation_bytes, token_seconds  # noqa: E402

WIDTH, HEIGHT = 860, 412
PANEL_WIDTH, PANEL_HEIGHT = 350, 270
LEFTS, TOP = (62, 494), 62
_SMOOTH = 3  # lines are drawn this many times larger and shrunk
_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (30, 30, 34), (110, 110, 118), (226, 226, 230)
FORMULA_COLOUR = (150, 150, 158)
COLOURS = {"core": (214, 86, 40), "exact": (30, 100, 200), "8-bit": (16, 140, 100), "core fp8": (150, 80, 170),
           "core cuDNN first": (240, 150, 110), "sparse": (120, 170, 230), "fast": (0, 90, 60)}
TITLES = {"seconds": "seconds per forward", "gib": "peak GPU memory, GiB"}


class Axes(NamedTuple):
    """A panel: `left`, `top` in pixels, and the values at its right and upper edge; both axes begin at 0."""

    left: int
    top: int
    most_tokens: float
    most: float

    def place(self, tokens: float, value: float) -> tuple[float, float]:
        """Pixels of a point on the page."""
        return (self.left + PANEL_WIDTH * tokens / self.most_tokens,
                self.top + PANEL_HEIGHT * (1 - value / self.most))


def modes(report: dict) -> list[str]:
    """In the order of the rows."""
    return list(dict.fromkeys(name for row in report["rows"] for name in row["seconds"]))


def points(report: dict, what: str, mode: str) -> list[tuple[int, float]]:
    """(tokens, value) of the rows that have the mode, by tokens; what: "seconds" or "gib"."""
    return sorted((row["tokens"], row[what][mode]) for row in report["rows"] if mode in row[what])


def formula(what: str, layers: int) -> Callable[[float], float]:
    """Seconds or GiB for a number of tokens."""
    config = TransformerConfig(num_layers=layers)
    if what == "seconds":
        return lambda tokens: token_seconds(config, round(tokens))
    weights = 2 * sum(map(math.prod, config.parameter_shapes().values()))
    return lambda tokens: (weights + activation_bytes(config, round(tokens))) / 2**30


def growth(values: list[tuple[int, float]]) -> float | None:
    """The exponent e of value ~ tokens^e from the fewest tokens to the most; None for a single point."""
    (first, low), (last, high) = values[0], values[-1]
    return math.log(high / low) / math.log(last / first) if last > first else None


def table(report: dict) -> str:
    """Seconds and milliseconds per thousand tokens, and how seconds grow."""
    names = modes(report)
    lines = [f"| tokens | {' | '.join(f'{name} s | ms per 1000 tokens' for name in names)} |",
             "|---" * (1 + 2 * len(names)) + "|"]
    for row in sorted(report["rows"], key=lambda row: row["tokens"]):
        cells = [f"{row['seconds'][name]:.2f} | {1e6 * row['seconds'][name] / row['tokens']:.0f}"
                 if name in row["seconds"] else "- | -" for name in names]
        lines.append(f"| {row['tokens']:,} | {' | '.join(cells)} |")
    exponents = {name: growth(points(report, "seconds", name)) for name in names}
    lines += [f"{name}: seconds grow as tokens to the power of {value:.2f}"
              for name, value in exponents.items() if value is not None]
    return "\n".join(lines)


def draw(report: dict) -> Image.Image:
    """RGB page with two panels."""
    page = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    _text(page, LEFTS[0] - 30, 16, f"{report['gpu']}, PyTorch {report['torch']}, {report['layers']} layers", _FAINT, 13)
    for (what, title), left in zip(TITLES.items(), LEFTS, strict=True):
        most_tokens = 1.06 * max(row["tokens"] for row in report["rows"])
        curve = formula(what, report["layers"])
        highest = max(*(value for row in report["rows"] for value in row[what].values()), curve(most_tokens))
        axes = Axes(left, TOP, most_tokens, 1.05 * highest)
        _text(page, left - 30, TOP - 18, title, _INK, 15)
        _grid(page, axes)
        page.paste(_curves(page, axes, curve, {name: points(report, what, name) for name in modes(report)}))
    _legend(page, modes(report))
    return page


def _grid(page: Image.Image, axes: Axes) -> None:
    canvas = ImageDraw.Draw(page)
    bottom = axes.top + PANEL_HEIGHT
    for value in ticks(0, axes.most, 6):
        row = axes.place(0, value)[1]
        canvas.line((axes.left, row, axes.left + PANEL_WIDTH, row), _GRID)
        _text(page, axes.left - 8, row, f"{value:g}", _INK, 13, "rm")
    for tokens in ticks(0, axes.most_tokens, 5):
        column = axes.place(tokens, 0)[0]
        canvas.line((column, axes.top, column, bottom), _GRID)
        _text(page, column, bottom + 14, f"{tokens / 1000:g}", _INK, 13, "mm")
    canvas.line((axes.left, axes.top, axes.left, bottom, axes.left + PANEL_WIDTH, bottom), _FAINT)
    _text(page, axes.left + PANEL_WIDTH, bottom + 34, "tokens, thousands", _INK, 13, "rm")


def _curves(page: Image.Image, axes: Axes, curve: Callable[[float], float],
            measured: dict[str, list[tuple[int, float]]]) -> Image.Image:
    """The page with the formula below and the measured points, joined, on top."""
    large = page.resize((page.width * _SMOOTH, page.height * _SMOOTH), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)

    def place(tokens: float, value: float) -> tuple[float, float]:
        x, y = axes.place(tokens, value)
        return x * _SMOOTH, y * _SMOOTH

    steps = [axes.most_tokens * step / 100 for step in range(1, 101)]
    canvas.line([place(tokens, curve(tokens)) for tokens in steps], FORMULA_COLOUR, _SMOOTH)
    for name, values in measured.items():
        dots = [place(*value) for value in values]
        if len(dots) > 1:
            canvas.line(dots, COLOURS[name], 2 * _SMOOTH, joint="curve")
        for x, y in dots:
            radius = 4 * _SMOOTH
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), COLOURS[name])
    return large.resize(page.size, Image.Resampling.BOX)


def _legend(page: Image.Image, names: list[str]) -> None:
    left, row = LEFTS[0], HEIGHT - 14
    entries = [(name, COLOURS[name], 3) for name in names]
    entries.append(("formula: bfloat16, PyTorch's attention", FORMULA_COLOUR, 1))
    for text, colour, width in entries:
        ImageDraw.Draw(page).line((left, row, left + 20, row), colour, width)
        _text(page, left + 28, row, text, _INK, 14)
        left += 28 + round(font_for(14, text).getlength(text)) + 26


def _text(page: Image.Image, left: float, middle: float, text: str, colour: tuple[int, int, int], size: int,
          anchor: str = "lm") -> None:
    ImageDraw.Draw(page).text((left, middle), text, colour, font_for(size, text), anchor=anchor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path, help="what forward_gpu.py has written")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    draw(report).save(options.picture)
    print(table(report))


if __name__ == "__main__":
    main()
