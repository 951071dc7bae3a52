"""Retargeting: golden cases of v1's alignment, several people, references of other sizes, half-seen people."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scail_model.geometry import cover_crop
from scail_model.poses.retarget import reference_points, retargeted
from scail_model.poses.value import FACE, LEFT_HAND, RIGHT_HAND, Poses, from_smpl

CASES = sorted((Path(__file__).parents[1] / "golden" / "poses").glob("P4_*.npz"))
FEET, BODY = CASES[0], CASES[1]


def loaded(path):
    """(golden arrays, poses of the driving video, points and scores of the reference)."""
    golden = np.load(path)
    info = json.loads(str(golden["info"]))
    poses = Poses.of(from_smpl(torch.from_numpy(golden["joints"])[:, None]), (info["height"], info["width"]))
    poses = replace(poses, points=torch.from_numpy(golden["drive_kp134"])[:, None],
                    scores=torch.from_numpy(golden["drive_score134"])[:, None])
    return golden, poses, torch.from_numpy(golden["ref_kp134"]), torch.from_numpy(golden["ref_score134"])


def projected(joints, camera):
    return (joints[..., :2] / joints[..., 2:] * camera[:2] + camera[2:]).double().numpy()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_meets_the_golden_cases(path):
    golden, poses, points, scores = loaded(path)
    moved, (fit,) = retargeted(poses, points, scores, poses.size)
    assert np.abs(projected(poses.joints[0, 0, :14], moved.cameras[0]) - golden["projected_exact"]).max() < 1e-3
    assert fit.face == pytest.approx(golden["scale_face"][0], abs=1e-6)
    fractions = moved.points[:, 0].double() / torch.tensor(poses.size[::-1])
    seen = poses.scores[:, 0] >= 0.3
    for part, expected in ((slice(0, 24), golden["after_candidate"]), (FACE, golden["after_faces"]),
                           (LEFT_HAND, golden["after_hands"][:, 0]), (RIGHT_HAND, golden["after_hands"][:, 1])):
        gap = (fractions[:, part] - torch.from_numpy(expected)).abs().amax(-1)
        assert gap[seen[:, part]].max() < 1e-5
    assert torch.equal(moved.joints, poses.joints)


def test_invisible_points_of_a_face_do_not_count():
    _, poses, points, scores = loaded(FEET)
    scores = scores.clone()
    before = retargeted(poses, points, scores, poses.size)[1][0].face
    hidden = points.clone()
    hidden[:, FACE][:, :5] = -1  # as detectors write points that they do not see
    scores[:, FACE][:, :5] = 0
    assert retargeted(poses, hidden, scores, poses.size)[1][0].face == pytest.approx(before, rel=0.05)
    scores[:, FACE] = 0
    assert retargeted(poses, hidden, scores, poses.size)[1][0].face == 1


@pytest.mark.parametrize("size", [(720, 1280), (1000, 600), (300, 1500), (512, 896)], ids=lambda size: f"{size[1]}px")
def test_a_reference_of_another_size_is_cropped_as_the_picture_is(size):
    """A dot painted into the picture comes to lie where its coordinates do."""
    _, poses, _, _ = loaded(FEET)  # 512x896
    picture = torch.zeros(1, 3, *size)
    y, x = size[0] // 2 + 20, size[1] // 2 - 30
    picture[:, :, y - 4 : y + 4, x - 4 : x + 4] = 1
    cropped = cover_crop(picture, *poses.size)[0, 0].clamp(min=0).double()
    rows, columns = torch.arange(512) + 0.5, torch.arange(896) + 0.5
    found = torch.stack([(cropped.sum(0) * columns).sum(), (cropped.sum(1) * rows).sum()]) / cropped.sum()
    assert torch.allclose(reference_points(torch.tensor([[x, y]]).float(), size, poses, None)[0], found, atol=0.05)


def test_another_size_of_the_reference_changes_nothing():
    """Complaint of users of other packs: people stand beside the reference if it has another size."""
    _, poses, points, scores = loaded(FEET)
    plain = retargeted(poses, points, scores, poses.size)[0]
    enlarged = retargeted(poses, points * 2, scores, (1024, 1792))[0]
    assert torch.allclose(plain.cameras, enlarged.cameras, atol=1e-3)
    bordered = points + torch.tensor([0.0, 100.0])  # 100 rows more above and below: cropped away
    assert torch.allclose(plain.cameras, retargeted(poses, bordered, scores, (712, 896))[0].cameras, atol=1e-3)


def test_the_result_may_have_another_shape_than_the_driving_video():
    """Seen in the result, the first frame stands on the cropped reference, whatever was cropped from the driving."""
    _, poses, points, scores = loaded(FEET)
    result = (512, 512)
    wide = retargeted(poses, points, scores, poses.size, result=result)[0]
    assert torch.allclose(wide.cameras, retargeted(poses, points, scores, poses.size)[0].cameras, atol=1e-3)
    square = points - torch.tensor([192.0, 0.0])  # the middle of the reference, cut out by hand
    assert torch.allclose(wide.cameras, retargeted(poses, square, scores, (512, 512), result=result)[0].cameras,
                          atol=1e-3)


def two_people():
    """The golden person, and one who stands beside; references swapped: each moves to the other's place."""
    _, poses, points, scores = loaded(FEET)
    beside = poses.joints.clone()
    beside[..., 0] += (beside != 0).any(-1) * 600.0
    both = Poses.of(torch.cat([poses.joints, beside], 1), poses.size, labels=(2, 5))
    return both, torch.cat([points, points + torch.tensor([-90.0, 0.0])]), scores.repeat(2, 1)


