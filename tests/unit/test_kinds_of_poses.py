"""Kinds of poses as detectors and packs give them: the bodies and points that are read, or the sentence that is said.

Pictures of 96x160 pixels; a body's hips are at the column that a row expects in each frame, None where it is not there.
"""

import math

import numpy as np
import pytest
import torch
from drawn_bodies import FOCAL, SIZE, body, box_masks, mhr, mhr_person, nlf, openpose, openpose_person

from scail_model.identity.mask_sources import from_masks
from scail_model.media.clips import TensorClip
from scail_model.poses.detections import project
from scail_model.poses.keypoints import read_keypoints
from scail_model.poses.mhr import read_mhr
from scail_model.poses.nlf import read_nlf
from scail_model.poses.reading import read_poses

ONE = body(30)
TWO = torch.stack([body(30), body(70)])
LOST = body(30)
LOST[21] = math.nan  # the right wrist
WRISTS = body(30)
WRISTS[[4, 5, 7, 8, 10, 11]] = 0  # knees and below
NONE = torch.zeros(0, 24, 3)


def places(poses):
    """By person and frame, the column of the body's neck."""
    pixels = project(poses.joints, poses.cameras[:, None].float())[:, :, 1, 0].T
    return [[None if math.isnan(x) else round(float(x)) for x in person] for person in pixels]


# what NLF's answer is: the answer, and by person and frame the columns
NLF = {
    "as NLF Predict gives it": (nlf([ONE], [], list(TWO)), [[30, None, 30], [None, None, 70]]),
    "without the list around the frames": ({"joints3d_nonparam": [ONE[None], NONE, ONE[None]]}, [[30, None, 30]]),
    "in batches": ({"joints3d_nonparam": [[ONE[None], ONE[None]], [ONE[None]]]}, [[30] * 3]),
    "a tensor of one person": ({"joints3d_nonparam": torch.stack([ONE] * 3)}, [[30] * 3]),
    "a tensor of several people": ({"joints3d_nonparam": torch.stack([TWO] * 3)}, [[30] * 3, [70] * 3]),
    "a tensor in a list": ({"joints3d_nonparam": [torch.stack([TWO] * 3)]}, [[30] * 3, [70] * 3]),
    "no dimension for people": ({"joints3d_nonparam": [[ONE, ONE]]}, [[30, 30]]),
    "a list of people in each frame": ({"joints3d_nonparam": [[ONE], [*TWO], []]}, [[30, 30, None], [None, 70, None]]),
    "a bare list, without a name": ([ONE[None], ONE[None]], [[30, 30]]),
    "a numpy array without a name": (torch.stack([ONE, ONE]).numpy(), [[30, 30]]),
    "numbers in lists": ({"joints3d_nonparam": [[[ONE.tolist()], TWO.tolist()]]}, [[30, 30], [None, 70]]),
    "half precision": ({"joints3d_nonparam": [[ONE[None].double()], [ONE[None].double()]]}, [[30, 30]]),
    "None for a frame of nobody": ({"joints3d_nonparam": [[None, ONE[None]]]}, [[None, 30]]),
    "None for a batch of frames": ({"joints3d_nonparam": [None, [ONE[None]]]}, [[30]]),
    "None among people as numbers": ({"joints3d_nonparam": [[[ONE.tolist(), None], [ONE.tolist()]]]}, [[30, 30]]),
    "tuples instead of lists": ({"joints3d_nonparam": ((ONE[None], (ONE,)),)}, [[30, 30]]),
    "tensors with gradients": ({"joints3d_nonparam": [[ONE[None].clone().requires_grad_()]]}, [[30]]),
    "an empty tensor of no shape": ({"joints3d_nonparam": [[torch.zeros(0), ONE[None]]]}, [[None, 30]]),
    "more than joints in it": ({"boxes": [], **nlf([ONE])}, [[30]]),
    "joints of the body model only": ({"joints3d": [[ONE[None]]]}, [[30]]),
    "SMPL without hands": ({"joints3d_nonparam": [[ONE[None, :22]]]}, [[30]]),
    "SMPL-X": ({"joints3d_nonparam": [[torch.cat((ONE, torch.zeros(31, 3)))[None]]]}, [[30]]),
    "a person of zeros": (nlf([torch.zeros(24, 3), ONE]), [[30]]),
    "a joint that is not a number": (nlf([LOST]), [[30]]),
    "a person that is not a number": (nlf([torch.full((24, 3), math.nan), ONE]), [[30]]),
    "legs that are not known": (nlf([WRISTS]), [[30]]),
    "half a body, the rest out of the picture": (nlf([body(30) + torch.tensor([0.0, 700.0, 0.0])]), [[30]]),
    "partly behind the camera": (nlf([body(30) - torch.tensor([0.0, 0.0, 100.0]) * (torch.arange(24) == 21)[:, None]
                                      * 40]), [[30]]),
    "one frame": (nlf([ONE]), [[30]]),
    "eight people": (nlf(*[[body(10 * number, 3000 + 300 * number) for number in range(8)]] * 3),
                     [[10 * number] * 3 for number in range(6)]),
    "a false alarm in one frame of twenty": (nlf(*[[ONE] + [body(80, 9000)] * (frame == 4) for frame in range(20)]),
                                             [[30] * 20]),
    "somebody who is back after a while": (nlf(*[[] if 3 <= frame < 9 else [ONE] for frame in range(12)]),
                                           [[30] * 3 + [None] * 6 + [30] * 3]),
}


