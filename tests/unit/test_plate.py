"""What is made put into what was filmed: places between pixels, soft edges, and pixels that stay."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from plates import composited
from plates import shares as shares_of
from scipy import ndimage

from scail_model.geometry import cover_crop
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.opencv import distances
from scail_model.plate.composite import Composited
from scail_model.plate.edge import Edge, shares
from scail_model.plate.placement import Covered, Rectangle, covered_part
from scail_model.plate.plate import Plate
from scail_model.plate.resample import Affine, resampled
from scail_model.plate.window import Boxes, follow


def _waves(height, width, phase=0.0):
    """A picture that is known at every place, [h, w, 3] in 0..1, sampled at the centres of pixels."""
    return _waves_at(torch.arange(height) + 0.5, torch.arange(width) + 0.5, phase)


def _waves_at(y, x, phase=0.0):
    y, x = y.double()[:, None], x.double()[None]
    return torch.stack([0.5 + 0.4 * torch.sin(y * a + phase) * torch.cos(x * b) for a, b in
                        ((0.11, 0.13), (0.07, 0.19), (0.17, 0.05))], -1).float()


class TestResampled:
    def test_whole_pixels_come_back_to_the_bit(self):
        picture = torch.rand(2, 20, 30, 3)
        moved = resampled(picture, Affine((1.0, 1.0), (3.0, 5.0)), (10, 12))
        assert torch.equal(moved, picture[:, 5:15, 3:15])

    @pytest.mark.parametrize(("scale", "offset"), [
        ((1.0, 1.0), (0.37, -0.81)), ((2.6, 2.6), (7.3, 4.9)), ((0.5, 0.5), (0.0, 0.25)), ((0.37, 0.41), (-1.2, 2.3))])
    def test_a_known_picture_is_read_between_its_pixels(self, scale, offset):
        affine, size = Affine(scale, offset), (24, 28)
        made = resampled(_waves(120, 140)[None], affine, size)[0]
        expected = _waves_at((torch.arange(size[0]) + 0.5 + offset[1]) / scale[1],
                             (torch.arange(size[1]) + 0.5 + offset[0]) / scale[0])
        inner = (slice(5, -5), slice(5, -5))
        assert (made[inner] - expected[inner]).abs().max() < 0.012

    def test_smaller_pictures_are_those_of_pillow(self):
        picture = torch.rand(40, 60, 3)
        expected = np.stack([np.asarray(Image.fromarray(channel.numpy()).resize((21, 17), Image.Resampling.BICUBIC))
                             for channel in picture.unbind(-1)], -1)
        made = resampled(picture[None], Affine((21 / 60, 17 / 40), (0.0, 0.0)), (17, 21))[0]
        assert np.abs(made.numpy() - expected).max() < 1e-5

    def test_there_and_back_is_where_it_was(self):
        picture, there = _waves(90, 80)[None], Affine((2.3, 2.3), (31.7, 22.1))
        back = resampled(resampled(picture, there, (100, 110)), there.inverse.moved(20.0, 15.0), (30, 25))
        assert (back - picture[:, 15:45, 20:45]).abs().max() < 0.002


class TestShares:
    inside = np.zeros((60, 80), bool)
    inside[20:40, 30:50] = True
    whole = Rectangle(0, 0, 80, 60)

    def test_grown_whole_then_feathered_then_nothing(self):
        made = shares(self.inside, Edge(3, 4), 1.0, self.whole)
        row = made[30, 50:60]
        assert (row[:3] == 1).all()
        assert (np.diff(row[2:8]) < 0).all()
        assert not row[7:].any()

    def test_nothing_grown_is_the_mask(self):
        assert np.array_equal(shares(self.inside, Edge(0, 0), 0.5, self.whole), self.inside.astype(np.float32))

    def test_pixels_are_those_of_the_made_picture(self):
        assert np.array_equal(shares(self.inside, Edge(3, 4), 0.5, self.whole),
                              shares(self.inside, Edge(6, 8), 1.0, self.whole))

    def test_the_plate_comes_back_where_the_made_picture_ends(self):
        made = shares(self.inside, Edge(0, 5), 1.0, Rectangle(40.0, 0, 80, 60))
        assert not made[:, :40].any()
        assert 0 < made[30, 41] < made[30, 43] < 1 == made[30, 47]

    def test_what_is_kept_is_never_made(self):
        kept = np.zeros_like(self.inside)
        kept[25:35, 45:60] = True
        made = shares(self.inside, Edge(3, 4), 1.0, self.whole, kept)
        assert not made[kept].any()
        assert made[30, 44] == 1


def _plate(height, width, size, edge, frames=3):
    masks = torch.zeros(frames, height, width)
    for frame in range(frames):
        masks[frame, height // 4 : height // 2, width // 4 + frame : width // 2 + frame] = 1
    identities = bind("replacement", from_masks([masks], DRIVING), [from_masks([masks[:1]], REFERENCE)])
    filmed = TensorClip((torch.rand(frames, height, width, 3) * 255).to(torch.uint8))
    return Plate(filmed, Covered((height, width), size), identities, edge)


@pytest.mark.parametrize("size", [(64, 96), (64, 64), (32, 96), (128, 192)])
def test_outside_the_plate_is_as_filmed_and_inside_it_is_made(size):
    plate = _plate(67, 101, size, Edge(4, 4))
    made = cover_crop(_waves(67, 101)[None].expand(3, -1, -1, -1).movedim(-1, 1), *size).movedim(1, -1)
    result, filmed = composited(plate, 0, made), plate.clip.read(0, 3)
    for frame, share in enumerate(shares_of(plate, 3)):
        assert torch.equal((result[frame] * 255).round()[share == 0], filmed[frame].float()[share == 0])
        assert (share == 1).any()
        error = (result[frame] - _waves(67, 101))[share == 1].abs()
        assert error.max() < (0.04 if min(size) < 64 else 0.02)


def test_a_plate_of_the_made_size_takes_pixels_as_they_are():
    plate, made = _plate(64, 96, (64, 96), Edge(0, 0)), torch.rand(3, 64, 96, 3)
    result = composited(plate, 0, made)
    for frame, share in enumerate(shares_of(plate, 3)):
        assert torch.equal(result[frame][share == 1], made[frame][share == 1])


def test_the_covered_part_is_what_the_crop_leaves():
    part = covered_part(Covered((100, 200), (64, 64)), 0)
    assert (part.top, part.bottom) == (0, 100)
    assert part.left == pytest.approx(50, abs=1)
    assert part.right == pytest.approx(150, abs=1)


def test_a_cancel_is_heard_after_a_frame_is_read_and_before_it_is_put_together():
    plate, made, heard = _plate(64, 96, (64, 96), Edge(4, 4)), [], []
    for picture in Composited(plate, torch.rand(3, 64, 96, 3), 0).pictures(0, 3, lambda: heard.append(len(made))):
        made.append(picture)
    assert [heard.count(frame) for frame in range(3)] == [2, 2, 2]


def test_masks_of_the_plates_shape_lie_on_the_plate_also_where_a_window_has_that_shape():
    """A first pass through a window is a file of the plate's size, and so are masks of it."""
    boxes = Boxes(np.tile([30.0, 20.0, 50.0, 40.0], (3, 1)), np.ones(3, bool))
    window, made = follow(boxes, (64, 96), (128, 192), 0.2), torch.zeros(3, 64, 96)
    made[:, 24:36, 32:44] = 1
    plate = replace(_plate(64, 96, (128, 192), Edge(0, 0)), placement=window)
    given = replace(plate, given=from_masks([made], DRIVING).mask_set)
    found = given.made_people(1)
    assert found is not None
    assert np.array_equal(found, made[1].bool().numpy())


def test_the_key_is_of_all_that_decides_a_pixel():
    plate = _plate(64, 96, (64, 96), Edge(4, 4))
    people = plate.identities.driving
    others = [replace(plate, **changes) for changes in (
        {"edge": Edge(5, 4)}, {"edge": Edge(4, 5)}, {"measured": True}, {"given": people},
        {"placement": Covered((64, 96), (32, 64))},
        {"identities": replace(plate.identities, bystanders=people)},
        {"identities": replace(plate.identities, driving=people.picked([0, 0, 0]))})]
    assert len({each.key for each in (plate, *others)}) == 1 + len(others)
    assert replace(plate, edge=Edge(4, 4)).key == plate.key


def test_distances_are_exact_to_the_bit():
    """OpenCV's own differ in the last one by where a mask lies in memory: a run that is resumed would differ from one
    that never stopped."""
    y, x = np.ogrid[:96, :160]
    outside = (x - 80) ** 2 / 400 + (y - 48) ** 2 / 1200 > 1
    assert np.array_equal(distances(outside), ndimage.distance_transform_edt(outside).astype(np.float32))
