"""One person cropped and put back: the window's path, what is seen through it, and that nothing else changes."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from plates import composited, shares

from scail_model.geometry import cover_crop
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.media.encoding import Encoding
from scail_model.media.video_file import FileClip
from scail_model.plate.cropped import CroppedClip
from scail_model.plate.edge import Edge
from scail_model.plate.enlarged import enlarged
from scail_model.plate.pasting import Pasted, paste
from scail_model.plate.person_crop import FACE, crop_person
from scail_model.plate.resample import Affine, resampled
from scail_model.plate.window import Boxes, follow

RATE = Fraction(16)
STILL = np.array([300.0, 160.0, 340.0, 270.0])  # a person in a picture of 640x360


def windows(boxes, seen=None, *, plate=(360, 640), size=(128, 96), margin=0.2, cuts=()):
    seen = np.ones(len(boxes), bool) if seen is None else seen
    return follow(Boxes(np.asarray(boxes, np.float64), seen), plate, size, margin, RATE, cuts).rectangles


def still(frames=80, jitter=0):
    """A person who does not move, whose mask does."""
    return STILL + np.random.default_rng(0).integers(-jitter, jitter + 1, (frames, 4))


def moving(by, frames=80):
    return STILL + np.arange(frames)[:, None] * np.array([by, 0, by, 0])


def turn(rectangles):
    """The largest second difference of an edge, in pixels."""
    return np.abs(np.diff(rectangles, 2, axis=0)).max()


class TestWindow:
    @pytest.mark.parametrize("boxes", [still(jitter=2), still(jitter=3) - [300, 0, 300, 0], moving(3.0)[:60]])
    def test_a_path_does_not_tremble(self, boxes):
        assert turn(windows(boxes)) < 0.1

    @pytest.mark.parametrize("boxes", [
        still(jitter=2), moving(4.0), moving(-4.0, 70), STILL + np.linspace(0, 1, 80)[:, None] * [-60, -90, 60, 80],
        STILL + np.repeat([[0], [150]], 40, 0) * [1, 0, 1, 0]],
        ids=["still", "walks right", "walks left", "comes nearer", "jumps"])
    def test_the_person_is_in_it_with_the_margin_wherever_the_picture_allows(self, boxes):
        boxes = boxes.clip(0, [640, 360, 640, 360])
        found, around = windows(boxes), (boxes[:, 2:] - boxes[:, :2]) * 0.2
        low, high = np.maximum(boxes[:, :2] - around, 0), np.minimum(boxes[:, 2:] + around, [640, 360])
        assert (found[:, :2] <= low + 0.01).all()
        assert (found[:, 2:] >= high - 0.01).all()

    def test_it_never_leaves_the_picture_and_keeps_its_shape(self):
        found = windows(moving(6.0, 60).clip(0, 640))
        assert found.min() >= 0
        assert (found[:, 2:] <= [640 + 1e-6, 360 + 1e-6]).all()
        sides = found[:, 2:] - found[:, :2]
        assert np.allclose(sides[:, 1] / sides[:, 0], 128 / 96)

    def test_it_goes_straight_on_where_nobody_is_seen(self):
        boxes, seen = moving(3.0), np.ones(80, bool)
        seen[30:50] = False
        boxes[~seen] = 0
        whole, bridged = windows(moving(3.0)), windows(boxes, seen)
        assert np.abs(whole - bridged).max() < 2

    def test_it_begins_anew_at_a_cut(self):
        boxes = np.concatenate([still(40), still(40) + [200, 0, 200, 0]])
        found = windows(boxes, cuts=(40,))
        assert turn(found[:40]) < 0.1
        assert np.allclose(found[40] - found[39], [200, 0, 200, 0], atol=1)

    def test_pictures_of_another_shape_or_too_small_get_the_largest_window_there_is(self):
        wide = windows(np.tile([20.0, 100.0, 600.0, 300.0], (5, 1)))
        assert np.allclose(wide[:, 3] - wide[:, 1], 360)
        tiny = windows([[1.0, 1.0, 3.0, 6.0]], plate=(8, 8))
        assert tiny.min() >= 0
        assert tiny.max() <= 8

    @pytest.mark.parametrize("size", [(416, 256), (832, 448), (96, 96)])
    def test_at_another_size_it_shows_what_the_cropped_video_shows_there(self, size):
        """What `cover_crop` leaves of the window's picture, told by where two drawn lines come to lie."""
        window = follow(Boxes(still(3).astype(np.float64), np.ones(3, bool)), (360, 640), (832, 480), 0.2, RATE)
        picture = torch.zeros(1, 3, *window.size)
        picture[:, :, 400:420], picture[:, :, :, 200:220] = 1, 1
        seen = cover_crop(picture, *size)[0, 0]
        rows, columns = ((line - 0.5).clamp(min=0) for line in (seen.median(1).values, seen.median(0).values))
        found = [float((line * (torch.arange(len(line)) + 0.5)).sum() / line.sum()) for line in (columns, rows)]
        (across, down), (left, top) = window.at(0).inverse
        x, y = 210 * across - left, 410 * down - top  # of the lines, on the plate
        other = window.sized(size).at(0)
        assert [x * other.scale[0] - other.offset[0], y * other.scale[1] - other.offset[1]] == pytest.approx(
            found, abs=0.3)


