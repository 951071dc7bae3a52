"""--crop_to_person and --face_pass: the model sees a window, and the file is the whole plate. The networks are tiny and
random."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_generate import command
from test_plate_jobs import far_from_people, frames

from scail_model.headless.cli import main
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_colours
from scail_model.media.clips import TensorClip
from scail_model.media.encoding import Encoding
from scail_model.media.pictures import read_picture
from scail_model.media.video_file import FileClip
from scail_model.plate import composite
from scail_model.plate.edge import Edge
from scail_model.plate.pasting import paste
from scail_model.plate.person_crop import crop_person
from tests.demo import drawing

FILMED, FRAMES = (230, 150), 13  # width, height; two segments of 9 that share 5
SETTINGS = {"target_w": 64, "target_h": 96, "sample_steps": 1, "codec": "lossless", "plate_person": "driven",
            "plate_grow": 2, "plate_feather": 2, "replace_flag": True, "crop_to_person": 1}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), FILMED, FRAMES, replacement=True)


def run(models, job, folder: Path, **changes) -> int:
    return main(command(models, job, folder / "video.mp4", **{**SETTINGS, "overwrite": True, **changes}))


@pytest.fixture(scope="module")
def made(models, job, tmp_path_factory):
    """A folder with a finished video, and the frames that the model made."""
    folder, seen = tmp_path_factory.mktemp("made"), []
    whole = composite.Composited.pictures

    def noting(self, start, stop, tick):
        seen[self.start + start : self.start + stop] = self.made[start:stop].cpu().float()
        return whole(self, start, stop, tick)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composite.Composited, "pictures", noting)
        assert run(models, job, folder) == 0
    return folder, torch.stack(seen)


def test_the_file_is_the_plate_and_the_model_has_seen_the_window(job, made):
    folder, pictures = made
    filmed, result = frames(job["pose"]), frames(folder / "video.mp4")
    assert result.shape == filmed.shape == (FRAMES, FILMED[1], FILMED[0], 3)
    assert pictures.shape == (FRAMES, 96, 64, 3)
    outside = far_from_people(job, 10)
    assert 0.2 < outside.mean() < 0.98
    assert np.array_equal(result[outside], filmed[outside])
    inside = ~far_from_people(job, 0)
    assert np.abs(result[inside].astype(int) - filmed[inside]).mean() > 10
    about = json.loads(next(folder.glob("scail2_jobs/*/job.json")).read_text())
    assert about["size"] == "230x150"


def test_pasting_the_same_frames_gives_the_same_pixels(job, made, tmp_path):
    folder, pictures = made
    clip, masks = FileClip(job["pose"]), FileClip(job["mask_video"], name="driving mask")
    reference = from_colours([read_picture(Path(job["mask_image"]), "mask")], 1, REFERENCE)
    identities = bind("replacement", from_colours(iter(masks), len(masks), DRIVING), [reference])
    crop, *_ = crop_person(clip, identities, 1, (96, 64))
    video = TensorClip(pictures, Fraction(16))
    paste(crop.plate(video, Edge(2, 2)), video, tmp_path / "pasted.mp4", Fraction(16), Encoding("lossless", 0),
          lambda: None)
    ours, theirs = frames(tmp_path / "pasted.mp4").astype(int), frames(folder / "video.mp4").astype(int)
    assert np.abs(ours - theirs).max() <= 1  # a made video in a file has whole levels
    outside = far_from_people(job, 10)
    assert np.array_equal(ours[outside], theirs[outside])


def test_what_is_lost_is_made_again_to_the_bit(models, job, made, tmp_path):
    shutil.copytree(made[0], tmp_path / "copied")
    before = (tmp_path / "copied" / "video.mp4").read_bytes()
    parts = sorted(tmp_path.glob("copied/scail2_jobs/*/0001-*"))
    assert len(parts) >= 3
    for part in parts:
        part.unlink()
    seed = json.loads(next(tmp_path.glob("copied/scail2_jobs/*/job.json")).read_text())["seed"]
    assert run(models, job, tmp_path / "copied", base_seed=seed) == 0
    assert (tmp_path / "copied" / "video.mp4").read_bytes() == before


@pytest.mark.parametrize("changes", [{"crop_to_person": None, "face_pass": True}, {"draft": True, "target_h": 128},
                                     {"crop_margin": 0.5, "rate": 8.0}, {"plate": "lock"}],
                         ids=["face", "draft", "rate", "lock"])
def test_ways_to_crop(models, job, tmp_path, changes):
    assert run(models, job, tmp_path, **changes) == 0
    found = next(tmp_path.glob("*.mp4"))
    assert frames(found).shape[1:3] == FILMED[::-1]


def test_the_check_says_what_the_window_does(models, job, tmp_path, capsys):
    argv = command(models, job, tmp_path / "video.mp4", **{**SETTINGS, "preview": tmp_path / "plate.png"})
    assert main(["check", *argv[1:]]) == 0
    said = capsys.readouterr().out
    assert "times as large" in said
    assert "plate: composite, 230x150" in said
    assert "frames of 230x150 with people made at" in said
    assert (tmp_path / "plate.png").stat().st_size > 1000


def test_a_face_is_cut_out_of_the_person_on_purpose(models, job, tmp_path, capsys):
    argv = command(models, job, tmp_path / "video.mp4", **{**SETTINGS, "crop_to_person": None, "face_pass": True})
    assert main(["check", *argv[1:]]) == 0
    said = capsys.readouterr().out
    assert ", face (estimated from the person's mask):" in said
    assert "ends in a straight line" not in said
    assert "has to be invented" not in said


@pytest.mark.parametrize(("changes", "words"), [
    ({"crop_to_person": 3}, "--crop_to_person is 3, but one person is bound: give 1."),
    ({"replace_flag": False}, "add --replace_flag"),
    ({"crop_to_person": None, "crop_margin": 0.1}, "add --crop_to_person or --face_pass"),
    ({"face_mask": "faces.mp4"}, "add --face_pass, or leave it out"),
    ({"crop_margin": 7.0}, "it must be 0 to 2"),
    ({"face_pass": True, "face_mask": "none.mp4"}, "none.mp4 (--face_mask) does not exist: check the path."),
])
def test_what_cannot_be_is_said_in_one_sentence(models, job, tmp_path, capsys, changes, words):
    assert run(models, job, tmp_path, **changes) != 0
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "colour"), [("white", (255, 255, 255)), ("in colours", (255, 0, 0)),
                                              ("of everybody in one", (255, 255, 255))])
def test_the_face_of_masks_is_that_of_the_person(models, job, tmp_path, capsys, kind, colour):
    """A mask of 20x16 pixels in the person's, in one kind beside another one far from the person."""
    people = frames(job["mask_video"]).min(-1) < 128
    faces = np.zeros((FRAMES, FILMED[1], FILMED[0], 3), np.uint8)
    for face, person in zip(faces, people, strict=True):
        rows, columns = np.nonzero(person)
        face[rows.min() : rows.min() + 16][person[rows.min() : rows.min() + 16]] = colour
        if kind == "of everybody in one":
            there = 20 if columns.mean() > FILMED[0] / 2 else FILMED[0] - 40
            face[100:116, there : there + 20] = colour
    drawing.write_video(tmp_path / "faces.mp4", [Image.fromarray(face) for face in faces])
    argv = command(models, job, tmp_path / "video.mp4", **{
        **SETTINGS, "crop_to_person": None, "face_pass": True, "face_mask": tmp_path / "faces.mp4"})
    assert main(["check", *argv[1:]]) == 0
    said = capsys.readouterr().out
    assert "face (from --face_mask): 16 of 150 pixels high" in said


