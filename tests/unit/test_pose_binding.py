"""Poses in `driving` follow the binding: who is left out is not drawn, and everybody has the reference's colour."""

import pytest
import torch
from drawn_bodies import SIZE, body, box_masks, nlf

from scail_model.identity import binding, mask_sources
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.poses.nlf import read_nlf
from scail_model.poses.pose_clip import PoseClip
from scail_model.poses.pose_masks import driving_source
from scail_model.poses.reading import read_poses
from scail_model.poses.value import replace
from scail_model.video.timing import timed

LEFT, RIGHT = (0, 40), (55, 96)  # columns of a box in the reference
FRAMES = 9
WALK = [[body(22 + frame), body(74 - frame)] for frame in range(FRAMES)]
CROSS = [[body(15 + 8 * frame, 3000), body(80 - 8 * frame, 4000)] for frame in range(FRAMES)]
LATE = [[body(22), body(74)] if frame == 6 else [body(22)] for frame in range(FRAMES)]
BLUE, RED = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])


def read(frames):
    return read_poses(read_nlf(nlf(*frames), SIZE))


def references(*columns, coloured=True):
    """The reference's masks, a box for each person: as colours, or as MASKs."""
    boxes = box_masks(*([place] for place in columns))
    if not coloured:
        return mask_sources.pictures(from_masks(boxes, REFERENCE))
    picture = torch.ones(1, *SIZE, 3)
    for mask, colour in zip(boxes, (BLUE, RED), strict=False):
        picture[mask > 0] = colour
    return mask_sources.pictures(mask_sources.from_colours(iter(picture), 1, REFERENCE))


def drawn(clip, frame=0):
    """Label and column of the neck of everybody in the pictures, in their order."""
    poses = clip.poses
    necks = poses.joints[frame, :, 1]
    columns = necks[:, 0] / necks[:, 2] * poses.cameras[0, 0] + SIZE[1] / 2
    return [(label, round(float(column))) for label, column in zip(poses.labels, columns, strict=True)]


# bodies, references, binding -> label and column in frame 0 of everybody who is drawn
KINDS = {
    "everybody as they are": (WALK, references(LEFT, RIGHT), "", [(1, 22), (2, 74)]),
    "exchanged": (WALK, references(LEFT, RIGHT), "1:2, 2:1", [(1, 74), (2, 22)]),
    "one reference, by overlap": (WALK, references(RIGHT), "by overlap", [(1, 74)]),
    "one reference, by number": (WALK, references(RIGHT), "1:1", [(1, 22)]),
    "one reference as a MASK": (WALK, references(RIGHT, coloured=False), "1:2", [(2, 74)]),
    "people who cross": (CROSS, references(LEFT, RIGHT), "1:2, 2:1", [(1, 80), (2, 15)]),
    "one frame": (WALK[:1], references(LEFT, RIGHT), "1:2, 2:1", [(1, 74), (2, 22)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_drawn(kind):
    frames, pictures, pairs, expected = KINDS[kind]
    poses = read(frames)
    identities = binding.bind("animation", driving_source(poses), pictures, binding=pairs)
    clip, _ = timed(PoseClip(poses), identities, None)
    assert drawn(clip) == expected
    masks = [identities.driving.frame(0)[identities.labels.index(label)] for label, _ in expected]
    assert [round(float(mask.any(0).nonzero()[0].mean())) for mask in masks] == [column for _, column in expected]
    if len(expected) == poses.people == 2 and not pairs:
        assert clip.digest() == PoseClip(poses).digest()


def test_the_picture_is_that_of_the_masks():
    """Also of somebody who is seen in one frame, and at another rate."""
    poses = replace(read(LATE), filmed=TensorClip(torch.zeros(FRAMES, *SIZE, 3), rate=24))
    identities = binding.bind("animation", driving_source(poses), references(LEFT), binding="1:2")
    clip, picked = timed(PoseClip(poses), identities, 12)
    assert len(clip) == len(picked.driving) == 4
    for index in range(len(clip)):
        mask = torch.from_numpy(picked.driving.frame(index)[0])
        assert torch.equal(clip.read(index, index + 1)[0].amax(-1) > 0, mask)
    assert "blue of the poses as they were read: in no driving mask, so not drawn" in clip.clip.poses.notes


def test_masks_of_the_filmed_people_do_as_well():
    poses = read(WALK)
    masks = from_masks(box_masks([(60, 90)] * FRAMES, [(0, 40)] * FRAMES), DRIVING)
    identities = binding.bind("animation", masks, references(LEFT, RIGHT), binding="1:1, 2:2")
    assert drawn(timed(PoseClip(poses), identities, None)[0]) == [(1, 74), (2, 22)]


def test_frames_without_anybody_stay_without():
    poses = replace(read([[], *WALK[:2]]), filmed=TensorClip(torch.zeros(3, *SIZE, 3), rate=30))
    identities = binding.bind("animation", driving_source(poses), references(LEFT, RIGHT))
    clip, _ = timed(PoseClip(poses), identities, 10)
    assert not clip.read(0, 1).any()


def test_masks_of_another_video_are_refused():
    identities = binding.bind("animation", from_masks(box_masks([(44, 50)] * FRAMES), DRIVING), references(LEFT))
    with pytest.raises(ValueError, match="Nobody of the poses that drive is where the driving masks are: use masks"):
        timed(PoseClip(read(WALK)), identities, None)


def test_colours_are_no_names():
    """Whoever is red in the poses and blue in the reference is called blue."""
    poses = read(WALK)
    bound = binding.bind("animation", driving_source(poses), references(RIGHT), binding="1:2")
    assert bound.names == ("blue",)
    named = replace(poses, names=("blue", "Anna"))
    bound = binding.bind("animation", driving_source(named), references(RIGHT), binding="1:2")
    assert bound.title(0) == "Anna (blue)"
