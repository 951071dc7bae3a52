"""Videos with a locked plate, from the command line: what is sampled, kept, resumed and made again. The networks are
tiny and random."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_generate import command
from test_plate_jobs import FRAMES, SETTINGS, far_from_people, frames

from scail_model.headless import terminal
from scail_model.headless.cli import main
from scail_model.headless.host import HeadlessHost
from tests.demo import drawing

SIZE = (128, 64)  # width, height: of the driving video and of what is made; two segments of 9 that share 5
STEPS = 3


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), SIZE, FRAMES, replacement=True)


@pytest.fixture(scope="module")
def requests():
    """What was sampled, and from what, in the order of the runs."""
    return []


@pytest.fixture(scope="module")
def made(models, job, tmp_path_factory, requests):
    """A folder with a finished video."""
    folder, sample = tmp_path_factory.mktemp("made"), HeadlessHost.sample

    def recorded(self, request):
        requests.append((request, sample(self, request)))
        return requests[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadlessHost, "sample", recorded)
        assert run(models, job, folder) == 0
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(made, tmp_path / "copied")


def run(models, job, folder, **changes) -> int:
    return main(command(models, job, folder / "video.mp4", **{
        **SETTINGS, "plate": "lock", "overwrite": True, "sample_steps": STEPS, **changes}))


def latents(folder) -> dict[str, torch.Tensor]:
    return {path.name: load_file(path)["samples"] for path in folder.glob("scail2_jobs/*/*.latent.safetensors")}


def test_held_cells_end_at_what_was_filmed_and_free_ones_do_not(made, requests):
    assert len(requests) == 2
    for request, latent in requests:
        lock, history = request.lock, 0 if request.history is None else request.history.shape[2]
        assert lock.history == history
        assert lock.plate.shape == latent.shape
        never = (lock.free == 0).repeat(1, 16, 1, 1, 1)
        assert 0.1 < float(never[:, :, history:].float().mean()) < 0.9
        never[:, :, :history] = False
        distance = (latent - lock.plate).abs() / lock.plate.std()
        assert distance[never].max() < 0.05  # three steps at whole timesteps
        assert distance[(lock.free == 1).expand_as(latent)].mean() > 0.3


def test_the_next_segment_continues_from_people_on_what_was_filmed(job, made):
    (end,) = made.glob("scail2_jobs/*/*.end.safetensors")
    handed_on = load_file(end)["frames"].numpy()
    filmed, far = frames(job["pose"])[4:9] / np.float32(255), far_from_people(job, 5)[4:9]
    assert handed_on.shape == (5, SIZE[1], SIZE[0], 3)
    assert far.mean() > 0.1
    assert np.array_equal(handed_on[far], filmed[far])
    assert not np.allclose(handed_on[~far], filmed[~far], atol=0.05)


def test_outside_of_the_people_every_pixel_is_the_driving_videos(job, made):
    outside = far_from_people(job, 5)
    assert np.array_equal(frames(made / "video.mp4")[outside], frames(job["pose"])[outside])


@pytest.mark.parametrize("changes", [{"plate_grow": 5}, {"plate_person": "measured"}, {"plate": "composite"}])
def test_another_lock_is_another_sampling(models, job, copied, changes):
    before = latents(copied)
    assert run(models, job, copied, **changes) == 0
    assert len(latents(copied).keys() - before.keys()) == 2


def test_without_a_lock_work_of_before_is_found(models, job, tmp_path, monkeypatch):
    assert run(models, job, tmp_path, plate="composite") == 0
    monkeypatch.setattr(HeadlessHost, "sample", None)
    assert run(models, job, tmp_path, plate="off") == 0


@pytest.mark.parametrize("stopped", [2, STEPS + 2])
def test_stopped_it_goes_on_to_the_same_bytes(models, job, made, tmp_path, monkeypatch, stopped):
    step, steps = terminal.Terminal.step, []

    def stop(self, *given):
        steps.append(given)
        if len(steps) == stopped:
            raise KeyboardInterrupt
        step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(terminal.Terminal, "step", stop)
        assert run(models, job, tmp_path) == 130
    assert run(models, job, tmp_path) == 0
    assert (tmp_path / "video.mp4").read_bytes() == (made / "video.mp4").read_bytes()


def test_a_segment_remade_is_the_same_each_time(models, job, copied, tmp_path):
    again = shutil.copytree(copied, tmp_path / "again")
    for folder in (copied, again):
        assert run(models, job, folder, remake="2") == 0
    first, second = latents(copied), latents(again)
    assert len(first) == 3
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_draft_is_locked_too(models, job, copied):
    assert run(models, job, copied, draft=True, plate_person="measured") == 0
    outside = far_from_people(job, 8)
    assert np.array_equal(frames(copied / "video.draft.mp4")[outside], frames(job["pose"])[outside])
