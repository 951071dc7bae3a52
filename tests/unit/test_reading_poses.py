"""What detectors give -> poses: numbers against calculations by hand, and who is who."""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_bodies import FOCAL, SIZE, body, box_masks, mhr, mhr_person, nlf, openpose, openpose_person

from scail_model.identity.mask_sources import Source, from_masks
from scail_model.media.clips import TensorClip
from scail_model.poses.detections import Detail
from scail_model.poses.keypoints import read_keypoints
from scail_model.poses.mhr import read_mhr
from scail_model.poses.nlf import read_nlf
from scail_model.poses.reading import read_again, read_poses
from scail_model.poses.report import read_report
from scail_model.poses.value import Look, from_smpl

CENTRE = np.array([SIZE[1] / 2, SIZE[0] / 2])
RIGHT_WRIST, LEFT_WRIST = 4, 7
LEFT_HAND, RIGHT_HAND = slice(92, 113), slice(113, 134)


def seen(frames, column=30.0):
    """Bodies of NLF that walk by a pixel a frame."""
    return read_nlf(nlf(*([body(column + frame)] for frame in range(frames))), SIZE)


def columns(poses, person):
    """Where the hips of a person are in each frame, in pixels; NaN where it is not."""
    hips = poses.joints[:, person, [8, 11]].mean(1).double()
    there = hips[:, 2] > 0
    return torch.where(there, hips[:, 0] / hips[:, 2] * FOCAL + CENTRE[0], torch.nan).numpy()


def masks_of(*people, **about):
    return Source(**{**vars(from_masks(box_masks(*people), "driving")), **about})


def test_nlf_joints_are_the_official_ones():
    """SMPL's joints in OpenPose's order, as the official script maps them, before a camera of 55 degrees."""
    poses = read_poses(read_nlf(nlf([body(40.0)]), SIZE))
    joints = poses.joints[0, 0]
    for ours, smpl in {0: 15, 1: 12, 2: 17, 5: 16, 3: 19, 6: 18, 4: 21, 7: 20, 8: 2, 11: 1, 9: 5, 12: 4, 10: 8,
                       13: 7}.items():
        assert torch.equal(joints[ours], body(40.0)[smpl])
    assert not joints[14:].any()
    assert poses.cameras[0].tolist() == pytest.approx([FOCAL, FOCAL, 48, 80])
    assert poses.names == ("blue",)


def by_hand(person):
    """Where the 70 key points of a person of SAM3D Body are in the picture."""
    points = person["pred_keypoints_3d"].astype(np.float64) + person["pred_cam_t"]
    return points[:, :2] / points[:, 2:] * person["focal_length"] + CENTRE


@pytest.mark.parametrize("focals", [(FOCAL, FOCAL), (FOCAL, 2 * FOCAL), (200.0, 120.0)])
def test_sam3d_bodies_project_where_they_did(focals):
    """Whatever the focal lengths: in millimetres before one camera, every joint is at the pixel where it was."""
    people = [mhr_person(30, 3, focals[0]), mhr_person(70, 4, focals[1])]
    bodies = read_mhr(mhr(people, people[:1], people[:1]))
    fx, fy, cx, cy = bodies.camera
    assert (fx, fy, cx, cy) == pytest.approx((focals[0], focals[0], 48, 80))
    for joints, person in zip(bodies.frames[0].double().numpy(), people, strict=True):
        pixels = joints[1:14, :2] / joints[1:14, 2:] * fx + (cx, cy)
        assert np.abs(pixels - by_hand(person)[[69, 6, 8, 41, 5, 7, 62, 10, 12, 14, 9, 11, 13]]).max() < 1e-3
        assert not joints[14:].any()
    assert 2500 < bodies.frames[0][0, 1, 2] < 3500


def test_sam3d_head_is_between_nose_and_spine():
    person = mhr_person()
    points = 1000 * (person["pred_keypoints_3d"].astype(np.float64) + person["pred_cam_t"])
    neck, nose, hips = points[69], points[0], (points[10] + points[9]) / 2
    along = 0.6 * (neck - hips) / np.linalg.norm(neck - hips) + 0.4 * (nose - neck) / np.linalg.norm(nose - neck)
    expected = neck + 0.5 * np.linalg.norm(nose - neck) * along / np.linalg.norm(along)
    assert np.abs(read_mhr(mhr([person])).frames[0][0, 0].numpy() - expected).max() < 1e-3