@pytest.mark.parametrize("kind", NLF)
def test_nlf(kind):
    answer, expected = NLF[kind]
    poses = read_poses(read_nlf(answer, SIZE))
    assert places(poses) == expected
    assert torch.isfinite(poses.joints).all()


NLF_WRONG = {
    "nothing": ({}, "The NLF poses have nothing, but no joints3d_nonparam"),
    "boxes only": ({"boxes": []}, "The NLF poses have boxes, but no joints3d_nonparam"),
    "no frames": ({"joints3d_nonparam": []}, "have no frames"),
    "no frames in a list": ({"joints3d_nonparam": [[]]}, "have no frames"),
    "nobody in any frame": (nlf([], []), "The poses show no body in any frame"),
    "nobody, in tensors of no shape": ({"joints3d_nonparam": [[torch.zeros(0)] * 2]}, "no body in any frame"),
    "COCO's joints": ({"joints3d_nonparam": [np.zeros((1, 17, 3))]}, r"shape \[1, 17, 3\], but people have SMPL's 24"),
    "joints in the picture": ({"joints3d_nonparam": [[torch.zeros(1, 24, 2)]]}, r"shape \[1, 24, 2\]"),
    "metres": (nlf([ONE / 1000]), "measure [0-9.]+ mm, so they seem to be in metres: multiply the joints by 1000"),
    "centimetres": (nlf([ONE / 10]), "so they seem to be in centimetres: multiply the joints by 10"),
    "nested too deep": ({"joints3d_nonparam": [[[ONE[None, None]]]]}, "nested 7 deep"),
    "a number": ({"joints3d_nonparam": torch.tensor(1.0)}, "nested 0 deep"),
    "None instead of an answer": (None, "The NLF poses have nothing, but no joints3d_nonparam"),
    "None": ({"joints3d_nonparam": None}, "The NLF poses have nothing, but no joints3d_nonparam"),
    "people of unlike lists": ({"joints3d_nonparam": [[[ONE.tolist()[:3], ONE.tolist()]]]},
                               "a frame that is not a regular list of numbers"),
    "joints around the hips": (nlf([ONE - torch.tensor([0.0, 0.0, 3000.0])]),
                               r"have a depth \(z\) below 0 mm, so they are not before the camera"),
    "z towards the camera": (nlf([ONE * torch.tensor([1.0, 1.0, -1.0])]), "below -3000 mm, so they are not before"),
    "everybody outside of the picture": (nlf([body(300)]), "Everybody in the poses is outside of the picture of"),
    "all that is not a number": (nlf([torch.full((24, 3), math.nan)]), "no body in any frame"),
}


@pytest.mark.parametrize("kind", NLF_WRONG)
def test_wrong_nlf(kind):
    answer, message = NLF_WRONG[kind]
    with pytest.raises(ValueError, match=message):
        read_poses(read_nlf(answer, SIZE))


