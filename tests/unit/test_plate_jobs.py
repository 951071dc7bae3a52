"""Videos with a plate, from the command line: pixels outside of the people are the driving video's own, and a plate
changes parts alone, so that nothing is sampled again. The networks are tiny and random."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_generate import command

from scail_model.headless import terminal
from scail_model.headless.cli import main
from scail_model.plate import composite
from scail_model.video import open_clip
from tests.demo import drawing

FILMED, MADE, FRAMES = (154, 110), (128, 64), 13  # width, height; two segments of 9 that share 5
SETTINGS = {"target_w": MADE[0], "target_h": MADE[1], "sample_steps": 1, "codec": "lossless", "plate": "composite",
            "plate_person": "driven", "plate_grow": 2, "plate_feather": 2, "replace_flag": True}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), FILMED, FRAMES, replacement=True)


@pytest.fixture(scope="module")
def made(models, job, tmp_path_factory):
    """A folder with a finished video."""
    folder = tmp_path_factory.mktemp("made")
    assert run(models, job, folder) == 0
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be changed."""
    shutil.copytree(made, tmp_path / "copied")
    return tmp_path / "copied"


def run(models, job, folder: Path, **changes) -> int:
    return main(command(models, job, folder / "video.mp4", **{**SETTINGS, "overwrite": True, **changes}))


def frames(path: Path) -> np.ndarray:
    clip = open_clip(path)
    return clip.read(0, len(clip)).numpy()


def far_from_people(job, margin: int) -> np.ndarray:
    """Pixels so far from everybody in blue, bool [T, h, w], by the drawn masks and nothing of ours."""
    blue = frames(job["mask_video"])
    people = ((blue[..., 2] > 127) & (blue[..., 0] < 128)).astype(np.float32)
    grown = torch.nn.functional.max_pool2d(torch.from_numpy(people)[:, None], 2 * margin + 1, 1, margin)[:, 0]
    return grown.numpy() == 0


def test_outside_of_the_people_every_pixel_is_the_driving_videos(job, made):
    filmed, result = frames(job["pose"]), frames(made / "video.mp4")
    assert result.shape == filmed.shape == (FRAMES, FILMED[1], FILMED[0], 3)
    outside = far_from_people(job, 8)  # 4 pixels of the made picture are 5 of the plate
    assert 0.2 < outside.mean() < 0.95
    assert np.array_equal(result[outside], filmed[outside])
    inside = ~far_from_people(job, 0)
    assert np.abs(result[inside].astype(int) - filmed[inside]).mean() > 10
    about = json.loads(next(made.glob("scail2_jobs/*/job.json")).read_text())
    assert about["size"] == "154x110"


def test_inside_is_what_the_video_without_a_plate_shows(models, job, made, tmp_path):
    assert run(models, job, tmp_path, plate="off") == 0
    plain = frames(tmp_path / "video.mp4")
    assert plain.shape == (FRAMES, MADE[1], MADE[0], 3)
    scale = MADE[0] / FILMED[0]
    top = (round(FILMED[1] * scale) - MADE[1]) // 2
    inside, whole = ~far_from_people(job, 0), frames(made / "video.mp4")
    picked = []
    for frame, row, column in np.argwhere(inside)[::7]:
        y, x = round((row + 0.5) * scale - top - 0.5), round((column + 0.5) * scale - 0.5)
        if 2 < y < MADE[1] - 3 and 2 < x < MADE[0] - 3:
            around = plain[frame, y - 2 : y + 3, x - 2 : x + 3].astype(int)
            picked.append((around.min((0, 1)) - 25 <= whole[frame, row, column]).all()
                          and (whole[frame, row, column] <= around.max((0, 1)) + 25).all())
    assert len(picked) > 50
    assert np.mean(picked) > 0.98


@pytest.mark.parametrize("changes", [
    {"plate": "off"}, {"plate_grow": 5}, {"plate_feather": 0}, {"plate_person": "measured"}, {"codec": "h264"}])