def test_sam3d_hands_come_with_the_bodies():
    """Wrist first, then each finger from root to tip; the head's points are not known."""
    person = mhr_person()
    poses = read_poses(read_mhr(mhr([person])))
    pixels = by_hand(person)
    left = [62, 45, 44, 43, 42, 49, 48, 47, 46, 53, 52, 51, 50, 57, 56, 55, 54, 61, 60, 59, 58]
    right = [41, 24, 23, 22, 21, 28, 27, 26, 25, 32, 31, 30, 29, 36, 35, 34, 33, 40, 39, 38, 37]
    for places, numbers in ((LEFT_HAND, left), (RIGHT_HAND, right)):
        assert np.abs(poses.points[0, 0, places].numpy() - pixels[numbers]).max() < 1e-3
    assert not poses.scores[0, 0, [0, 14, 15, 16, 17]].any()
    assert poses.scores[0, 0, 92:].all()


def test_people_get_the_colours_and_names_of_their_masks():
    """The order in which NLF lists people changes from frame to frame, and is not that of the masks."""
    frames = [[body(30), body(70)], [body(70), body(30)], [body(70), body(48, 9000), body(30)]]
    masks = masks_of([(60, 80)] * 3, [(20, 40)] * 3, labels=(2, 4), names=("Anna", ""))
    poses = read_poses(read_nlf(nlf(*frames), SIZE), masks=masks)
    assert poses.labels == (2, 4)
    assert poses.names == ("Anna", "magenta")
    assert columns(poses, 0) == pytest.approx([70] * 3, abs=1e-3)
    assert columns(poses, 1) == pytest.approx([30] * 3, abs=1e-3)
    assert "1 bodies in 1 frames lie in no mask" in read_report(poses)


def test_nobody_is_in_an_empty_mask():
    """SAM3D Body invents a body in the whole frame for whoever is not seen."""
    frames = [[body(30), body(70)]] * 2
    poses = read_poses(read_nlf(nlf(*frames), SIZE), masks=masks_of([(20, 40)] * 2, [(60, 80), None]))
    assert columns(poses, 1) == pytest.approx([70, math.nan], abs=1e-3, nan_ok=True)


def test_the_masks_of_sam3d_bodies_are_theirs():
    """Without other masks, the place in a frame's list is the person, and whoever has an empty mask is not there."""
    there, gone = np.ones((*SIZE, 1), np.uint8), np.zeros((*SIZE, 1), np.uint8)
    frames = [[mhr_person(70, mask=there), mhr_person(30, mask=there)],
              [mhr_person(70, mask=there), mhr_person(48, mask=gone)]]
    poses = read_poses(read_mhr(mhr(*frames)))
    assert columns(poses, 0) == pytest.approx([30, math.nan], abs=2, nan_ok=True)
    assert columns(poses, 1) == pytest.approx([70, 70], abs=2)


def test_people_who_cross_keep_their_numbers_without_masks():
    """One walks to the right, the other to the left, so fast that each is next to where the other has been."""
    ways = [(20 + 6 * frame, 77 - 6 * frame) for frame in range(10)]
    frames = [[body(right), body(left)] for right, left in ways]
    poses = read_poses(read_nlf(nlf(*(people[:: 1 if frame % 3 else -1] for frame, people in enumerate(frames))), SIZE))
    assert columns(poses, 0) == pytest.approx([right for right, _ in ways], abs=1e-3)
    assert columns(poses, 1) == pytest.approx([left for _, left in ways], abs=1e-3)


