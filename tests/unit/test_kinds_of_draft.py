"""Kinds of videos that drafts are made of: each is a video of half the size with all its frames, or one sentence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from test_generate import command, frames_of

from scail_model.headless.cli import main
from scail_model.video import open_clip
from tests.demo import drawing

SIZE, FRAMES = (64, 128), 10


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Of each mode; and poses of one person as a file."""
    folder = tmp_path_factory.mktemp("files")
    made = {mode: drawing.write_job(folder / mode, SIZE, FRAMES, mode == "replacement", tone=True, back=True,
                                    fps=Fraction(16)) for mode in ("animation", "replacement")}
    joints = np.zeros((FRAMES, 1, 18, 3), np.float32)
    joints[..., :2] = np.random.default_rng(0).normal(0, 300, (1, 1, 18, 2))
    joints[..., 2] = 3000
    np.savez(folder / "poses.npz", joints=joints, size=SIZE[::-1], rate=16.0)
    return made | {"poses": folder / "poses.npz"}


BESIDE = ("half the rate", "boxes, a format without loss", "one frame")  # the full video is made too
PLAN = '[{"segments": 2, "reference": 2, "guidance": 3, "seed": 8, "only": true}]'
KINDS = {
    "history as latents, colours matched, noise by segment": ({
        "history": "latents", "colour_match": "overlap", "noise": "seed per segment"}, FRAMES),
    "half the rate": ({"rate": 8}, FRAMES // 2),
    "a cut, and a segment that is made again": ({"scene_cuts": "4", "remake": "2", "remake_scope": "only these"},
                                                FRAMES),
    "noise levels, and a part of the sampling that is driven": ({"sigmas": "1,0.8,0.6,0.4,0.2,0.1,0",
                                                                 "driving_end": 0.5}, FRAMES),
    "additional pictures as a still video": ({"additional_pictures": "still video", "replace_flag": True}, FRAMES),
    "boxes, a format without loss": ({"driving_background": "bbox", "codec": "lossless"}, FRAMES),
    "one frame": ({"rate": 1.5}, 1),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_draft_of(name, models, files, tmp_path, capsys):
    changes, frames = KINDS[name]
    out = tmp_path / "video.mp4"
    assert make(models, files, out, **changes) == 0, capsys.readouterr().err
    assert frames_of(tmp_path / "video.draft.mp4").shape == (frames, SIZE[1] // 2, SIZE[0] // 2, 3)
    if name not in BESIDE:
        return
    assert make(models, files, out, draft=False, **changes) == 0
    both = open_clip(tmp_path / "video.compare.mp4")  # tall: beside each other
    assert (len(both), both.size) == (frames, (SIZE[1] + 30, 2 * SIZE[0] + 8))


def test_a_draft_of_poses_and_of_references_in_the_plan(models, files, tmp_path, capsys):
    job = files["animation"]
    plan = {"plan": PLAN, "plan_image": job["image"], "plan_mask_image": job["mask_image"], "pose": files["poses"],
            "mask_video": None, "additional_ref_image": None, "additional_ref_mask_image": None}
    assert make(models, files, tmp_path / "video.mp4", **plan) == 0, capsys.readouterr().err
    assert frames_of(tmp_path / "video.draft.mp4").shape == (FRAMES, SIZE[1] // 2, SIZE[0] // 2, 3)


@pytest.mark.parametrize(("changes", "sentence"), [
    pytest.param({"target_w": 60}, "60", id="a size that is wrong is wrong for the draft too"),
    pytest.param({"plan": '[{"segments": 9, "seed": 1}]'}, "segment", id="a plan that is wrong"),
    pytest.param({"save_file": "video.mov"}, "does not end with .mp4", id="another ending"),
])
def test_what_is_refused(models, files, tmp_path, capsys, changes, sentence):
    assert make(models, files, tmp_path / "video.mp4", **changes) != 0
    assert sentence in capsys.readouterr().err


def make(models, files, out, **changes):
    job = files["replacement" if changes.get("replace_flag") else "animation"]
    given = {"target_w": SIZE[0], "target_h": SIZE[1], "draft": True, "sample_steps": 1} | changes
    return main(command(models, job, out, **given))
