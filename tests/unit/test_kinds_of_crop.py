"""Kinds of people, pictures and clips that are cropped: each goes there and back, or is refused in one sentence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from plates import composited, shares
from test_person_crop import RATE, photograph

from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.media.encoding import Encoding
from scail_model.media.retiming import retimed
from scail_model.plate.close_up import with_close_up
from scail_model.plate.edge import Edge
from scail_model.plate.heads import head_box
from scail_model.plate.pasting import Pasted, paste
from scail_model.plate.person_crop import FACE, crop_person
from scail_model.plate.rim import colour_offsets
from scail_model.plate.window import Boxes
from scail_model.poses.heads import head_edges
from scail_model.poses.value import FACE as FACE_POINTS
from scail_model.poses.value import JOINTS, POINTS, Poses

FRAMES = 10


def box(left, top, right, bottom):
    return lambda frame: (left, top, right, bottom)


def people(*places, size=(120, 160), masks=None, frames=FRAMES, rate=RATE):
    """A clip, and identities of people in boxes (left, top, right, bottom), which are functions of the frame; None for
    nobody. masks: their size, if it is another one."""
    height, width = size
    images = torch.stack([photograph(height, width, 1).roll(frame, 1) for frame in range(frames)])
    small_height, small_width = masks or size
    drawn = torch.zeros(len(places), frames, small_height, small_width)
    for person, place in enumerate(places):
        for frame in range(frames):
            if (found := place(frame)) is not None:
                left, top, right, bottom = (max(edge, 0) for edge in found)
                drawn[person, frame, top * small_height // height : bottom * small_height // height,
                      left * small_width // width : right * small_width // width] = 1
    halves = torch.zeros(len(places), 1, 40, 60)
    for person in range(len(places)):
        halves[person, 0, :, person * 20 : person * 20 + 20] = 1
    references = from_masks(list(halves), REFERENCE)
    return TensorClip(images, rate), bind("replacement", from_masks(list(drawn), DRIVING), [references])


def there_and_back(clip, identities, person=1, size=(96, 64), **how):
    """The largest change outside of the person and inside, in levels; and the crop."""
    crop, seen, report, doubts = crop_person(clip, identities, person, size, **how)
    assert np.isfinite(crop.window.rectangles).all()
    low, high = crop.window.rectangles[:, :2], crop.window.rectangles[:, 2:]
    assert low.min() >= 0
    assert (high <= np.array(clip.size[::-1]) + 1e-6).all()
    assert seen.driving.size == size
    made = TensorClip(crop.seen.read(0, len(clip)), clip.rate)
    plate = crop.plate(made, Edge(2, 2))
    after = torch.stack(list(Pasted(plate, made, 0, len(clip)).pictures(0, len(clip), lambda: None))) * 255
    change, share = (after - clip.images.float()).abs(), shares(plate, len(clip))
    outside = torch.from_numpy(share == 0)
    return change[outside].max().item(), change.max().item(), crop, [*report, *doubts]


@pytest.mark.parametrize("scene", [
    people(box(0, 40, 14, 90)),
    people(box(-8, 40, 6, 90)),
    people(lambda frame: None if frame < 4 else (60, 40, 76, 90)),
    people(lambda frame: None if frame > 5 else (60, 40, 76, 90)),
    people(lambda frame: None if 3 < frame < 7 else (60 + frame, 40, 76 + frame, 90)),
    people(lambda frame: (20 + 10 * frame, 40, 34 + 10 * frame, 90),
           lambda frame: (110 - 10 * frame, 42, 124 - 10 * frame, 92)),
    people(lambda frame: (70 - frame, 60 - 3 * frame, 80 + frame, 80 + 3 * frame)),
    people(lambda frame: (20 if frame < 5 else 110, 40, 34 if frame < 5 else 124, 90)),
    people(box(60, 40, 76, 90), frames=1),
    people(box(60, 40, 76, 90), frames=2),
    people(box(20, 60, 36, 100), size=(160, 90)),
    people(box(60, 40, 76, 90), masks=(60, 80)),
    people(box(60, 40, 76, 90), masks=(240, 320)),
    people(box(60, 40, 76, 90), rate=None),
    people(box(3, 2, 6, 9), size=(12, 16)),
], ids=["at the edge", "half outside", "not there at first", "gone at the end", "away between", "two who cross", "zoom",
        "a jump", "one frame", "two frames", "portrait picture", "small masks", "large masks", "no rate",
        "tiny picture"])
@pytest.mark.parametrize("size", [(96, 64), (64, 96)], ids=["portrait window", "landscape window"])
def test_nothing_changes_there_and_back(scene, size):
    outside, inside, crop, _ = there_and_back(*scene, size=size)
    assert outside < 1e-3
    if crop.window.scales.min() > 1.5 and min(scene[0].size) > 32:  # a tiny picture is all hard edges
        assert inside < 1.5


def test_a_person_as_large_as_the_picture_gets_all_of_it_and_a_warning():
    clip, identities = people(box(0, 0, 160, 120))
    _, _, crop, report = there_and_back(clip, identities)
    assert np.allclose(crop.window.rectangles[:, 3] - crop.window.rectangles[:, 1], 120)
    assert any("larger than a window of this shape" in line for line in report)
    assert any("smaller than it was filmed" in line for line in report)


def test_who_stands_in_front_stays_as_filmed():
    clip, identities = people(box(50, 30, 90, 100), box(70, 50, 100, 110))
    crop, seen, *_ = crop_person(clip, identities, 2, (96, 64))
    made = TensorClip(torch.zeros(FRAMES, 96, 64, 3, dtype=torch.uint8), RATE)
    after = composited(crop.plate(made, Edge(6, 0)), 0, made.images.float()) * 255
    front = torch.from_numpy(identities.driving.frame(4)[0])
    assert torch.equal(after[4][front].round(), clip.images[4][front].float())
    assert seen.bystanders is not None
    assert seen.bystanders.frame(4).any()


@pytest.mark.parametrize(("scene", "change", "words"), [
    (people(box(60, 40, 76, 90)), {"person": 2}, "one person is bound: choose 1"),
    (people(box(60, 40, 76, 90)), {"person": 0}, "person is 0"),
    ((people(box(60, 40, 76, 90))[0], people(box(60, 40, 76, 90), frames=8)[1]), {}, "mask has 8"),
    ((people(box(60, 40, 76, 90))[0], people(box(20, 40, 36, 90), size=(160, 90))[1]), {}, "different shapes"),
    (people(box(60, 40, 76, 90)), {"part": FACE, "faces": (Boxes(np.zeros((FRAMES, 4)), np.zeros(FRAMES, bool)), "")},
     "is in no frame of the faces"),
])
def test_what_cannot_be_is_said_in_one_sentence(scene, change, words):
    with pytest.raises(ValueError, match=words) as error:
        crop_person(*scene, **{"person": 1, "size": (96, 64)} | change)
    assert str(error.value).count(". ") == 0


class Variable(TensorClip):
    """A clip of 12 frames of which the fourth is shown for twice as long as most, and the tenth for a moment."""

    variable = True

    def times(self):
        lasting = np.ones(12)
        lasting[3], lasting[9] = 2, 0.1
        return np.concatenate([[0], np.cumsum(lasting)]) / 24

    def ticking(self, tick):
        return Variable(self.images, self.rate, self.audio, tick)


class TestMade:
    scene = people(lambda frame: (40 + 2 * frame, 40, 56 + 2 * frame, 90), frames=12, rate=Fraction(24))

    def crop(self):
        return crop_person(*self.scene, 1, (96, 64))[0]

    def test_at_another_rate_the_same_frames_are_picked(self):
        crop = self.crop()
        seen = retimed(crop.seen, 12)
        plate = crop.plate(TensorClip(seen.read(0, len(seen)), seen.rate), Edge(2, 2))
        assert (len(plate.clip), plate.clip.rate) == (6, 12)
        after = composited(plate, 0, seen.read(0, 6).float() / 255) * 255
        assert (after - plate.clip.read(0, 6).float()).abs().max() < 1

    def test_of_a_variable_rate_that_keeps_the_number_the_same_frames_are_picked(self):
        """A frame that is shown twice as long comes twice, one that is hardly shown is left out: 12 again."""
        clip, identities = self.scene
        variable = Variable(clip.images, clip.rate)
        crop, seen, *_ = crop_person(variable, identities, 1, (96, 64))
        sampled = retimed(crop.seen)
        assert list(sampled.indices) == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 10, 11]
        made = TensorClip(sampled.read(0, 12), sampled.rate)
        plate = crop.plate(made, Edge(2, 2))
        assert torch.equal(plate.clip.read(0, 12), clip.images[list(sampled.indices)])
        after = composited(plate, 0, made.images.float() / 255) * 255
        assert (after - plate.clip.read(0, 12).float()).abs().max() < 1
        pasted = TensorClip(plate.clip.read(0, 12), sampled.rate)
        assert crop.plate(made, Edge(2, 2), pasted).clip is pasted  # of another paste: picked before

    def test_cuts_are_those_of_the_frames_that_are_picked(self):
        crop, *_ = crop_person(*self.scene, 1, (96, 64), cuts=(4, 7))
        assert crop.cuts_in(TensorClip(torch.zeros(12, 96, 64, 3), Fraction(24))) == [4, 7]
        assert crop.cuts_in(TensorClip(torch.zeros(6, 96, 64, 3), Fraction(12))) == [2, 4]

    def test_at_half_the_size_it_lies_in_the_same_place(self):
        crop = self.crop()
        made = TensorClip(torch.full((12, 48, 32, 3), 9, dtype=torch.uint8), Fraction(24))
        after = composited(crop.plate(made, Edge(0, 0)), 0, made.images.float() / 255) * 255
        inside = torch.from_numpy(crop.identities.driving.frame(7)[0])
        assert (after[7][inside].round() == 9).all()

    @pytest.mark.parametrize(("made", "plate", "words"), [
        (torch.zeros(12, 64, 64, 3), None, "another shape"),
        (torch.zeros(5, 96, 64, 3), None, "The made video has 5 frames"),
        (torch.zeros(12, 96, 64, 3), torch.zeros(12, 60, 80, 3), "The plate is 80x60"),
        (torch.zeros(12, 96, 64, 3), torch.zeros(7, 120, 160, 3), "The plate has 7 frames"),
    ])
    def test_what_does_not_fit_is_said_in_one_sentence(self, made, plate, words):
        with pytest.raises(ValueError, match=words):
            self.crop().plate(TensorClip(made, Fraction(24)), Edge(),
                              None if plate is None else TensorClip(plate, Fraction(24)))

    @pytest.mark.parametrize(("cast", "found"), [(0, 0), (8, 8), (40, 12.75)])
    def test_colours_are_matched_at_the_rim_and_not_by_much(self, cast, found):
        crop = self.crop()
        levels = (crop.seen.read(0, 12).int() - cast).clamp(0, 255).byte()
        made = TensorClip(levels, Fraction(24))
        offsets = colour_offsets(crop.plate(made, Edge(2, 6)), made, Fraction(24)) * 255
        assert np.abs(offsets - found).max() < 1.5
        assert np.abs(np.diff(offsets, axis=0)).max() < 0.5


def figure(arms=0):
    """A standing figure, bool [200, 120]: head 24 high above shoulders, arms raised by so many pixels above it."""
    mask = np.zeros((200, 120), bool)
    rows, columns = np.ogrid[:200, :120]
    mask |= (rows - 52) ** 2 / 144 + (columns - 60) ** 2 / 100 <= 1
    mask[60:190, 40:80] = True
    if arms:
        mask[40 - arms : 80, 28:38] = mask[40 - arms : 80, 82:92] = True
    return mask


@pytest.mark.parametrize("mask", [figure(), figure(30), figure()[:120]], ids=["standing", "arms up", "half body"])
def test_a_head_is_found_from_the_outline(mask):
    left, top, right, bottom = head_box(mask)
    assert abs((left + right) / 2 - 60) < 6
    assert abs(top - 40) < 3
    assert 56 < bottom < 76


def test_heads_of_poses_are_those_of_their_points_or_joints():
    joints = torch.zeros(2, 1, JOINTS, 3)
    joints[:, 0, 0] = torch.tensor([0.0, -600.0, 3000.0])
    joints[:, 0, 2], joints[:, 0, 5] = torch.tensor([-180.0, -350.0, 3000.0]), torch.tensor([180.0, -350.0, 3000.0])
    joints[1, 0, 5] = float("nan")
    poses = Poses.of(joints, (720, 1280))
    edges, seen = head_edges(poses, 0)
    assert seen.tolist() == [True, False]
    assert edges[0, 1] < 360 - 600 / 3000 * poses.cameras[0, 1] < edges[0, 3]
    points, scores = torch.zeros(2, 1, POINTS, 2), torch.zeros(2, 1, POINTS)
    points[:, 0, FACE_POINTS] = torch.rand(68, 2) * 40 + 300
    scores[:, 0, FACE_POINTS] = 1
    edges, seen = head_edges(Poses(joints, poses.size, poses.cameras, (1,), ("blue",), points, scores), 0)
    assert seen.all()
    assert edges[1, 0] < 302 < 338 < edges[1, 2]


def test_a_close_up_shows_the_head_of_the_reference_at_its_size():
    picture = torch.rand(200, 120, 3)
    reference = from_masks([torch.from_numpy(figure())[None].float()], REFERENCE)
    clip, _ = people(box(60, 40, 76, 90))
    driving = torch.zeros(FRAMES, 120, 160)
    driving[:, 40:90, 60:76] = 1
    identities = bind("replacement", from_masks([driving], DRIVING), [reference])
    images, bound = with_close_up([picture], identities)
    assert [image.shape for image in images] == [(200, 120, 3)] * 2
    assert bound.references[1].size == (200, 120)
    assert bound.references[1].frame(0)[0].mean() > 1.5 * figure()[:80].mean() * 0.4
    assert clip.size == (120, 160)


class Counting(TensorClip):
    """Notes how many frames are asked for at once."""

    most = 0

    def read(self, start, stop):
        Counting.most = max(Counting.most, stop - start)
        return super().read(start, stop)

    def ticking(self, tick):
        return Counting(self.images, self.rate, self.audio, tick)


def test_a_long_video_is_in_memory_a_stretch_at_a_time(tmp_path):
    clip, identities = people(box(60, 40, 76, 90), frames=100)
    crop, *_ = crop_person(Counting(clip.images, RATE), identities, 1, (96, 64))
    for _ in crop.seen.stretches(0, 100):
        pass
    made = Counting(torch.zeros(100, 96, 64, 3, dtype=torch.uint8), RATE)
    paste(crop.plate(made, Edge()), made, tmp_path / "whole.mp4", RATE, Encoding("h264", 20), lambda: None)
    assert Counting.most <= 24
