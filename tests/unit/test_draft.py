"""Drafts: which size, steps and noise they have, and a draft from the command line."""

from __future__ import annotations

import json
import re
import shutil
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from test_generate import command, frames_of

from scail_model.files.jobs import Job
from scail_model.headless.cli import main
from scail_model.solvers import make_schedule
from scail_model.video import comparison, open_clip
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


@pytest.fixture(scope="module")
def drafted(models, job, tmp_path_factory):
    """A folder with a finished draft, and options of the video that it is for."""
    out = tmp_path_factory.mktemp("drafted") / "walk.mp4"
    assert run(models, job, out, draft=True, sample_steps=6) == 0
    return out


def keeper(models, job, drafted, tmp_path, capsys, **changes):
    """Make the video in a copy of the draft's folder -> what was printed, and the record's comparison."""
    folder = shutil.copytree(drafted.parent, tmp_path / "work")
    for about in folder.glob("scail2_jobs/*/job.json"):  # the draft moved along
        about.write_text(about.read_text().replace(str(drafted.parent), str(folder)))
    capsys.readouterr()
    out = folder / "walk.mp4"
    assert run(models, job, out, **{"sample_steps": 6} | changes) == 0
    return capsys.readouterr().out, json.loads((folder / "walk.mp4.json").read_text())["comparison"], folder


def test_the_video_is_shown_beside_its_draft(models, job, drafted, tmp_path, capsys):
    text, comparison, folder = keeper(models, job, drafted, tmp_path, capsys)
    assert comparison["differences"] == ["size 64x32 -> 128x64", "steps 4 -> 6"]
    assert "size 64x32 -> 128x64; steps 4 -> 6. Its noise was this video's, averaged" in text
    assert f"draft and video side by side: {folder / 'walk.compare.mp4'}" in text
    both = open_clip(folder / "walk.compare.mp4")
    draft, full = open_clip(folder / "walk.draft.mp4"), open_clip(folder / "walk.mp4")
    assert (len(both), both.rate) == (FRAMES, full.rate)
    with both.sound(Fraction(1)) as track:
        assert track is not None
    # wide: one above the other, each under 30 pixels of text
    assert both.size == (2 * (64 + 30) + 8, 128)
    shown = both.read(0, FRAMES).float()
    enlarged = torch.nn.functional.interpolate(draft.read(0, FRAMES).movedim(-1, 1).float(), (64, 128), mode="bilinear")
    for top, expected in ((30, enlarged.movedim(1, -1)), (30 + 64 + 8 + 30, full.read(0, FRAMES).float())):
        panel = shown[:, top : top + 64]
        assert torch.corrcoef(torch.stack((panel.flatten(), expected.flatten())))[0, 1] > 0.95
    assert shown[:, :30].std() > 5  # a text


@pytest.mark.parametrize(("changes", "differences"), [
    pytest.param({"base_seed": 5}, ["seed 3 -> 5"], id="another seed"),
    pytest.param({"prompt": "a figure sits"}, ["the prompt"], id="another prompt"),
    pytest.param({"precision": "8-bit"}, ["the model, its precision or attention, a LoRA or the VAE"],
                 id="another precision"),
    pytest.param({"plan": '[{"segments": 2, "seed": 4}]'}, ['plan none -> [{"segments": 2, "seed": 4}]'], id="a plan"),
    pytest.param({"sample_guide_scale": 2, "sample_shift": 2}, ["shift 3.0 -> 2.0", "guidance 5.0 -> 2.0"],
                 id="settings"),
    pytest.param({"codec": "lossless"}, [], id="another codec is nothing that is seen"),
])
def test_what_was_changed_since_the_draft_is_said(models, job, drafted, tmp_path, capsys, changes, differences):
    text, comparison, _ = keeper(models, job, drafted, tmp_path, capsys, **{"sample_steps": 4} | changes)
    assert comparison["differences"] == ["size 64x32 -> 128x64", *differences]
    other_noise = bool({"base_seed", "plan"} & changes.keys())
    assert ("It started from other noise" in text, "Its noise was this video's" in text) == (
        other_noise, not other_noise)


def test_a_video_without_a_seed_takes_that_of_its_draft(models, job, drafted, tmp_path, capsys):
    _, comparison, folder = keeper(models, job, drafted, tmp_path, capsys, base_seed=-1)
    assert comparison["differences"] == ["size 64x32 -> 128x64", "steps 4 -> 6"]
    # the next one, and one that has changed, draw a seed
    for changes in ({}, {"prompt": "a figure sits"}):
        assert run(models, job, folder / "more.mp4", sample_steps=6, base_seed=-1, overwrite=True, **changes) == 0
        assert re.search(r"guidance 5, seed (\d+)$", capsys.readouterr().out, re.MULTILINE)[1] != "3"


def test_masks_that_were_painted_again_are_said(models, job, drafted, tmp_path, capsys):
    mask = np.array(Image.open(job["mask_image"]))
    mask[:2] = mask[-1, -1]
    Image.fromarray(np.roll(mask, 2, 1)).save(tmp_path / "mask.png")
    _, comparison, _ = keeper(models, job | {"mask_image": tmp_path / "mask.png"}, drafted, tmp_path, capsys)
    assert comparison["differences"][2:] == ["the reference's masks"]


def test_a_draft_of_another_driving_video_is_none(models, job, drafted, tmp_path, capsys):
    other = drawing.write_job(tmp_path / "other", SIZE, FRAMES, False, tone=True, fps=Fraction(16), seed=5)
    text, comparison, folder = keeper(models, other, drafted, tmp_path, capsys)
    assert comparison is None
    assert "compared with" not in text
    assert not (folder / "walk.compare.mp4").exists()


def test_a_draft_whose_file_is_gone_costs_no_video(models, job, drafted, tmp_path, capsys):
    (drafted.parent / "walk.draft.mp4").rename(tmp_path / "away.mp4")
    try:
        text, comparison, folder = keeper(models, job, drafted, tmp_path, capsys)
    finally:
        (tmp_path / "away.mp4").rename(drafted.parent / "walk.draft.mp4")
    assert comparison["video"] is None
    assert comparison["differences"]
    assert "side by side" not in text
    assert (folder / "walk.mp4").exists()


def job_of(root, name, *, draft, file=True, **changes):
    """A finished job, as far as comparisons read it."""
    made = {"size": "64x32", "steps": 4, "seed": 1, "sigmas": [], "driving": "d", "model": "m", "prompts": "p",
            "references": "r", "reference_masks": "k", "driving_masks": "v", "who": "w", "settings": {"shift": 3.0}}
    job = Job(root / name, {})
    job.tell(draft=draft, finished=time.time(), made_from=made | changes)
    if file:
        job.path(f"video-{name}.mp4").write_bytes(b"video")
    return job.folder, made | changes


@pytest.mark.parametrize(("other", "why"), [
    ({"size": "96x64"}, "the draft of a larger video"), ({"steps": 5}, "the draft of a video of ten steps"),
    ({"seed": 2}, "another seed"), ({"file": False}, "its file is gone")])
def test_of_several_drafts_it_is_this_video_s_own(tmp_path, other, why):
    own, _ = job_of(tmp_path, "own", draft=True)
    job_of(tmp_path, "later", draft=True, **other)
    _, full = job_of(tmp_path, "full", draft=False, size="128x64", steps=8)
    folder, _ = comparison._draft(tmp_path, full)
    assert folder == own, why
    again, _ = job_of(tmp_path, "again", draft=True)
    assert comparison._draft(tmp_path, full)[0] == again, "the latest of equal ones"