def test_another_plate_for_a_finished_video_is_not_sampled_again(models, job, copied, monkeypatch, changes):
    def step(*_):
        raise AssertionError("sampled again")

    before = {path.name for path in copied.glob("scail2_jobs/*/*.mp4")}
    monkeypatch.setattr(terminal.Terminal, "step", step)
    assert run(models, job, copied, **changes) == 0
    (folder,) = copied.glob("scail2_jobs/*/")
    parts = {path.name for path in folder.glob("0*.mp4")}
    assert len(parts - before) == 2  # written anew beside the others
    assert len(list(folder.glob("*.latent.safetensors"))) == 2
    assert run(models, job, copied) == 0  # and the first ones are still there
    assert {path.name for path in folder.glob("0*.mp4")} == parts


def test_stopped_while_a_part_is_written_it_goes_on_to_the_same_bytes(models, job, made, tmp_path, monkeypatch):
    whole, pictures = composite.Composited.pictures, []

    def stop(self, *given):
        for picture in whole(self, *given):
            pictures.append(picture)
            if len(pictures) == 11:  # in the second part
                raise KeyboardInterrupt
            yield picture

    with monkeypatch.context() as patch:
        patch.setattr(composite.Composited, "pictures", stop)
        assert run(models, job, tmp_path) == 130
    assert run(models, job, tmp_path) == 0
    assert (tmp_path / "video.mp4").read_bytes() == (made / "video.mp4").read_bytes()


def test_facts_of_all_frames_are_told_or_none(models, job, copied, capsys):
    """Those of the second part alone would be told of the wrong frames."""
    assert run(models, job, copied) == 0
    assert "of the pixels are as filmed" in capsys.readouterr().out
    next(copied.glob("scail2_jobs/*/0001-*.plate.json")).unlink()
    assert run(models, job, copied) == 0
    assert "of the pixels are as filmed" not in capsys.readouterr().out


def test_frames_that_are_picked_lie_on_their_own_plates(models, job, tmp_path):
    assert run(models, job, tmp_path, rate=8.0) == 0
    result = frames(tmp_path / "video.mp4")
    filmed, outside = (whole[::2][: len(result)] for whole in (frames(job["pose"]), far_from_people(job, 8)))
    assert len(result) == 6
    assert np.array_equal(result[outside], filmed[outside])


def test_a_segment_is_remade_alone(models, job, copied):
    assert run(models, job, copied, remake="2", remake_scope="only these") == 0
    filmed, outside = frames(job["pose"]), far_from_people(job, 8)
    result = frames(copied / "video.mp4")
    assert np.array_equal(result[outside], filmed[outside])


def test_a_draft_has_the_plates_size_too(models, job, copied):
    assert run(models, job, copied, draft=True) == 0
    draft, filmed = frames(copied / "video.draft.mp4"), frames(job["pose"])
    outside = far_from_people(job, 8)
    assert np.array_equal(draft[outside], filmed[outside])