def photograph(height=180, width=240, seed=0):
    """A picture with detail at all sizes and soft light, uint8 [h, w, 3]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.full((3, height, width), 0.5)
    for size in (3, 8, 20, 60):
        noise = torch.randn(1, 3, size, size * 4 // 3, generator=generator)
        picture += 0.08 * torch.nn.functional.interpolate(noise, (height, width), mode="bicubic")[0]
    return (picture.clamp(0.02, 0.98).movedim(0, -1) * 255).round().byte()


class TestEnlarged:
    @pytest.mark.parametrize("scale", [1.3, 2.0, 3.7, 6.0])
    @pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, 0.61)])
    def test_it_comes_back_within_half_a_level(self, scale, offset):
        frame, size = photograph(), (192, 160)
        affine = Affine((scale, scale), (40 * scale + offset[0], 30 * scale + offset[1]))
        back = affine.inverse.moved(45.0, 35.0)
        shape = int(size[0] / scale) - 10, int(size[1] / scale) - 10
        returned = resampled(enlarged(frame, affine, size)[None].float(), back, shape)[0]
        error = (returned - frame[35 : 35 + shape[0], 45 : 45 + shape[1]]).abs()
        # of few pixels that are read, each is rounded to a level
        assert error.max() < (0.5 if scale >= 2 else 0.7)
        assert error.mean() < 0.15

    def test_cubic_alone_would_not(self):
        frame, affine = photograph(), Affine((3.7, 3.7), (148.0, 111.0))
        cubic = resampled(frame[None].float(), affine, (192, 160)).round().clamp(0, 255)
        returned = resampled(cubic, affine.inverse.moved(45.0, 35.0), (40, 30))[0]
        assert (returned - frame[35:75, 45:75]).abs().max() > 0.5


def scene(frames=12, height=180, width=240, people=1, rate=RATE):
    """A clip and identities of people who walk to the right, one below the other's place."""
    images = torch.stack([photograph(height, width, 1).roll(frame, 1) for frame in range(frames)])
    masks = torch.zeros(people, frames, height, width)
    for person in range(people):
        for frame in range(frames):
            left = 60 + 60 * person + 2 * frame
            masks[person, frame, 60:110, left : left + 20] = 1
    references = from_masks([torch.ones(1, 40, 30)] * people, REFERENCE)
    if people > 1:
        halves = torch.zeros(people, 1, 40, 30)
        for person in range(people):
            halves[person, 0, :, person * 15 : person * 15 + 15] = 1
        references = from_masks(list(halves), REFERENCE)
    return TensorClip(images, rate), bind("replacement", from_masks(list(masks), DRIVING), [references])


class TestThereAndBack:
    @pytest.mark.parametrize(("size", "part"), [((256, 128), "person"), ((224, 256), "person"), ((96, 192), FACE)])
    def test_nothing_changes_outside_and_less_than_half_a_level_inside(self, size, part):
        clip, identities = scene()
        crop, *_ = crop_person(clip, identities, 1, size, part=part)
        made = TensorClip(crop.seen.read(0, len(clip)), RATE)
        plate = crop.plate(made, Edge(6, 6))
        after = torch.stack(list(Pasted(plate, made, 0, len(clip)).pictures(0, len(clip), lambda: None))) * 255
        before, share = clip.images.float(), torch.from_numpy(shares(plate, len(clip)))
        assert 0 < (share > 0).float().mean() < 0.5
        outside = share == 0
        assert torch.equal(after.round()[outside], before[outside])
        assert (after - before).abs().max() < 0.5

    def test_what_was_made_is_there_and_nothing_of_the_original(self):
        clip, identities = scene()
        crop, *_ = crop_person(clip, identities, 1, (192, 96))
        made = TensorClip(torch.full((len(clip), 192, 96, 3), 37, dtype=torch.uint8), RATE)
        plate = crop.plate(made, Edge(0, 0))
        after = composited(plate, 0, made.images.float() / 255) * 255
        inside = crop.identities.driving.frame(3)[0]
        assert (after[3][torch.from_numpy(inside)].round() == 37).all()

    def test_the_file_has_rate_frames_and_the_other_people_as_filmed(self, tmp_path):
        clip, identities = scene(people=2)
        crop, seen, *_ = crop_person(clip, identities, 2, (128, 96))
        assert seen.labels == (2,)
        assert seen.driving.size == (128, 96)
        made = TensorClip(255 - crop.seen.read(0, len(clip)), RATE)
        paste(crop.plate(made, Edge(40, 8)), made, tmp_path / "whole.mp4", RATE, Encoding("lossless", 0), lambda: None)
        found = FileClip(tmp_path / "whole.mp4")
        assert (len(found), found.rate, found.size) == (12, RATE, (180, 240))
        other = torch.from_numpy(identities.driving.frame(5)[0])
        assert torch.equal(found.read(5, 6)[0][other], clip.images[5][other])
        mine = torch.from_numpy(identities.driving.frame(5)[1])
        assert (found.read(5, 6)[0][mine] != clip.images[5][mine]).float().mean() > 0.9
        assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]


def test_a_crop_reads_the_same_in_any_order():
    clip, identities = scene()
    crop, *_ = crop_person(clip, identities, 1, (96, 64))
    seen = crop.seen
    whole = seen.read(0, 12)
    assert torch.equal(whole[[7, 2, 11]], seen.at([7, 2, 11]))
    assert torch.equal(whole[3:9], seen.ticking(lambda: None).read(3, 9))
    assert isinstance(seen, CroppedClip)
    assert seen.digest() != clip.digest()
    assert seen.rate == RATE