SEEN, HIDDEN = np.ones((*SIZE, 1), np.uint8), np.zeros((*SIZE, 1), np.uint8)
BROKEN = mhr_person(30)
BROKEN["pred_keypoints_3d"][14] = math.nan
MHR = {
    "one person": (mhr([mhr_person(30)], [mhr_person(31)]), [[30, 31]]),
    "tensors instead of arrays": (mhr([{**mhr_person(30), "focal_length": torch.tensor([FOCAL]), "pred_cam_t":
                                        torch.from_numpy(mhr_person(30)["pred_cam_t"])[None]}]), [[30]]),
    "nobody in a frame": (mhr([mhr_person(30)], []), [[30, None]]),
    "boxes of a detector, in any order": (mhr([mhr_person(30), mhr_person(70)], [mhr_person(70), mhr_person(30)]),
                                          [[30, 30], [70, 70]]),
    "tracked, one of them lost in a frame": (
        mhr([mhr_person(70, mask=SEEN), mhr_person(30, mask=SEEN)],
            [mhr_person(48, mask=HIDDEN), mhr_person(30, mask=SEEN)]), [[30, 30], [70, None]]),
    "tracked, one who enters late": (
        mhr([mhr_person(48, mask=HIDDEN), mhr_person(70, mask=SEEN)],
            [mhr_person(20, mask=SEEN), mhr_person(70, mask=SEEN)]), [[70, 70], [None, 20]]),
    "tracked, in a cut to where they have changed places": (
        mhr([mhr_person(30, mask=SEEN), mhr_person(70, mask=SEEN)],
            [mhr_person(70, mask=SEEN), mhr_person(30, mask=SEEN)]), [[30, 70], [70, 30]]),
    "a person for whom nothing was tracked": (
        mhr(*[[mhr_person(48, mask=HIDDEN), mhr_person(70, mask=SEEN)]] * 2), [[70, 70]]),
    "another focal length in each frame": (mhr([mhr_person(30)], [mhr_person(30, focal=250.0)]), [[30, 30]]),
    "a key point that is not a number": (mhr([BROKEN]), [[30]]),
    "tensors in half precision, with gradients": (mhr([{
        name: torch.as_tensor(value).bfloat16().requires_grad_() if name.startswith("pred") else value
        for name, value in mhr_person(30).items()}]), [[30]]),
    "None for a frame of nobody": ({**mhr(), "frames": [None, [mhr_person(30)]]}, [[None, 30]]),
    "a person with a focal length that no camera has": (mhr([mhr_person(70, focal=FOCAL) | {"focal_length": 0.0},
                                                             mhr_person(30)]), [[30]]),
}


@pytest.mark.parametrize("kind", MHR)
def test_sam3d_body(kind):
    data, expected = MHR[kind]
    poses = read_poses(read_mhr(data))
    assert places(poses) == expected
    assert torch.isfinite(poses.joints).all()
    assert torch.isfinite(poses.points).all()


MHR_WRONG = {
    "no frames": (mhr(), "has no frames of SAM3D Body"),
    "nothing": ({}, "has no frames of SAM3D Body"),
    "nobody in any frame": (mhr([], []), "The poses show no body in any frame"),
    "nobody tracked in any frame": (mhr([mhr_person(mask=HIDDEN)]), "The poses show no body in any frame"),
    "a person of parameters only": (mhr([{"focal_length": 1.0, "pred_cam_t": np.zeros(3)}]),
                                    "frame 0 of the pose data has no pred_keypoints_3d: connect"),
    "another body model": (mhr([{**mhr_person(), "pred_keypoints_3d": np.zeros((25, 3))}]), r"of shape \[25"),
    "key points in the picture": (mhr([{**mhr_person(), "pred_keypoints_3d": np.zeros((70, 2))}]), r"shape \[70, 2"),
    "a place of two numbers": (mhr([{**mhr_person(), "pred_cam_t": np.zeros(2)}]), r"a pred_cam_t of shape \[2\]"),
    "no person but None": (mhr([None]), "has no pred_keypoints_3d: connect"),
    "no size of the pictures": ({**mhr([mhr_person()]), "image_size": None}, "no size of their pictures: connect"),
}


@pytest.mark.parametrize("kind", MHR_WRONG)
def test_wrong_sam3d_body(kind):
    data, message = MHR_WRONG[kind]
    with pytest.raises(ValueError, match=message):
        read_poses(read_mhr(data))