def test_a_driving_video_is_not_taken_for_masks_of_faces(models, job, tmp_path, capsys):
    assert run(models, job, tmp_path, crop_to_person=None, face_pass=True, face_mask=job["pose"]) == 1
    said = capsys.readouterr().err
    assert "Frame 0 of the face mask contains other colours" in said
    assert "whole_picture" not in said


def test_a_head_alone_is_not_taken_for_a_person_who_is_cut_off(models, job, tmp_path, capsys):
    """Its mask ends at the neck, and the first reference shows a whole person; the close-up has the window's shape."""
    argv = command(models, job, tmp_path / "video.mp4", **{**SETTINGS, "crop_to_person": None, "face_pass": True})
    assert main(["check", *argv[1:], "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    codes = {each["code"] for level in ("warnings", "facts") for each in values[level]}
    assert not codes & {"plate_straight", "uncovered", "scale"}
    assert "reference 2" not in str(values["warnings"])
    assert run(models, job, tmp_path, crop_to_person=None, face_pass=True) == 0
    assert "cut off" not in capsys.readouterr().out


def test_errors_are_reported_where_a_preview_cannot_be_drawn(models, job, tmp_path, capsys):
    picture = tmp_path / "plate.png"
    argv = command(models, job, tmp_path / "video.mp4", **{
        **SETTINGS, "crop_to_person": None, "plate": "composite", "preview": picture, "plate_mask": job["mask_image"]})
    assert main(["check", *argv[1:]]) == 1
    said = capsys.readouterr().out
    assert said.count("plate_masks have ") == 1
    assert "plate.png (--preview) is not drawn, because there are errors" in said
    assert not picture.exists()


@pytest.mark.parametrize(("changes", "words"), [
    ({"preview": "plate.png", "replace_flag": False, "crop_to_person": None}, "--preview shows what is kept of the driv"
                                                                              "ing video, but the mode is animation"),
    ({"preview": "image"}, "(--preview) is one of the pictures that are read: choose another name."),
])
def test_previews_that_cannot_be(models, job, tmp_path, capsys, changes, words):
    before = Path(job["image"]).read_bytes()
    preview = job["image"] if changes["preview"] == "image" else tmp_path / changes["preview"]
    argv = command(models, job, tmp_path / "video.mp4", **{**SETTINGS, **changes, "preview": preview})
    assert main(["check", *argv[1:]]) == 1
    assert words in capsys.readouterr().err
    assert Path(job["image"]).read_bytes() == before
