"""Kinds of references and of driving people for retargeting: where the people come to stand, or what is said.

Driving video and reference have 96x160 pixels unless told otherwise, a body is about 77 pixels tall, and its place is
the column of its neck. A row's people stand in those columns after retargeting, in the frame that is aligned.
"""

import math
from dataclasses import replace

import pytest
import torch
from drawn_bodies import FOCAL, SIZE, body, box_masks, flat, openpose, openpose_person

from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.poses.detections import project
from scail_model.poses.retarget import retargeted_to
from scail_model.poses.value import Poses, from_smpl

WIDE = (160, 192)
LEFT, RIGHT = (0, 48), (48, 96)
ALONE = [body(30)]
TWO = [body(30), body(70)]


def driving(*frames, **how):
    """Poses of the people in each frame, None where somebody is not there."""
    people = [[torch.zeros(24, 3) if person is None else person for person in frame] for frame in frames]
    return Poses.of(from_smpl(torch.stack([torch.stack(frame) for frame in people])), SIZE, **how)


def changed(person, *joints, value=0.0):
    """A body without some of SMPL's joints, or with others in their place."""
    other = person.clone()
    other[list(joints)] = value
    return other


def dancing(column):
    """A body with knees wide apart and crossed ankles."""
    other = body(column)
    other[[4, 8], 0] += 150
    other[[5, 7], 0] -= 150
    return other


def person(column, *unseen, **how):
    """A person of POSE_KEYPOINT, some of whose 18 points the detector does not see."""
    parts = openpose_person(column, **how)
    points = parts["pose_keypoints_2d"]
    for point in unseen:
        points[3 * point : 3 * point + 3] = [0.0, 0.0, 0.0]
    return parts


def in_shares(column):
    """A person of POSE_KEYPOINT in fractions of width and height."""
    points = torch.tensor(person(column)["pose_keypoints_2d"]).view(-1, 3) / torch.tensor([SIZE[1], SIZE[0], 1])
    return {"pose_keypoints_2d": points.flatten().tolist()}


def bound(*reference, people=2, size=SIZE):
    """Identities whose reference shows people in these columns."""
    picture = [torch.nn.functional.interpolate(mask[None], size)[0] for mask in box_masks(*([c] for c in reference))]
    return bind("animation", from_masks(box_masks(*([c] for c in (LEFT, RIGHT)[:people])), DRIVING),
                [from_masks(picture, REFERENCE)])