def dwposes(*frames, swap=False, stacked=False, right_first=False, missing=()):
    """DWPOSES of the people at some columns in each frame. missing: hands that the list leaves out."""
    made = []
    for people in frames:
        parts = [{name: np.array(values).reshape(-1, 3) for name, values in openpose_person(column).items()}
                 for column in people]
        sides = ("right", "left") if right_first else ("left", "right")
        order = [(side, index) for side in sides for index in range(len(people))] if stacked else [
            (side, index) for index in range(len(people)) for side in sides]
        hands = [parts[index][f"hand_{side}_keypoints_2d"] for place, (side, index) in enumerate(order)
                 if place not in missing]
        width, height = SIZE[1], SIZE[0]

        def shares(listed, count, width=width, height=height):
            return np.array([points[:count, :2] / (width, height) for points in listed]).reshape(-1, count, 2)

        made.append({"bodies": {"candidate": shares([part["pose_keypoints_2d"] for part in parts], 18),
                                "subset": np.tile(np.arange(18.0), (len(people), 1))},
                     "hands": shares(hands, 21), "faces": shares([part["face_keypoints_2d"] for part in parts], 68)})
    return {"poses": made, "swap_hands": swap}


PERSON = openpose_person(30)
FACE_ONLY = {**PERSON, "pose_keypoints_2d": [0.0] * 54, "hand_left_keypoints_2d": None, "hand_right_keypoints_2d": []}
SHARES = {name: [value / (96, 160, 1)[place % 3] for place, value in enumerate(values)] for name, values in
          PERSON.items()}
NO_CONFIDENCE = {**PERSON, "face_keypoints_2d": [-1.0, -1.0, 0.0] * 70}
FACES_LESS = dwposes([30, 70])
FACES_LESS["poses"][0]["faces"] = FACES_LESS["poses"][0]["faces"][1:]
UNSEEN = dwposes([30])
UNSEEN["poses"][0]["bodies"]["subset"][0, 4] = -1
UNSEEN["poses"][0]["faces"][0, 40:] = -1
SCORED = dwposes([30])
SCORED["poses"][0] |= {"body_score": np.arange(18.0)[None], "hand_score": np.full((2, 21), 0.9),
                       "face_score": np.full((1, 68), 0.8)}
FLAT_BODIES = dwposes([30, 70])
FLAT_BODIES["poses"][0]["bodies"]["candidate"] = FLAT_BODIES["poses"][0]["bodies"]["candidate"].reshape(-1, 2)

# what detail is: the value, the columns of the people in frame 0, and the parts that they have
ALL = {"face", "left", "right"}
DETAIL = {
    "OpenPose in pixels": (openpose([PERSON]), {30: ALL}),
    "OpenPose in shares of the picture": (openpose([SHARES]), {30: ALL}),
    "OpenPose of one frame, without a list": (openpose([PERSON])[0], {30: ALL}),
    "OpenPose in lists of lists": ([openpose([PERSON])], {30: ALL}),
    "OpenPose with 25 body points": (openpose([openpose_person(30, count=25)]), {30: ALL}),
    "OpenPose of pictures of twice the size": (openpose([openpose_person(30, scale=2)], size=(320, 192)), {30: ALL}),
    "OpenPose without the size of the pictures": ([{"people": [PERSON]}], {30: ALL}),
    "OpenPose with 68 points of the face": (openpose([{**PERSON, "face_keypoints_2d":
                                                       PERSON["face_keypoints_2d"][:204]}]), {30: ALL}),
    "OpenPose with 69 points of the face, the first of them of a foot": (openpose([{
        **PERSON, "face_keypoints_2d": [1.0, 1.0, 1.0, *PERSON["face_keypoints_2d"][:204]]}]), {30: ALL}),
    "core's SDPose, which names the hands the other way round": (openpose([openpose_person(30, hands="swapped")]),
                                                                {30: ALL}),
    "missing parts are null or empty": (openpose([FACE_ONLY]), {30: {"face"}}),
    "missing points are -1": (openpose([NO_CONFIDENCE]), {30: {"left", "right"}}),
    "two people": (openpose([openpose_person(70), PERSON]), {30: ALL, 70: ALL}),
    "nobody": (openpose([]), {}),
    "None for a frame of nobody": ([None], {}),
    "tensors with gradients": (openpose([{name: torch.tensor(values, dtype=torch.float64, requires_grad=True)
                                          for name, values in PERSON.items()}]), {30: ALL}),
    "DWPose with None for a frame of nobody": ({"poses": [None]}, {}),
    "people is null": ([{"people": None, "canvas_width": 96, "canvas_height": 160}], {}),
    "DWPose, left hand first": (dwposes([30]), {30: ALL}),
    "DWPose, right hand first": (dwposes([30], swap=True, right_first=True), {30: ALL}),
    "DWPose, right hand first and not said": (dwposes([30], right_first=True), {30: ALL}),
    "DWPose of two people, hands in pairs": (dwposes([30, 70]), {30: ALL, 70: ALL}),
    "DWPose of two people, all left hands first": (dwposes([30, 70], stacked=True), {30: ALL, 70: ALL}),
    "DWPose of two people, all right hands first": (dwposes([30, 70], stacked=True, right_first=True),
                                                    {30: ALL, 70: ALL}),
    "DWPose that leaves a hand out": (dwposes([30, 70], missing=(1,)), {30: {"face", "left"}, 70: ALL}),
    "DWPose that leaves a face out": (FACES_LESS, {30: {"left", "right"}, 70: ALL}),
    "DWPose with unseen points": (UNSEEN, {30: ALL}),
    "DWPose with numbers of joints for scores": (SCORED, {30: ALL}),
    "DWPose with all bodies in one list": (FLAT_BODIES, {30: ALL, 70: ALL}),
    "DWPose of nobody": (dwposes([]), {}),
}


