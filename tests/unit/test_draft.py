"""Drafts: which size, steps and noise they have, and a draft from the command line."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from test_generate import command, frames_of

from scail_model.headless.cli import main
from scail_model.solvers import make_schedule
from scail_model.video.draft import draft_noise, draft_sigmas, draft_size, draft_steps
from scail_model.video.options import VideoOptions
from tests.demo import drawing

SIZE, FRAMES = (128, 64), 12  # segments of 9 and 9


@pytest.mark.parametrize(("full", "draft"), [
    pytest.param((704, 1280), (352, 640), id="tall, the larger official size"),
    pytest.param((896, 512), (448, 256), id="wide, the smaller official size"),
    pytest.param((832, 480), (448, 256), id="half of a side is no multiple of 32: the shape is kept"),
    pytest.param((480, 832), (256, 448), id="the same, tall"),
    pytest.param((64, 64), (32, 32), id="as small as a video can be"),
    pytest.param((96, 64), (64, 32), id="nothing near has the shape: smaller all the same"),
    pytest.param((32, 32), (32, 32), id="already the smallest"),
])
def test_the_size_of_a_draft(full, draft):
    assert draft_size(*full) == draft


@pytest.mark.parametrize(("full", "draft"), [(40, 8), (20, 8), (12, 6), (8, 4), (6, 4), (4, 4), (3, 3), (1, 1)])
def test_the_steps_of_a_draft(full, draft):
    assert draft_steps(full) == draft
    assert VideoOptions(steps=full, draft=True).settings(0).steps == draft


def test_given_noise_levels_are_thinned_out_as_a_schedule_with_fewer_steps_has_them():
    sigmas = tuple(make_schedule("euler", 40, 3.0)[0].tolist())
    expected = make_schedule("euler", 8, 3.0)[0].tolist()
    assert draft_sigmas(sigmas) == pytest.approx(expected, abs=1e-6)
    settings = VideoOptions(draft=True).settings(0, (), sigmas)
    assert (settings.steps, settings.sigmas) == (8, draft_sigmas(sigmas))
    assert draft_sigmas((1.0, 0.5, 0.0)) == (1.0, 0.5, 0.0)


def test_a_draft_changes_nothing_but_the_steps():
    usual, draft = (VideoOptions(draft=drafted).settings(7, (5,)) for drafted in (False, True))
    assert {name for name, value in draft.key_values.items() if value != usual.key_values[name]} == {"steps"}
    assert VideoOptions(draft=True).full(Size(704, 1280)).steps == 40


class Size:
    def __init__(self, width, height):
        self.width, self.height = width, height


@pytest.mark.parametrize("size", [(20, 28), (32, 56), (40, 56)])
def test_the_noise_of_a_draft_is_white_and_that_of_the_full_video(size):
    full = torch.randn(64, 60, 104, generator=torch.Generator().manual_seed(0))
    noise = draft_noise(full, *size)
    assert noise.shape == (64, *size)
    assert noise.mean().abs() < 0.03
    assert noise.std() == pytest.approx(1, abs=0.01)
    for shifted in (noise.roll(1, -1), noise.roll(1, -2)):
        assert (noise * shifted).mean().abs() < 0.02
    # in the large both are alike: 4 by 4 averages
    coarse = [torch.nn.functional.adaptive_avg_pool2d(part[None], (4, 4)).flatten() for part in (full, noise)]
    assert torch.corrcoef(torch.stack(coarse))[0, 1] > 0.9


def test_the_noise_of_half_the_size_is_the_sum_of_squares_of_four():
    full = torch.randn(1, 16, 3, 8, 12)
    expected = full.unflatten(-1, (6, 2)).unflatten(-3, (4, 2)).sum((-1, -3)) / 2
    torch.testing.assert_close(draft_noise(full, 4, 6), expected)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), SIZE, FRAMES, False, tone=True, fps=Fraction(16))


def run(models, job, out, **changes):
    return main(command(models, job, out, target_w=SIZE[0], target_h=SIZE[1], **changes))


def test_a_draft_from_the_command_line(models, job, tmp_path, capsys):
    out = tmp_path / "walk.mp4"
    assert run(models, job, out, draft=True, sample_steps=6) == 0
    assert not out.exists()
    frames = frames_of(tmp_path / "walk.draft.mp4")
    assert frames.shape == (FRAMES, 32, 64, 3)
    text = capsys.readouterr().out
    assert "animation, 64x32, 12 frames at 16 per second, 2 segments" in text
    assert "draft: 64x32 in 4 steps, for a video of 128x64 in 6" in text
    (folder,) = (tmp_path / "scail2_jobs").iterdir()
    assert folder.name.startswith("12f_64x32_draft_")