KNEES_AND_ANKLES, SMPL_LEGS = (9, 10, 12, 13), (4, 5, 7, 8)
NAN = changed(body(30), 7, value=math.nan)
CAMERA = (90.0, 90.0, 48.0, 80.0)
# name: poses, key points of the reference, size of the picture, identities; and by person the columns, the frame
KINDS = {
    "beside": (driving(ALONE), openpose([person(60)]), SIZE, None, [60], 0),
    "in every frame of a batch": (driving(ALONE), openpose([person(60)], [person(10)]), SIZE, None, [60], 0),
    "one frame that is no list": (driving(ALONE), openpose([person(60)])[0], SIZE, None, [60], 0),
    "key points in 0..1": (driving(ALONE), [{"people": [in_shares(60)]}], SIZE, None, [60], 0),
    "found in an enlarged picture": (driving(ALONE), openpose([person(60, scale=2)], size=(320, 192)), SIZE, None, [60],
                                     0),
    "a picture twice as large": (driving(ALONE), openpose([person(60, scale=2)], size=(320, 192)), (320, 192), None,
                                 [60], 0),
    "a wide picture, cropped at both sides": (driving(ALONE), openpose([person(108)], size=WIDE), WIDE, None, [60], 0),
    "feet out of the picture": (driving(ALONE), openpose([person(60, 10, 13)]), SIZE, None, [60], 0),
    "legs out of the driving video": (driving([changed(body(30), *SMPL_LEGS)]), openpose([person(60)]), SIZE, None,
                                      [60], 0),
    "seen from behind, no face": (driving(ALONE), openpose([person(60, 0, 14, 15, 16, 17)]), SIZE, None, [60], 0),
    "a neck that is not known": (driving([changed(body(30), 12)]), openpose([person(60)]), SIZE, None, None, 0),
    "an ankle that is not a number": (driving([NAN]), openpose([person(60)]), SIZE, None, [60], 0),
    "an ankle after the camera": (driving([changed(body(30), 7, value=-500.0)]), openpose([person(60)]), SIZE, None,
                                  [60], 0),
    "enters late": (driving([None], [None], ALONE), openpose([person(60)]), SIZE, None, [60], 2),
    "enters with an arm": (driving([changed(body(30), *range(18), 20, 22)], ALONE), openpose([person(60)]), SIZE, None,
                           [60], 1),
    "before another camera": (driving(ALONE, camera=CAMERA), openpose([person(60)]), SIZE, None, None, 0),
    "two, each on their own": (driving(TWO), openpose([person(25), person(75)]), SIZE, bound(LEFT, RIGHT), [25, 75], 0),
    "two, listed the other way round": (driving(TWO), openpose([person(75), person(25)]), SIZE, bound(LEFT, RIGHT),
                                        [25, 75], 0),
    "two who change sides": (driving(TWO), openpose([person(25), person(75)]), SIZE, bound(RIGHT, LEFT), [75, 25], 0),
    "two, the second enters late": (driving([body(30), None], TWO), openpose([person(25), person(75)]), SIZE,
                                    bound(LEFT, RIGHT), [25, None], 0),
    "a bystander in the reference": (driving(ALONE), openpose([person(75), person(25)]), SIZE, bound(LEFT, people=1),
                                     [25], 0),
    "somebody the detector missed": (driving(TWO), openpose([person(25)]), SIZE, bound(LEFT, RIGHT), [25, 70], 0),
    "a mask of another size": (driving(TWO), openpose([person(25), person(75)]), SIZE,
                               bound(LEFT, RIGHT, size=(320, 192)), [25, 75], 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_right(kind):
    poses, points, size, identities, columns, frame = KINDS[kind]
    result, fits = retargeted_to(poses, points, size, identities)
    assert fits[0].frame == frame
    assert result.cameras.isfinite().all()
    necks = project(result.joints, result.cameras[:, None].float())[frame, :, 1, 0].tolist()
    for found, wanted in zip(necks, columns or [], strict=columns is not None):
        assert wanted is None or found == pytest.approx(wanted, abs=1.5)


HANDS = {"pose_keypoints_2d": flat([(0, 0)] * 18, 0.0)}
# name: poses, key points, size, identities, what else; and the sentence
REFUSED = {
    "nobody in the picture": (driving(ALONE), openpose([]), SIZE, None, {}, "keypoints show nobody: find them"),
    "two, and who is who": (driving(TWO), openpose([person(25), person(75)]), SIZE, None, {},
                            "who is who .people of the poses: 2, .* 2.: connect the identities"),
    "a bystander, and who is who": (driving(ALONE), openpose([person(25), person(75)]), SIZE, None, {},
                                    "poses: 1, in the reference's keypoints: 2"),
    "key points beside every mask": (driving(ALONE), openpose([person(75)]), SIZE, bound(LEFT, people=1), {},
                                     "Nobody of the poses (.blue.) is among the .* .nobody in a mask.: find"),
    "other people than in the identities": (driving(ALONE, labels=(4,)), openpose([person(25)]), SIZE,
                                            bound(LEFT, people=1), {}, "Nobody of the poses .magenta. .* .blue."),
    "only hands in the picture": (driving(ALONE), openpose([HANDS]), SIZE, None, {}, "shares 3 joints of neck"),
    "a portrait for a driver without a head": (
        driving([changed(body(30), 12, 15, 16, 17, 18, 19)]), openpose([person(60, *KNEES_AND_ANKLES)]), SIZE, None, {},
        "The person blue cannot be retargeted"),
    "nobody in the driving video": (driving([None]), openpose([person(60)]), SIZE, None, {}, "cannot be retargeted"),
    "upside down": (driving([body(30) * torch.tensor([1.0, -1.0, 1.0])]), openpose([person(60)]), SIZE, None, {},
                    r"does not fit the reference .* pixels off in frame 0, \d+% .* or raise error_limit"),
    "masks of another picture": (driving(ALONE), openpose([person(25)]), WIDE, bound(LEFT, people=1), {},
                                 "mask of reference 1"),
    "another pose": (driving([dancing(30)]), openpose([person(60)]), SIZE, None, {"limit": 0.05},
                     "pose more like that frame, or begin .* or raise error_limit"),
    "far too small": (driving([body(30, depth=12000.0)]), openpose([person(60)]), SIZE, None, {"limit": 0.1},
                      "does not fit .*: because m would go beyond a limit, give .* similar size and place, or"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_kinds_that_are_refused(kind):
    poses, points, size, identities, how, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        retargeted_to(poses, points, size, identities, **how)


def test_another_camera_is_kept_in_the_new_one():
    """A detector with its own focal length: the same pixels to begin with, the same pixels in the end."""
    usual, other = driving(ALONE), driving(ALONE, camera=(2 * FOCAL, 2 * FOCAL, 48.0, 80.0))
    far = replace(other, joints=other.joints * torch.tensor([1.0, 1.0, 2.0]))
    reference = openpose([person(60)])
    results = [retargeted_to(poses, reference, SIZE)[0] for poses in (usual, far)]
    pixels = [project(result.joints, result.cameras[:, None].float()) for result in results]
    torch.testing.assert_close(pixels[0], pixels[1], atol=1e-3, rtol=0, equal_nan=True)
