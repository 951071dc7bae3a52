"""`scail2 prepare animation` with poses: skeletons and their masks in the reference's colours, whoever found them."""

from __future__ import annotations

import json
import shlex
import sys
import types

import av
import numpy as np
import pytest
import torch
from drawn_bodies import SIZE, body, openpose, openpose_person
from examples import BLACK, BLUE, GREEN, RED, painted, read_codes, read_frames, write_reference, write_video
from test_nlf_model import Brightest, saved

from scail_model.headless.cli import main
from scail_model.poses import render_skeleton
from scail_model.poses.poses_file import save_poses
from scail_model.poses.value import Poses, from_smpl
from tests.demo import small_models

FRAMES = 6
COLUMNS = {"left": 24, "right": 70}  # in frame 0; one pixel further in each frame
CODES = {BLACK: 0, RED: 1, GREEN: 2, BLUE: 4}


def joints(*sides) -> torch.Tensor:
    """float32 [T, P, 24, 3] of people of COLUMNS."""
    return torch.stack([torch.stack([body(COLUMNS[side] + frame) for side in sides]) for frame in range(FRAMES)])


def boxes(*sides) -> np.ndarray:
    """Masks of the same people, bool [P, T, H, W]."""
    masks = np.zeros((len(sides), FRAMES, *SIZE), bool)
    for mask, side in zip(masks, sides, strict=True):
        for frame in range(FRAMES):
            mask[frame, 10:150, COLUMNS[side] + frame - 18 : COLUMNS[side] + frame + 18] = True
    return masks


@pytest.fixture
def folder(tmp_path):
    """Two people, whose masks are red on the left and green on the right; one reference, in blue, on the right."""
    made = tmp_path / "folder"
    made.mkdir()
    masks = boxes("left", "right")
    write_video(made / "driving.mp4", painted(masks, [(200, 180, 160), (120, 130, 140)], (40, 50, 60)), tone=True)
    write_video(made / "driving_mask.mp4", painted(masks, [RED, GREEN]))
    write_reference(made, [(60, 10, 90, 150)], [BLUE], size=SIZE)
    return made


def prepare(folder, *flags):
    return main(["prepare", "animation", "--subdir", str(folder), *map(str, flags)])


def check(folder, sides, colours):
    """The skeletons as the renderer has them, and each person's mask where the skeleton is."""
    expected = render_skeleton(joints(*sides), *SIZE).numpy()
    shown, masks = read_frames(folder / "rendered_v2.mp4"), read_frames(folder / "rendered_mask_v2.mp4")
    assert shown.shape == masks.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 3
    found = read_codes(masks, SIZE, halved=False)
    everybody = np.zeros(found.shape, bool)
    for side, colour in zip(sides, colours, strict=True):
        silhouette = render_skeleton(joints(side), *SIZE).numpy().any(-1)
        assert (found[silhouette] == CODES[colour]).all()
        assert (found[boxes(side)[0] & ~silhouette] == CODES[BLACK]).all()
        assert (found[~boxes(side)[0]] != CODES[colour]).mean() > 0.99
        everybody |= found == CODES[colour]
    assert not set(np.unique(found[boxes("left")[0] | boxes("right")[0]])) - {0, *(CODES[colour] for colour in colours)}


def save_plain(folder, *sides, **more):
    np.savez(folder / "poses.npz", joints=joints(*sides).numpy(), **more)
    return "poses.npz"


@pytest.mark.parametrize("sides", [("left", "right"), ("right", "left")], ids=["in order", "the other way round"])
def test_the_nearest_person_drives_the_reference_in_its_colour(folder, capsys, sides):
    """Whatever the order of the detector and the colours of the masks: the one on the right, in blue."""
    assert prepare(folder, "--poses", save_plain(folder, *sides)) == 0
    check(folder, ["right"], [BLUE])
    out = capsys.readouterr().out
    assert "bound 1:3 (reference:driving), by the nearest centre in the first frame" in out
    assert "wrote rendered_v2.mp4, rendered_mask_v2.mp4, ref_mask.jpg (6 frames of 96x160; blue)" in out
    with av.open(str(folder / "rendered_v2.mp4")) as container:
        assert container.streams.audio
        assert container.streams.video[0].average_rate == 16


