"""The plot: every mark and every curve is where the numbers say, in the colour that the legend says."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from scail_model.drift import measure
from scail_model.drift.measure import Series
from scail_model.drift.plan import Part, Plan, whole
from scail_model.drift.plot import LEFT, PANEL, RIGHT, VERDICT_COLOURS, column, draw, panel_top, ticks
from scail_model.drift.verdict import GOOD, STRONG, VISIBLE, Result
from scail_model.media.clips import TensorClip

FRAMES = 80
BLUE = (96, 165, 250)
CUT = (150, 150, 156)


def clip(frames=FRAMES):
    """A picture that becomes lighter at frame 20 (by about 1.9 in L) and at frame 40 (by about 3.7)."""
    noise = torch.randint(90, 130, (32, 48, 3), generator=torch.Generator().manual_seed(1))
    steps = torch.zeros(frames, dtype=torch.long)
    steps[20:] += 5
    steps[40:] += 10
    return (noise + steps.view(-1, 1, 1, 1)).to(torch.uint8)


def result(plan, frames=FRAMES, **fields):
    areas = measure.measure(TensorClip(clip(frames)))
    return Result((32, 48), plan.rate, plan, areas, measure.PICTURE, **fields)


def four(cut=False, rate=Fraction(16)):
    return Plan((Part(0, 20), Part(20, 40), Part(40, 60), Part(60, FRAMES, cut)), rate)


def rows_of(picture, place, colour):
    """How many rows of a panel have a colour around a column, for each panel."""
    near = (picture[:, round(place) - 2 : round(place) + 3] * 255 - torch.tensor(colour)).abs().amax(-1) < 2
    panels = (len(picture) - panel_top(0)) // (panel_top(1) - panel_top(0))
    return [int(near[panel_top(index) : panel_top(index) + PANEL].any(1).sum()) for index in range(panels)]


def test_seams_have_the_colour_of_their_verdict_in_every_panel():
    found = result(four())
    assert [seam.verdict for seam in found.seams] == [VISIBLE, STRONG, GOOD]
    picture = draw(found)
    for seam in found.seams:
        for kind, colour in VERDICT_COLOURS.items():
            rows = rows_of(picture, column(seam.frame - 0.5, FRAMES), colour)
            assert len(rows) == 6
            assert all((count > 0.8 * PANEL) == (kind == seam.verdict) for count in rows), (seam, kind)


def test_seams_lie_between_their_frames():
    assert column(0, 10) - LEFT == pytest.approx(RIGHT - column(9, 10))
    assert column(19.5, FRAMES) == pytest.approx(LEFT + (RIGHT - LEFT) / 4)


def test_cuts_are_dashed():
    picture = draw(result(four(cut=True)))
    rows = rows_of(picture, column(59.5, FRAMES), CUT)
    assert all(0.4 * PANEL < count < 0.7 * PANEL for count in rows)
    assert not any(rows_of(picture, column(59.5, FRAMES), VERDICT_COLOURS[GOOD]))


def test_the_curve_goes_through_the_values():
    """The first panel shows L; between the lowest and the highest frame the curve climbs by as many pixels as the axis
    says. Without segments, because the line of a mean would lie over it."""
    found = result(whole(FRAMES))
    picture = draw(found)[panel_top(0) : panel_top(0) + PANEL] * 255
    lightness = found.series.mean[:, 0]
    spread = max(1.16 * (lightness.max() - lightness.min()), 4)
    expected = PANEL * (lightness[50] - lightness[10]) / spread
    heights = []
    for frame in (10, 50):
        blue = (picture[:, round(column(frame, FRAMES))] - torch.tensor(BLUE)).abs().amax(-1) < 60
        heights.append(blue.nonzero().float().mean())
    assert heights[0] - heights[1] == pytest.approx(expected, abs=1.5)


def test_the_mean_of_each_segment_is_a_line():
    """The whole length of each segment but the marks, and at one height in it."""
    panel = draw(result(four()))[panel_top(0) : panel_top(0) + PANEL] * 255
    white = (panel - torch.tensor((228, 228, 232))).abs().amax(-1) < 60
    rows = []
    for part in four().parts:
        inside = white[:, round(column(part.start, FRAMES)) : round(column(part.stop - 1, FRAMES))]
        assert inside.any(0).all()
        rows.append(inside.nonzero()[:, 0].float().mean())
    assert rows[0] > rows[1] > rows[2] == pytest.approx(rows[3], abs=1)


def test_gaps_are_gaps():
    found = result(whole(FRAMES))
    series = found.series
    broken = Series(*(np.where(np.arange(FRAMES).reshape(-1, *[1] * (values.ndim - 1)) // 20 == 2, np.nan, values)
                      for values in series))
    picture = draw(Result((32, 48), None, whole(FRAMES), {measure.PICTURE: broken}, measure.PICTURE))
    first = picture[panel_top(0) : panel_top(0) + PANEL] * 255
    blue = ((first - torch.tensor(BLUE)).abs().amax(-1) < 30).any(0)
    assert blue[round(column(25, FRAMES))]
    assert not blue[round(column(41, FRAMES)) : round(column(58, FRAMES))].any()
    assert blue[round(column(70, FRAMES))]


def test_the_reference_has_a_panel_of_its_own():
    without = draw(result(four()))
    reference = np.array((50.0, 0, 0)), np.array((3.0, 1, 1))
    assert len(draw(result(four(), reference=reference))) - len(without) == panel_top(1) - panel_top(0)
    assert without.shape[1:] == (1600, 3)
    assert without.dtype == torch.float32


@pytest.mark.parametrize("frames", [1, 2, 30])
@pytest.mark.parametrize("rate", [None, Fraction(30000, 1001)])
def test_any_length_is_drawn(frames, rate):
    picture = draw(result(Plan((Part(0, frames),), rate), frames))
    assert picture.std() > 0.02


def test_hundreds_of_segments_are_drawn():
    parts = tuple(Part(start, start + 2) for start in range(0, FRAMES, 2))
    assert draw(result(Plan(parts, Fraction(16)))).shape[1] == 1600


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 10, [0, 2, 4, 6, 8, 10]), (-1.2, 1.3, [-1, -0.5, 0, 0.5, 1]), (97, 121, [100, 105, 110, 115, 120]),
])
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high, 4) == pytest.approx(expected)


def test_nothing_is_drawn_over_the_numbers_of_the_axis():
    """Left of the panels there are only grey letters."""
    picture = draw(result(four()))
    margin = picture[panel_top(0) :, : LEFT - 4]
    assert (margin.amax(-1) - margin.amin(-1)).max() < 0.05
