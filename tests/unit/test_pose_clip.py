"""Poses as a driving video and as its masks: the same pictures however they are read, and masks that are their
silhouette."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from scail_model.identity.identities import Identities
from scail_model.inputs.driving import Reader
from scail_model.masks import PALETTE, pack_driving_mask, paint
from scail_model.media.clips import TensorClip
from scail_model.media.retiming import retimed
from scail_model.media.scene_cuts import find_cuts
from scail_model.poses import render_people, render_skeleton
from scail_model.poses.pose_clip import PoseClip
from scail_model.poses.pose_masks import driving_source
from scail_model.poses.scene import Scene
from scail_model.poses.value import LEFT_HAND, Look, Poses, from_smpl
from scail_model.segments import plan_segments
from scail_model.video.timing import first_frames
from tests.unit.golden import pose_case

FOUND = np.array([0.0, 1 / 24, 3 / 24, 4 / 24, 5 / 24])  # when the frames of a video are shown, and its end


class Filmed(TensorClip):
    """A video of variable rate."""

    variable = True

    def times(self) -> np.ndarray:
        return FOUND


def tracked(name: str, people: int) -> tuple[Poses, dict[str, np.ndarray]]:
    """A golden case P3 with its points sorted into the people that they belong to."""
    case, info = pose_case(name)
    points, scores = torch.zeros(info["frames"], people, 134, 2), torch.zeros(info["frames"], people, 134)
    for frame, person, place, score in zip(case["frame"], case["person"], case["kp134"], case["score134"], strict=True):
        if person >= 0:
            points[frame, person], scores[frame, person] = torch.from_numpy(place), torch.from_numpy(score)
    poses = Poses.of(from_smpl(torch.from_numpy(case["joints"])), (info["height"], info["width"]))
    return replace(poses, points=points, scores=scores), case


@pytest.fixture(scope="module")
def two() -> tuple[Poses, dict[str, np.ndarray]]:
    return tracked("P3_03_two_order_flips", 2)


def moving(frames: int = 6, size: tuple[int, int] = (64, 96)) -> Poses:
    """Two people who walk past each other."""
    drawn = torch.Generator().manual_seed(0)
    joints = torch.randn(1, 2, 18, 3, generator=drawn) * 300 + torch.tensor((0.0, 0.0, 2500.0))
    steps = torch.linspace(-400, 400, frames)[:, None, None] * torch.tensor((1.0, -1.0))[:, None]
    joints = joints.repeat(frames, 1, 1, 1)
    joints[..., 0] += steps
    joints[..., 2] += steps
    return Poses.of(joints, size)


@pytest.mark.parametrize("name", ["P3_03_two_order_flips", "P3_07_one_no_3d_then_no_2d"])
def test_picture_and_masks_are_the_official_ones_with_the_right_colours(name):
    people = 2 if "two" in name else 1
    poses, case = tracked(name, people)
    got, masks = PoseClip(poses).read(0, 3).numpy(), driving_source(poses)
    drawn = case["overlay"] != 0
    assert (got[drawn] == case["overlay"][drawn]).all()
    far = np.abs(got.astype(int) - case["official_render_double"]).max(-1) > 3
    assert far.sum() < 60  # pixels of two limbs at one distance, 172 in all, of which official colours some otherwise
    right = np.stack([masks.mask_set.numbers(frame, range(people)) for frame in range(3)])
    assert (paint(torch.from_numpy(right)).movedim(1, -1).numpy() != case["right_mask"]).any(-1).sum() <= 5
    assert masks.labels == (1, 2)[:people]
    assert PALETTE[0] == (0, 0, 255)  # one person is blue, as in the reference


def test_masks_are_the_silhouette_and_do_not_overlap(two):
    poses, case = two
    source, pixels = driving_source(poses), PoseClip(poses).read(0, 3)
    for frame in range(3):
        masks = source.mask_set.frame(frame)
        assert masks.sum(0).max() == 1
        assert (masks.any(0) == pixels[frame].any(-1).numpy()).all()


def test_capsules_alone_are_what_the_fixed_functions_give(two):
    poses, case = two
    pixels, people = Scene.of(replace(poses, points=None, scores=None)).frames(0, 3)
    joints = torch.from_numpy(case["joints"])
    assert torch.equal(pixels, render_skeleton(joints, *poses.size))
    assert torch.equal(people, render_people(joints, *poses.size))


def test_a_part_of_the_drawing_can_be_left_out(two):
    poses, _ = two

    def drawn(**look) -> torch.Tensor:
        pixels = PoseClip(replace(poses, look=Look(**look))).read(0, 1)[0]
        return (pixels != PoseClip(replace(poses, points=None, scores=None)).read(0, 1)[0]).any(-1)

    both, face, hands = drawn(), drawn(hands=False), drawn(face=False)
    assert (face & ~both).sum() == (hands & ~both).sum() == 0
    assert face.any()
    assert hands.any()
    x, y = poses.points[0, 0, LEFT_HAND][poses.scores[0, 0, LEFT_HAND] > 0.5][4].long().tolist()
    assert hands[y, x]
    assert not face[y, x]
    assert not drawn(face=False, hands=False).any()


def test_any_stretch_has_the_same_bits(two):
    clip = PoseClip(two[0])
    whole = clip.read(0, 3)
    for start, stop in ((0, 1), (1, 3), (2, 3)):
        assert torch.equal(clip.read(start, stop), whole[start:stop])
    assert torch.equal(clip.at([2, 0, 0]), whole[[2, 0, 0]])
    assert torch.equal(torch.stack(list(clip)), whole)


def test_people_with_cameras_of_their_own_are_compared_by_depth():
    poses = moving(1)
    moved = replace(poses, cameras=poses.cameras.clone())
    moved.cameras[1] *= torch.tensor((0.7, 0.8, 1.1, 0.9))
    pixels, people = Scene.of(moved).frames(0, 1)
    alone = [Scene.of(moved.select([person])).frames(0, 1)[1][0] > 0 for person in (0, 1)]
    assert torch.equal(people[0] > 0, alone[0] | alone[1])
    assert (people[0] == 2).sum() != (Scene.of(poses).frames(0, 1)[1] == 2).sum()
    nearer = moved.joints.clone()
    nearer[0, 1] = moved.joints[0, 0] * 0.5  # on the same rays of person 1's camera, half as far
    same = replace(moved, joints=nearer, cameras=poses.cameras)
    front = Scene.of(same).frames(0, 1)[1][0]
    assert not (front == 1).any()


def test_another_size_is_the_same_scene(two):
    poses, _ = two
    height, width = poses.size
    _, small = Scene.of(poses).frames(0, 1)
    _, large = Scene.of(poses.covering(2 * height, 2 * width)).frames(0, 1)
    assert (large[:, ::2, ::2] != small).float().mean() < 0.01


@pytest.mark.parametrize("filmed", [True, False])
def test_rate_times_and_sound_are_those_of_the_video(filmed):
    poses = replace(moving(4), rate=Fraction(12))
    audio = {"waveform": torch.ones(1, 1, 4000), "sample_rate": 8000}
    if filmed:
        poses = replace(poses, filmed=Filmed(torch.zeros(4, 8, 8, 3), Fraction(24), audio))
    clip = PoseClip(poses)
    assert (clip.rate, clip.variable) == ((24, True) if filmed else (12, False))
    assert clip.times().tolist() == pytest.approx(FOUND if filmed else np.arange(5) / 12)
    with clip.sound(Fraction(1, 6)) as track:
        assert (track is not None) == filmed


def test_another_rate_repeats_pictures_and_leaves_some_out():
    clip = PoseClip(replace(moving(6), rate=Fraction(12)))
    twice, half = retimed(clip, 24), retimed(clip, 6)
    assert torch.equal(twice.read(0, 12), clip.read(0, 6).repeat_interleave(2, 0))
    assert len(half) == 3
    assert torch.equal(first_frames(clip, 4).read(0, 4), clip.read(0, 4))
    assert len(retimed(PoseClip(replace(moving(4), filmed=Filmed(torch.zeros(4, 8, 8, 3), Fraction(24)))))) == 5


def test_a_video_of_another_length_gives_its_rate_only():
    clip = PoseClip(replace(moving(3), filmed=Filmed(torch.zeros(4, 8, 8, 3), Fraction(24))))
    assert (clip.rate, clip.variable, len(clip.times())) == (24, False, 4)


def test_the_digest_is_that_of_what_is_seen_and_heard():
    poses = replace(moving(2), rate=Fraction(12))
    filmed = TensorClip(torch.zeros(2, 8, 8, 3), Fraction(12))
    loud = TensorClip(torch.zeros(2, 8, 8, 3), Fraction(12), {"waveform": torch.ones(1, 1, 99), "sample_rate": 800})
    others = [replace(poses, joints=poses.joints + 1), replace(poses, rate=Fraction(13)), replace(poses, filmed=filmed),
              replace(poses, filmed=loud), replace(poses, look=Look(hands=False)), replace(poses, labels=(1, 3))]
    assert PoseClip(poses).digest() == PoseClip(replace(poses, names=("Anna", "Ben"), notes=("a",))).digest()
    assert len({PoseClip(one).digest() for one in (poses, *others)}) == 7


def test_every_thread_has_a_clip_of_its_own(two):
    clip, found = PoseClip(two[0]), {}
    whole = clip.read(0, 3)

    def read(number: int) -> None:
        with closing(clip.ticking(lambda: None)) as own:
            found[number] = [own.read(frame, frame + 1) for frame in (number % 3, 2, 0)]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, frames in found.items():
        assert torch.equal(torch.cat(frames), whole[[number % 3, 2, 0]])
    assert len(found) == 4


def test_every_frame_ticks_and_a_tick_may_stop():
    ticks = []
    clip = PoseClip(moving(5), lambda: ticks.append(1))
    clip.read(1, 4)
    assert len(ticks) == 3
    driving_source(moving(5), lambda: ticks.append(1))
    assert len(ticks) == 8

    def cancel() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        clip.ticking(cancel).read(0, 1)


def test_a_segment_is_read_as_of_any_clip():
    poses = moving(7)
    source = driving_source(poses)
    identities = Identities("animation", source.mask_set, (source.mask_set.picked([0]),), poses.labels, poses.names,
                            (0, 1))
    reader = Reader(PoseClip(poses), identities, plan_segments(7, 5, 1), crop=None, tick=lambda: None)
    pixels, mask, _ = reader.take(1, (64, 96))
    assert pixels.shape == (5, 3, 32, 48)
    assert torch.equal(reader.waited(mask), pack_driving_mask(identities.driving_colours(4, 9)))
    reader.stop()


def test_cuts_are_found_where_the_video_has_them():
    video = torch.rand(2, 36, 64, 3, generator=torch.Generator().manual_seed(1)).repeat_interleave(20, 0)
    clip = PoseClip(replace(moving(40), filmed=TensorClip(video, Fraction(24))))
    assert find_cuts(clip) == [20]
    assert find_cuts(retimed(clip, 12)) == [10]
    assert find_cuts(PoseClip(replace(moving(40), rate=Fraction(24)))) == []


def test_the_mesh_is_a_picture_of_the_render_node():
    with pytest.raises(ValueError, match="look mesh, which only Render SCAIL-2 Poses can make a picture of: connect"):
        PoseClip(replace(moving(1), look=Look(style="mesh")))