def test_who_enters_late_has_the_next_number():
    frames = [[body(60)]] * 4 + [[body(20), body(60)]] * 4
    poses = read_poses(read_nlf(nlf(*frames), SIZE))
    assert columns(poses, 0) == pytest.approx([60] * 8, abs=1e-3)
    assert columns(poses, 1) == pytest.approx([math.nan] * 4 + [20] * 4, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize(("hold", "expected"), [(0, 0), (2, 2), (3, 5)])
def test_short_gaps_keep_the_last_pose(hold, expected):
    """Gaps of 2 and 3 frames between sightings; after the last one nobody is held."""
    there = [1, 1, 0, 0, 1, 0, 0, 0, 1, 0]
    frames = [[body(40 + frame)] if flag else [] for frame, flag in enumerate(there)]
    poses = read_poses(read_nlf(nlf(*frames), SIZE), hold=hold)
    expected_columns = [40, 41, *([41, 41] if hold >= 2 else [math.nan] * 2), 44,
                        *([44] * 3 if hold >= 3 else [math.nan] * 3), 48, math.nan]
    assert columns(poses, 0) == pytest.approx(expected_columns, abs=1e-3, nan_ok=True)
    assert (f"{expected} missing poses were held" in read_report(poses)) == (expected > 0)


def test_nobody_is_held_where_the_mask_is_empty():
    """Then the person is hidden, not overlooked."""
    frames = [[body(30)], [], [body(30)], [], [body(30)]]
    poses = read_poses(read_nlf(nlf(*frames), SIZE), masks=masks_of([(20, 40), None, (20, 40), (20, 40), (20, 40)]),
                       hold=4)
    assert columns(poses, 0) == pytest.approx([30, math.nan, 30, 30, 30], abs=1e-3, nan_ok=True)


def test_smoothing_does_not_lag_and_does_not_cross_gaps():
    """A steady walk stays where it is, a jump is softened to both sides alike, and a gap separates."""
    straight = read_poses(seen(21), smooth=2.0)
    assert columns(straight, 0)[6:15] == pytest.approx(np.arange(36.0, 45.0), abs=1e-3)
    jump = [[body(30 if frame < 10 else 50)] for frame in range(20)]
    soft = columns(read_poses(read_nlf(nlf(*jump), SIZE), smooth=1.5), 0)
    assert soft + soft[::-1] == pytest.approx(np.full(20, 80.0), abs=1e-3)
    assert 30 < soft[9] < 40 < soft[10] < 50
    jump[10] = []
    apart = columns(read_poses(read_nlf(nlf(*jump), SIZE), smooth=1.5), 0)
    assert apart == pytest.approx([30] * 10 + [math.nan] + [50] * 9, abs=1e-3, nan_ok=True)


def test_unknown_joints_stay_unknown_when_smoothed():
    frames = [[body(30)] for _ in range(5)]
    frames[2][0][21] = 0  # the right wrist
    poses = read_poses(read_nlf(nlf(*frames), SIZE), smooth=1.0)
    assert not poses.joints[2, 0, RIGHT_WRIST].any()
    assert poses.joints[3, 0, RIGHT_WRIST].tolist() == pytest.approx(body(30)[21].tolist(), abs=1e-2)


def test_poses_have_the_size_of_the_driving_video():
    """SAM3D Body has seen pictures of half the size."""
    clip = TensorClip(torch.zeros(1, 320, 192, 3, dtype=torch.uint8))
    person = mhr_person(30)
    poses = read_poses(read_mhr(mhr([person])), filmed=clip)
    assert poses.size == (320, 192)
    fx, fy, cx, cy = poses.cameras[0].tolist()
    neck = poses.joints[0, 0, 1].double().numpy()
    assert neck[:2] / neck[2] * (fx, fy) + (cx, cy) == pytest.approx(2 * by_hand(person)[69], abs=1e-2)
    assert poses.points[0, 0, 92].numpy() == pytest.approx(2 * by_hand(person)[62], abs=1e-2)


@pytest.mark.parametrize("masks", [None, masks_of([(20, 40)] * 2, [(60, 80)] * 2)])
def test_detail_goes_to_the_same_people(masks):
    """The detector of points lists people in another order, and finds one more."""
    detail = read_keypoints(openpose([openpose_person(70), openpose_person(30)],
                                     [openpose_person(10), openpose_person(30), openpose_person(70)]), SIZE)
    poses = read_poses(read_nlf(nlf(*[[body(30), body(70)]] * 2), SIZE), detail, masks)
    for person, column in enumerate((30, 70)):
        face = poses.points[:, person, 24:92, 0].mean(-1)
        assert face.tolist() == pytest.approx([column + 33.5 / 34] * 2, abs=1e-3)
        assert poses.scores[:, person, 24:92].all()
        assert poses.points[0, person, LEFT_HAND][0, 0] > column > poses.points[0, person, RIGHT_HAND][0, 0]


def test_poses_are_read_again_with_other_settings():
    """Everybody stays who they are, with look and mesh; with masks they are matched anew, detail included."""
    frames = [[mhr_person(30), mhr_person(70)], [mhr_person(30)], [mhr_person(30), mhr_person(70)]]
    data = mhr(*frames)
    data["faces"] = np.zeros((1, 3), np.int64)
    for person in (person for people in frames for person in people):
        person["pred_vertices"] = np.zeros((3, 3), np.float32)
    poses = replace(read_poses(read_mhr(data)), look=Look(face=False), labels=(2, 5), names=("Anna", "Ben"),
                    rate=Fraction(24))
    again = read_again(poses, hold=1)
    for name in ("labels", "names", "look", "rate"):
        assert getattr(again, name) == getattr(poses, name)
    assert again.mesh is poses.mesh
    assert torch.equal(again.joints[1, 1], poses.joints[0, 1])
    assert torch.equal(again.joints[[0, 2]], poses.joints[[0, 2]])
    assert torch.equal(again.points[0], poses.points[0])
    matched = read_again(poses, masks=masks_of([(60, 80)] * 3, [(20, 40)] * 3))
    assert matched.labels == (1, 2)
    assert torch.equal(matched.joints, poses.joints.flip(1))
    assert torch.equal(matched.points, poses.points.flip(1))
    with pytest.raises(ValueError, match="have been retargeted, so that each person has a camera of its own"):
        read_again(replace(poses, cameras=poses.cameras * torch.tensor([[1.0], [2.0]])))


def test_a_held_body_keeps_its_mesh():
    frames = [[mhr_person(30)], [], [mhr_person(32)]]
    data = mhr(*frames)
    data["faces"] = np.zeros((1, 3), np.int64)
    for shift, person in enumerate(person for people in frames for person in people):
        person["pred_vertices"] = np.full((3, 3), 0.1 * shift, np.float32)
    twice_as_large = TensorClip(torch.zeros(3, 320, 192, 3, dtype=torch.uint8))
    bare, held = (read_poses(read_mhr(data), filmed=twice_as_large, hold=hold).mesh for hold in (0, 1))
    assert bare.vertices(1) == [None]
    assert torch.equal(held.vertices(1)[0], held.vertices(0)[0])
    person = frames[2][0]
    expected = 1000 * (person["pred_vertices"].astype(np.float64) + person["pred_cam_t"])
    assert np.abs(held.vertices(2)[0].numpy() - expected).max() < 1e-2


@pytest.mark.parametrize("case", ["P3_03_two_order_flips", "P3_07_one_no_3d_then_no_2d"])
def test_golden_people_are_found_in_their_masks(case):
    """The official script's clips, its detectors' lists shuffled: bodies and points are those of the right tracks."""
    stored = np.load(Path(__file__).parents[1] / f"golden/poses/{case}.npz")
    tracks, joints = torch.from_numpy(stored["track_masks"]), torch.from_numpy(stored["joints"])
    size, people = tuple(tracks.shape[2:]), len(tracks)
    listed = [[person for person in frame.flip(0) if person.any()] for frame in joints]
    rows = [np.flatnonzero(stored["frame"] == frame) for frame in range(len(joints))]
    detail = Detail(tuple((torch.from_numpy(stored["kp134"][row]).float(), torch.from_numpy(stored["score134"][row])
                           .float()) for row in rows), size)
    poses = read_poses(read_nlf(nlf(*listed), size), detail, from_masks(list(tracks.float()), "driving"))
    assert torch.equal(poses.joints, from_smpl(joints))
    for frame, row in enumerate(rows):
        for person in range(people):
            own = stored["kp134"][row][stored["person"][row] == person].astype(np.float32)
            expected = own[0] if len(own) else np.zeros((134, 2), np.float32)
            assert np.array_equal(poses.points[frame, person].numpy(), expected)


def test_detail_of_somebody_else_is_left_out():
    """Without masks, points have to lie on the body."""
    detail = read_keypoints(openpose([openpose_person(70)], [openpose_person(33)]), SIZE)
    poses = read_poses(read_nlf(nlf([body(30)], [body(30)]), SIZE), detail)
    assert (poses.scores[:, 0] > 0).any(-1).tolist() == [False, True]


def test_the_body_says_whose_face_it_is():
    """The face of the one in front of the other's mask: far more points than the body has."""
    points, scores = torch.zeros(1, 134, 2), torch.ones(1, 134)
    points[0, :18], points[0, 18:] = torch.tensor([30.0, 80.0]), torch.tensor([70.0, 80.0])
    masks = masks_of([(20, 40)], [(60, 80)])
    poses = read_poses(read_nlf(nlf([body(30), body(70)]), SIZE), Detail(((points, scores),), SIZE), masks)
    assert (poses.scores[0] > 0).any(-1).tolist() == [True, False]