@pytest.mark.parametrize("kind", DETAIL)
def test_detail(kind):
    """Everybody's face is over the body, and each hand at its own wrist."""
    value, expected = DETAIL[kind]
    detail = read_keypoints(value, SIZE).resized(SIZE)
    points, scores = detail.frames[0]
    assert torch.isfinite(points).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    found = {}
    for person, seen in zip(points, scores > 0, strict=True):
        place = person[24 + 30, 0] - 30 / 34 if seen[24:92].any() else person[1, 0]
        column = min((30, 70), key=lambda column, place=place: abs(place - column))
        assert place == pytest.approx(column, abs=1e-2)
        parts = {"face": slice(24, 92), "left": slice(92, 113), "right": slice(113, 134)}
        found[column] = {name for name, where in parts.items() if seen[where].any()}
        for name, across in (("left", 260), ("right", -260)):
            if name in found[column]:
                wrist = column + across * FOCAL / 3000, 80 + 70 * FOCAL / 3000
                assert person[parts[name]][0].tolist() == pytest.approx(wrist, abs=1e-2)
    assert found == expected


def test_unseen_points_stay_unseen():
    _, scores = read_keypoints(UNSEEN, SIZE).frames[0]
    assert not scores[0, 4]
    assert scores[0, 24:64].all()
    assert not scores[0, 64:92].any()
    _, scores = read_keypoints(SCORED, SIZE).frames[0]
    assert scores[0, :18].all()
    assert scores[0, 24:].tolist() == pytest.approx([0.8] * 68 + [0.9] * 42)


DETAIL_WRONG = {
    "no frames": ([], "There are no frames of key points"),
    "DWPose without frames": ({"poses": []}, "There are no frames of key points"),
    "DWPose with None for its frames": ({"poses": None}, "There are no frames of key points"),
    "DWPose with hands of another model": ({"poses": [{"hands": np.zeros((2, 20, 2)) + 0.5}]},
                                           "Frame 0 of the key points is not one of DWPose"),
    "texts instead of numbers": (openpose([{"pose_keypoints_2d": ["a"] * 54}]),
                                 "pose_keypoints_2d in frame 0 of the key points is not a list of numbers"),
    "something else": (["text"], "There are no frames of key points"),
    "animals": ([{"animals": [[0.0] * 51], "canvas_width": 96, "canvas_height": 160}], "The key points are of animals"),
    "COCO's 17 points": (openpose([{**PERSON, "pose_keypoints_2d": [1.0] * 51}]), "has 51 numbers, but 54 or 75"),
    "points without confidence": (openpose([{**PERSON, "hand_left_keypoints_2d": [1.0] * 42}]), "42 numbers, but 63"),
}


@pytest.mark.parametrize("kind", DETAIL_WRONG)
def test_wrong_detail(kind):
    value, message = DETAIL_WRONG[kind]
    with pytest.raises(ValueError, match=message):
        read_keypoints(value, SIZE)