def test_two_people_in_the_colours_of_the_reference(folder):
    write_reference(folder, [(6, 10, 40, 150), (56, 10, 90, 150)], [RED, BLUE], size=SIZE)
    assert prepare(folder, "--poses", save_plain(folder, "right", "left"), "--binding", "1:3, 2:2") == 0
    # in the order of colours, which decides the palette of the skeletons: blue first
    check(folder, ["right", "left"], [BLUE, RED])


@pytest.mark.parametrize("named", [False, True])
def test_poses_without_masks(folder, named):
    """Of the own form they know who is who, whatever masks lie there; of another, a place for each is enough."""
    name = save_plain(folder, "left", "right")
    if named:
        poses = Poses.of(from_smpl(joints("left", "right")), SIZE, labels=(3, 6))
        save_poses(poses, folder / "poses.safetensors")
        name = "poses.safetensors"
    else:
        (folder / "driving_mask.mp4").unlink()
    assert prepare(folder, "--poses", name) == 0
    check(folder, ["right"], [BLUE])


def test_nlf_is_run_over_the_video(folder, monkeypatch, tmp_path):
    """With a tiny file in its place, which finds a body at each bright column of what is not painted green."""
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    video = np.zeros((FRAMES, *SIZE, 3), np.uint8)
    for frame in range(FRAMES):
        video[frame, :, [COLUMNS["left"] + frame, COLUMNS["right"] + frame]] = 255
    write_video(folder / "driving.mp4", video)
    write_video(folder / "driving_mask.mp4", painted(boxes("left", "right"), [RED, GREEN]) * (np.arange(160) < 150)[
        None, :, None, None].astype(np.uint8))
    model = saved(tmp_path, Brightest())
    masks = boxes("left", "right")
    masks[:, :, :10] = True  # the tiny detector looks at the first row
    masks[0, :, :10, 47:] = masks[1, :, :10, :47] = False
    write_video(folder / "driving_mask.mp4", painted(masks, [RED, GREEN]))
    assert prepare(folder, "--model_path", model) == 0
    found = read_codes(read_frames(folder / "rendered_mask_v2.mp4"), SIZE, halved=False)
    for frame in range(FRAMES):
        columns = np.flatnonzero((found[frame] == CODES[BLUE]).any(0))
        assert abs(columns.mean() - COLUMNS["right"] - frame) < 2
    assert set(np.unique(found)) <= {0, CODES[BLUE]}


def test_detail_and_retargeting(folder, capsys):
    frames = [[openpose_person(COLUMNS["left"] + frame), openpose_person(COLUMNS["right"] + frame)]
              for frame in range(FRAMES)]
    (folder / "points.json").write_text(json.dumps(openpose(*frames)))
    name = save_plain(folder, "left", "right")
    assert prepare(folder, "--poses", name) == 0
    plain = read_frames(folder / "rendered_v2.mp4").astype(int)
    assert prepare(folder, "--poses", name, "--detail", "points.json", "--overwrite") == 0
    drawn = read_frames(folder / "rendered_v2.mp4").astype(int)
    assert (np.abs(drawn - plain).max(-1) > 100).any((1, 2)).all()  # hands and cheeks in every frame
    # the reference's person is as large, and 5 pixels further on the right
    (folder / "reference.json").write_text(json.dumps(openpose([openpose_person(COLUMNS["right"] + 5)])))
    assert prepare(folder, "--poses", name, "--retarget", "reference.json", "--overwrite") == 0
    moved = read_codes(read_frames(folder / "rendered_mask_v2.mp4"), SIZE, halved=False) == CODES[BLUE]
    for frame in range(FRAMES):
        assert abs(np.flatnonzero(moved[frame].any(0)).mean() - COLUMNS["right"] - 5 - frame) < 2
    assert "blue" in capsys.readouterr().out