def test_each_of_several_people_follows_their_own_reference():
    poses, points, scores = two_people()
    one, fits = retargeted(poses, points, scores, poses.size, labels=(5, 2))
    other, _ = retargeted(poses, points.flip(0), scores, poses.size, labels=(2, 5))
    assert torch.allclose(one.cameras, other.cameras)
    assert [fit.person for fit in fits] == [0, 1]
    for person, reference in ((0, 1), (1, 0)):
        alone = retargeted(poses.select([person]), points[[reference]], scores[[reference]], poses.size)[0]
        assert torch.allclose(one.cameras[person], alone.cameras[0])


def test_who_is_not_in_the_reference_stays():
    poses, points, scores = two_people()
    moved, fits = retargeted(poses, points[:1], scores[:1], poses.size, labels=(5,))
    assert [fit.person for fit in fits] == [1]
    assert torch.equal(moved.cameras[0], poses.cameras[0])
    assert moved.notes[-1] == "red: not in the reference's keypoints, so left in place"


def unseen(scores, *points):
    changed = scores.clone()
    changed[..., list(points)] = 0
    return changed


def test_a_missing_joint_does_not_drop_its_hand_back():
    """A frame without a wrist in 3D: the hand moves as the picture does, not jumping to its old place."""
    _, poses, points, scores = loaded(FEET)
    blind = poses.joints.clone()
    blind[1, :, [0, 4, 7]] = 0
    whole = retargeted(poses, points, scores, poses.size)[0].points[1, 0]
    gapped = retargeted(replace(poses, joints=blind), points, scores, poses.size)[0].points[1, 0]
    hands = slice(LEFT_HAND.start, RIGHT_HAND.stop)
    assert (whole[hands] - gapped[hands]).abs().max() < 6
    assert (poses.points[1, 0][hands] - gapped[hands]).abs().max() > 20


def test_refuses_in_one_sentence():
    _, poses, points, scores = loaded(FEET)
    two, two_points, two_scores = two_people()
    for arguments, message in (
        ((poses, points, unseen(scores, *range(18))),
         "The person blue cannot be retargeted, because no frame shares 3 joints"),
        ((two, two_points, two_scores), "who is who .* of the poses: 2, in the reference's keypoints: 2.: connect"),
        ((poses, points[:0], scores[:0]), "keypoints show nobody: find them"),
    ):
        with pytest.raises(ValueError, match=message):
            retargeted(*arguments, poses.size)
    with pytest.raises(ValueError, match=r"Nobody of the poses \(red, cyan\) is among the .* keypoints \(green\)"):
        retargeted(two, two_points[:1], two_scores[:1], poses.size, labels=(3,))
    with pytest.raises(ValueError, match=r"does not fit the reference .* \d+ pixels off in frame 0, \d+% of .* 1% "):
        retargeted(*loaded(BODY)[1:], loaded(BODY)[1].size, limit=0.01)


def test_limits_are_said():
    _, poses, points, scores = loaded(CASES[2])
    assert "at a limit: m, s (" in retargeted(poses, points, scores, poses.size)[0].notes[-1]
    _, poses, points, scores = loaded(FEET)
    assert "limit" not in retargeted(poses, points, scores, poses.size)[0].notes[-1]