def masks(*people, scale=1):
    return from_masks([mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2) for mask in box_masks(*people)],
                      "driving")


def above_counter():
    """A mask of a head and a neck, and not of what is below."""
    mask = torch.zeros(1, *SIZE)
    mask[:, 40:61, 20:40] = 1
    return from_masks([mask], "driving")


def walk(*ways):
    return [[body(column) for column in places if column is not None] for places in zip(*ways, strict=True)]


# what people do: bodies, masks, and by person and frame the columns
MASKED = {
    "one person": (walk([30, 31]), masks([(20, 40)] * 2), [[30, 31]]),
    "more bodies than masks": (walk([30, 31], [70, 70]), masks([(60, 80)] * 2), [[70, 70]]),
    "more masks than bodies": (walk([30, 31]), masks([(20, 40)] * 2, [(60, 80)] * 2), [[30, 31], [None, None]]),
    "nobody in a frame": (walk([30, None]), masks([(20, 40)] * 2), [[30, None]]),
    "who enters late": (walk([30, 31, 32], [None, None, 70]), masks([(20, 40)] * 3, [None, None, (60, 80)]),
                        [[30, 31, 32], [None, None, 70]]),
    "two who cross": (walk([20, 44, 70], [76, 52, 26]), masks([(10, 30), (34, 48), (60, 80)],
                                                              [(66, 86), (48, 62), (16, 36)]), [[20, 44, 70],
                                                                                                [76, 52, 26]]),
    "masks of twice the size": (walk([30, 31], [70, 70]), masks([(60, 80)] * 2, [(20, 40)] * 2, scale=2),
                                [[70, 70], [30, 31]]),
    "a bystander with a hand in the mask": (walk([30, 30], [50, 50]), masks([(20, 41)] * 2), [[30, 30]]),
    "only a bystander with a hand in the mask": (walk([50, 30]), masks([(20, 43)] * 2), [[None, 30]]),
    "a leg of a mask": (walk([30, 30]), masks([(20, 30)] * 2), [[30, 30]]),
    "one frame": (walk([30]), masks([(20, 40)]), [[30]]),
    "somebody who is nearly out of the picture, with a hand in the mask": (walk([-8], [25]), masks([(0, 42)]), [[25]]),
    "only the head above a counter": (walk([30], [75]), above_counter(), [[30]]),
    "two detections of one person": ([[body(30), body(32)]], masks([(15, 42)]), [[30]]),
}


@pytest.mark.parametrize("kind", MASKED)
def test_masks(kind):
    bodies, source, expected = MASKED[kind]
    assert places(read_poses(read_nlf(nlf(*bodies), SIZE), masks=source)) == expected


CLIP = TensorClip(torch.zeros(2, *SIZE, 3, dtype=torch.uint8))
TWO_FRAMES = read_nlf(nlf([ONE], [ONE]), SIZE)
MISFITS = {
    "masks of another video": ({"masks": masks([(60, 90)] * 2)}, "None of the bodies in the poses lies in the masks"),
    "masks with another number of frames": ({"masks": masks([(20, 40)] * 3)},
                                            "The poses have 2 frames, but the masks have 3: make both"),
    "masks of another shape": ({"masks": from_masks([torch.ones(2, 96, 96)], "driving")},
                               "pictures of 96x160 pixels, but the masks have 96x96, another shape"),
    "seven people in the masks": ({"masks": masks(*[[(10 * number, 10 * number + 9)] * 2 for number in range(7)])},
                                  "There are 7 people in the masks, but only 6 have colours"),
    "a driving video with another number of frames": ({"filmed": TensorClip(CLIP.images[:1])},
                                                      "The poses have 2 frames, but the driving video has 1"),
    "a driving video of another shape": ({"filmed": TensorClip(torch.zeros(2, 96, 160, 3))},
                                         "but the driving video has 160x96, another shape"),
    "detail with another number of frames": ({"detail": read_keypoints(openpose([PERSON]), SIZE)},
                                             "The poses have 2 frames, but the detail has 1"),
    "detail of another shape": ({"detail": read_keypoints(openpose([PERSON], [], size=(96, 160)), SIZE)},
                                "but the detail has 160x96, another shape"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_belong_together(kind):
    given, message = MISFITS[kind]
    with pytest.raises(ValueError, match=message):
        read_poses(TWO_FRAMES, **given)