def test_generate_reads_what_was_prepared(folder, tmp_path, capsys):
    small_models.write_encoders(tmp_path / "encoders")
    small_models.write_transformer(tmp_path / "transformer.safetensors")
    assert prepare(folder, "--poses", save_plain(folder, "left", "right")) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "next: " in line)
    words = shlex.split(line.split("next: ")[1])[1:]
    words[words.index("--ckpt_dir") + 1] = str(tmp_path / "encoders")
    words += ["--scail_path", str(tmp_path / "transformer.safetensors"), "--target_w", "64", "--target_h", "96",
              "--sample_steps", "1", "--save_file", str(tmp_path / "out.mp4")]
    assert main(words) == 0
    assert len(read_frames(tmp_path / "out.mp4")) == FRAMES


@pytest.mark.parametrize(("flags", "said"), [
    ((), "Animation without --e2e_mode needs poses: give poses in a file with --poses, or NLF's own file"),
    (("--poses", "a.npz", "--nlf", "b"), "--poses and --nlf are both given"),
    (("--poses", "gone.npz"), "gone.npz (--poses) is neither in FOLDER nor here"),
    (("--e2e_mode", "--poses", "poses.npz"), "--e2e_mode shows the model the driving video itself, but --poses is for"),
    (("--e2e_mode", "--hold", "0"), "but --hold is for poses: leave one of them out."),
    (("--poses", "poses.npz", "--error_limit", "1"), "--error_limit is for --retarget, which is missing"),
    (("--poses", "poses.npz", "--retarget", "upside_down.json", "--error_limit", "0.02"), "and at most 2% is allowed"),
    (("--poses", "poses.npz", "--crop_e2e_mask"), "A crop is of the driving video itself, but --e2e_mode is missing"),
    (("--poses", "poses.npz", "--hold", "-1"), "hold is -1 (--hold), but it must be 0 to 1000"),
    (("--poses", "poses.npz", "--smooth", "nan"), "smooth is nan (--smooth), but it must be 0 to 20"),
    (("--poses", "short.npz"), "The poses have 5 frames, but the masks have 6: make both from the same frames."),
    (("--poses", "driving.mp4"), "driving.mp4 is not a file of poses"),
    (("--poses", "poses.npz", "--retarget", "driving.mp4"), "cannot be read as JSON"),
    (("--poses", "poses.npz", "--retarget", "video.json"), "video.json (--retarget) has key points of 2 pictures, but"),
    (("--nlf", "driving.mp4"), "driving.mp4 cannot be loaded as a torchscript file (PytorchStreamReader failed"),
    (("--nlf", "gone"), "gone is not a file, but should be NLF's torchscript file: check the path."),
    (("--poses", "nobody.npz"), "The poses show no body in any frame"),
    (("--poses", "far.npz"), "Everybody in the poses is outside of the picture of 96x160 pixels"),
])
def test_one_sentence(folder, capsys, monkeypatch, flags, said):
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.chdir(folder)
    save_plain(folder, "left", "right")
    np.savez(folder / "short.npz", joints=joints("left", "right").numpy()[:5])
    np.savez(folder / "nobody.npz", joints=np.zeros((FRAMES, 1, 24, 3)))
    np.savez(folder / "far.npz", joints=joints("left", "right").numpy() + [50_000, 0, 0])
    person = openpose_person(COLUMNS["right"])
    person["pose_keypoints_2d"][1::3] = [SIZE[0] - 1 - y for y in person["pose_keypoints_2d"][1::3]]
    (folder / "upside_down.json").write_text(json.dumps(openpose([person])))
    (folder / "video.json").write_text(json.dumps(openpose([openpose_person()], [openpose_person()])))
    before = {path.name for path in folder.iterdir()}
    assert prepare(folder, *flags) == 1
    err = capsys.readouterr().err.replace(str(folder), "FOLDER")
    assert said in err
    assert err.startswith("scail2: ")
    assert err.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == before


def test_nlf_is_not_needed_end_to_end(folder, capsys):
    assert prepare(folder, "--e2e_mode", "--model_path", "gone", "--binding", "1:3") == 0
    assert capsys.readouterr().err == "--nlf (--model_path) names the model of NLF, which --e2e_mode does not need.\n"
