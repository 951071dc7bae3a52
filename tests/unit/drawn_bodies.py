"""Bodies made by hand for tests of poses, in the forms in which detectors give them.

A body stands upright before the camera of pictures of 96x160 pixels, 3 m away unless told otherwise; its middle is at a
column of the picture.
"""

import math

import numpy as np
import torch

SIZE = (160, 96)  # height, width
FOCAL = 160 / (2 * math.tan(math.radians(27.5)))

# SMPL's 24 joints of a man of 1.7 m, from the middle of the hips: x right in the picture, y down, in millimetres.
SMPL = [(0, 0), (90, 60), (-90, 60), (0, -110), (100, 450), (-100, 450), (0, -240), (110, 850), (-110, 850), (0, -300),
        (120, 900), (-120, 900), (0, -500), (80, -420), (-80, -420), (0, -600), (180, -440), (-180, -440), (240, -180),
        (-240, -180), (260, 70), (-260, 70), (270, 150), (-270, 150)]


def body(column=48.0, depth=3000.0):
    """One body's 24 joints, [24, 3]."""
    flat = torch.tensor(SMPL, dtype=torch.float32)
    joints = torch.cat((flat, torch.zeros(24, 1)), 1)
    joints[:, 2] = depth
    joints[:, 0] += (column - SIZE[1] / 2) * depth / FOCAL
    return joints


def nlf(*frames):
    """NLFPRED as NLFPredict gives it, of the bodies in each frame."""
    return {"joints3d_nonparam": [[torch.stack(people) if people else torch.zeros(0, 24, 3) for people in frames]]}


def box_masks(*people):
    """MASKs [T, 160, 96] of people, for each frame the columns (first, behind the last) of a box, or None."""
    made = []
    for columns in people:
        mask = torch.zeros(len(columns), *SIZE)
        for frame, place in zip(mask, columns, strict=True):
            if place is not None:
                frame[:, place[0] : place[1]] = 1
        made.append(mask)
    return made


def mhr_person(column=48.0, depth=3.0, focal=FOCAL, mask=None):
    """A person of MHR_POSE_DATA, with the parts that SAM3DBody_Predict gives and are read: metres, moved before the
    camera by pred_cam_t."""
    rng = np.random.default_rng(5)
    points = rng.normal(0, 0.05, (70, 3))
    smpl = np.array(SMPL) / 1000
    for point, joint in {0: 15, 69: 12, 6: 17, 8: 19, 41: 21, 5: 16, 7: 18, 62: 20, 10: 2, 12: 5, 14: 8, 9: 1, 11: 4,
                         13: 7}.items():
        points[point] = (*smpl[joint], 0.02 * (joint - 12))
    moved = np.array([(column - SIZE[1] / 2) * depth / focal, 0.0, depth])
    return {"pred_keypoints_3d": points.astype(np.float32), "pred_cam_t": moved.astype(np.float32),
            "focal_length": np.float32(focal), "mask": mask, "bbox": np.zeros(4)}


def mhr(*frames):
    return {"frames": [list(people) for people in frames], "image_size": SIZE, "faces": np.zeros((0, 3), np.int64)}


def flat(points, score=1.0):
    """Points (x, y) as OpenPose's list."""
    return [value for x, y in points for value in (float(x), float(y), score)]


def openpose_person(column=48.0, *, hands="named", scale=1.0, count=18):
    """A person of POSE_KEYPOINT in pixels: the body of `body` seen by the camera, a hand at each wrist, and a face.
    hands: named as they are, or "swapped"."""
    seen = {joint: (column + x * FOCAL / 3000, SIZE[0] / 2 + y * FOCAL / 3000) for joint, (x, y) in enumerate(SMPL)}
    order = (15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7)
    points = [seen[joint] for joint in order]
    nose = points[0]
    points += [(nose[0] + x, nose[1] - 1) for x in (-1, 1, -2, 2)]
    if count == 25:
        points = [*points[:8], seen[0], *points[8:], *([seen[7]] * 3), *([seen[8]] * 3)]
    right, left = ([(x + step, y + step) for step in range(21)] for x, y in (seen[21], seen[20]))
    if hands == "swapped":
        right, left = left, right
    face = [(nose[0] + number / 34, nose[1] - number / 34) for number in range(70)]
    parts = {"pose_keypoints_2d": points, "face_keypoints_2d": face, "hand_left_keypoints_2d": left,
             "hand_right_keypoints_2d": right}
    return {name: flat([(x * scale, y * scale) for x, y in part]) for name, part in parts.items()}


def openpose(*frames, size=SIZE):
    return [{"people": list(people), "canvas_height": size[0], "canvas_width": size[1]} for people in frames]