def test_given_masks_of_the_made_people_count_too(models, job, tmp_path):
    """A square in a corner of the made picture, white on black, as a first pass would have made it."""
    square = np.zeros((FRAMES, MADE[1], MADE[0], 3), np.uint8)
    square[:, 8:24, 8:24] = 255
    drawing.write_video(tmp_path / "mask.mp4", [Image.fromarray(frame) for frame in square])
    assert run(models, job, tmp_path, plate_mask=tmp_path / "mask.mp4", plate_grow=0, plate_feather=0) == 0
    result, filmed = frames(tmp_path / "video.mp4"), frames(job["pose"])
    changed = (result != filmed).any(-1) & far_from_people(job, 3)
    scale, top = MADE[0] / FILMED[0], (round(FILMED[1] * MADE[0] / FILMED[0]) - MADE[1]) // 2
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in ((0, 2), (0, 1)))
    expected = [(8 + top) / scale, (24 + top) / scale, 8 / scale, 24 / scale]
    assert [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("masks", "text"), [
    ((FRAMES - 2, MADE, 255), "plate_masks have 11 frames, but the result has 13: make them from a first pass of this "
                              "video."),
    ((FRAMES, (64, 64), 255), "plate_masks have 64x64 pixels, the shape neither of the made picture (128x64) nor of "
                              "the driving video (154x110): make them from a first pass of this video."),
    ((FRAMES, MADE, 0), "plate_masks show nobody: give masks of the made people, in colours or white on black, or "
                        "take them away."),
    (None, "(--plate_mask) does not exist: check the path."),
])
def test_given_masks_that_do_not_fit_are_refused(models, job, tmp_path, capsys, masks, text):
    if masks:
        count, (width, height), white = masks
        picture = np.zeros((height, width, 3), np.uint8)
        picture[8:24, 8:24] = white
        drawing.write_video(tmp_path / "mask.mp4", [Image.fromarray(picture)] * count)
    assert run(models, job, tmp_path, plate_mask=tmp_path / "mask.mp4") == 1
    assert text in capsys.readouterr().err


def changed(folder: Path, job: dict, **clips) -> dict:
    """A job with other driving clips: name of an option -> (size, count, what is done to each picture)."""
    folder.mkdir()
    other = dict(job)
    for name, (count, edit) in clips.items():
        pictures = [Image.fromarray(frame) for frame in frames(job[name])[:count]]
        drawing.write_video(folder / f"{name}.mp4", [edit(number, picture) for number, picture in enumerate(pictures)])
        other[name] = folder / f"{name}.mp4"
    return other


def scaled(width, height):
    return lambda number, picture: picture.resize((width, height), Image.Resampling.NEAREST)


def blank(*numbers):
    return lambda number, picture: Image.new("RGB", picture.size, "white") if number in numbers else picture


@pytest.mark.parametrize(("count", "size", "hidden"), [
    pytest.param(1, FILMED, (), id="one frame"),
    pytest.param(6, FILMED, (), id="a last segment that is padded"),
    pytest.param(9, (155, 111), (), id="odd sides, in a codec that has them"),
    pytest.param(9, (64, 46), (), id="smaller than what is made"),
    pytest.param(9, FILMED, (2, 3, 4, 5), id="nobody in the middle"),
    pytest.param(9, FILMED, tuple(range(6)), id="somebody who enters late"),
])
def test_kinds_of_filmed_videos(models, job, tmp_path, count, size, hidden):
    other = changed(tmp_path / "job", job, pose=(count, scaled(*size)), mask_video=(count, scaled(*size)))
    if hidden:
        other = changed(tmp_path / "hidden", other, mask_video=(count, blank(*hidden)))
    assert run(models, other, tmp_path, plate_person="measured") == 0
    filmed, result = frames(other["pose"]), frames(tmp_path / "video.mp4")
    assert result.shape == filmed.shape
    outside = far_from_people(other, 40 if size == FILMED else 10) if not hidden else np.zeros(filmed.shape[:3], bool)
    outside[list(hidden)] = True  # where nobody is driven, nothing is made
    assert np.array_equal(result[outside], filmed[outside])
    assert (result != filmed).any()


def test_odd_sides_need_a_codec_that_has_them(models, job, tmp_path, capsys):
    other = changed(tmp_path / "job", job, pose=(5, scaled(155, 110)), mask_video=(5, scaled(155, 110)))
    assert run(models, other, tmp_path, codec="h264") == 1
    assert ("The plate, and so the result, has 155x110 pixels, but the codec stores colours at half the size and needs "
            "even sides: set codec to lossless, or crop the driving video by a pixel."
            ) in capsys.readouterr().err


def test_a_video_is_shown_beside_its_draft_at_the_plates_size(models, job, copied):
    assert run(models, job, copied, draft=True) == 0
    assert run(models, job, copied, plate_grow=3) == 0
    (compared,) = copied.glob("*compare*.mp4")
    assert open_clip(compared).width == FILMED[0]
