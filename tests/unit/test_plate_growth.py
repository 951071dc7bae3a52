"""What made people have outside of the driven ones is found in drawn pictures, and stands still."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.plate.composite import Composited
from scail_model.plate.edge import Edge
from scail_model.plate.facts import FrameFacts, lines
from scail_model.plate.growth import Look, look, reduced, steady
from scail_model.plate.placement import Covered
from scail_model.plate.plate import Plate
from scail_model.plate.resample import resampled

HEIGHT, WIDTH, FRAMES = 192, 256, 7
NARROW = Edge(2, 2)
HALF_A_LEVEL = 0.5 / 255
random = np.random.default_rng(5)


def ellipse(x, y, across, down):
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return ((columns + 0.5 - x) / across) ** 2 + ((rows + 0.5 - y) / down) ** 2 < 1


def place():
    """Something filmed: soft colours, edges and fine structure, float32 [H, W, 3] in 0..1."""
    wide = ndimage.gaussian_filter(random.random((HEIGHT, WIDTH, 3)), (12, 12, 0))
    fine = ndimage.gaussian_filter(random.random((HEIGHT, WIDTH, 3)), (1, 1, 0))
    picture = 0.45 + 6 * (wide - 0.5) + 0.3 * (fine - 0.5)
    picture[:, WIDTH // 2 :] *= 0.7  # an edge behind the people
    return picture.clip(0.05, 0.95).astype(np.float32)


FILMED = place()


def person(frame=0):
    return ellipse(110 + 2 * frame, 110, 24, 60)


def hair(frame=0):
    """Twice as wide as the head, and above it; outside of the driven person."""
    return ellipse(110 + 2 * frame, 62, 42, 30) & ~person(frame)


def remade(*where, cast=0.0):
    """The same place as a model makes it anew: softer, a little noise, with people of other colours."""
    made = ndimage.gaussian_filter(FILMED, (1.2, 1.2, 0)) + 0.02 * random.standard_normal(FILMED.shape) + cast
    for number, mask in enumerate(where):
        made[mask] = (0.9, 0.2 + 0.3 * number, 0.1)
    return made.clip(0, 1).astype(np.float32)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


class TestLook:
    @pytest.mark.parametrize("cast", [0.0, 0.06])
    def test_bigger_hair_is_found(self, cast):
        found = look(remade(person(), hair(), cast=cast), FILMED, person(), None)
        assert overlap(found.grown, hair()) > 0.85

    def test_nothing_is_found_where_nothing_grows(self):
        assert look(remade(person()), FILMED, person(), None).grown.mean() < 0.001

    def test_what_hangs_together_with_nobody_is_left_out(self):
        apart = ellipse(160, 60, 8, 8)
        assert not look(remade(person(), apart), FILMED, person(), None).grown[apart].any()

    def test_only_what_is_near_counts(self):
        flag = np.zeros((HEIGHT, WIDTH), bool)
        flag[100:112, 120:256] = True  # from the person to the picture's border
        found = look(remade(person(), flag), FILMED, person(), None).grown
        assert found[106, 140]
        assert not found[:, 190:].any()

    def test_who_stays_as_filmed_is_no_part_of_anybody(self):
        other = ellipse(155, 110, 20, 60) & ~person()
        found = look(remade(person(), other), FILMED, person(), other)
        assert not found.grown[other].any()

    @pytest.mark.parametrize("people", [np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)],
                             ids=["nobody", "nothing but people"])
    def test_without_people_or_place_nothing_is_measured(self, people):
        assert not look(remade(), FILMED, people, None).grown.any()

    def test_a_place_that_is_wholly_invented_is_nobodys_hair(self):
        invented = np.roll(FILMED, (60, 100), (0, 1))
        assert look(invented, FILMED, person(), None).grown.mean() < 0.01


class TestSteady:
    empty, full = np.zeros((HEIGHT, WIDTH), bool), hair()

    def looks(self, *shown):
        return [Look(person(), self.full if each else self.empty, self.empty) for each in shown]

    def test_what_one_frame_shows_is_left_out(self):
        assert not steady(*self.looks(0, 1, 0)).any()

    def test_what_one_frame_does_not_show_is_filled_in(self):
        assert np.array_equal(steady(*self.looks(1, 0, 1)), self.full)

    def test_what_moves_on_stays(self):
        before, now, after = (Look(person(frame), hair(frame), self.empty) for frame in range(3))
        assert overlap(steady(before, now, after), hair(1)) > 0.99

    @pytest.mark.parametrize(("shown", "there"), [((None, 1, 1), True), ((None, 1, 0), False), ((1, 1, None), True),
                                                  ((None, 1, None), True)])
    def test_ends_have_one_neighbour_or_none(self, shown, there):
        looks = [None if each is None else self.looks(each)[0] for each in shown]
        assert steady(*looks).any() == there


@pytest.mark.parametrize("size", [(31, 40), (96, 100), (192, 256), (300, 400)])
def test_what_was_filmed_is_made_small_where_the_made_picture_shows_it(size):
    smooth, there = ndimage.gaussian_filter(FILMED, (9, 9, 0)), Covered((HEIGHT, WIDTH), size).at(0)
    levels = (smooth * 255).round().astype(np.uint8)
    expected = resampled(torch.from_numpy(levels)[None].float() / 255, there, size)[0].numpy()
    assert np.abs(reduced(levels, there, size) - expected).max() < 0.02


def plate(measured=True, bystander=None, edge=NARROW, frames=FRAMES):
    masks = [torch.from_numpy(np.stack([person(frame) for frame in range(frames)])).float()]
    if bystander is not None:
        masks.append(torch.from_numpy(np.stack([bystander] * frames)).float())
    identities = bind("replacement", from_masks(masks, DRIVING), [from_masks([masks[0][:1]], REFERENCE)],
                      binding="" if bystander is None else "1:1")
    filmed = TensorClip((torch.from_numpy(FILMED) * 255).round().to(torch.uint8)[None].expand(frames, -1, -1, -1))
    return Plate(filmed, Covered((HEIGHT, WIDTH), (HEIGHT, WIDTH)), identities, edge, measured=measured)


def made(frames=FRAMES, bald=()):
    return torch.from_numpy(np.stack([remade(person(frame), *([] if frame in bald else [hair(frame)]))
                                      for frame in range(frames)]))


def written(composited, *stretches):
    return torch.cat([torch.stack(list(composited.pictures(*stretch, lambda: None))) for stretch in stretches])


def test_the_whole_head_of_hair_is_put_into_the_plate_in_every_frame():
    shown = written(Composited(plate(), made(bald=[3]), 0), (0, FRAMES))
    for frame in set(range(FRAMES)) - {3}:
        red = shown[frame].numpy()[..., 0] > 0.8
        assert (red & hair(frame)).sum() > 0.93 * hair(frame).sum()
        far = ndimage.distance_transform_edt(~(person(frame) | hair(frame))) > 12
        assert np.array_equal((shown[frame].numpy()[far] * 255).round(), np.round(FILMED[far] * 255))
    # where one frame lacks it, the made picture is shown all the same, and nothing of the plate comes through
    inside = ndimage.binary_erosion(hair(3), iterations=6)
    assert np.abs(shown[3].numpy() - made(bald=[3])[3].numpy())[inside].max() < 0.2


def test_frames_are_the_same_in_any_pieces_and_with_what_came_before():
    whole = made()
    one = written(Composited(plate(), whole, 0), (0, FRAMES))
    pieces = written(Composited(plate(), whole, 0), (4, FRAMES), (0, 2), (2, 4))
    assert torch.equal(one, torch.cat((pieces[3:], pieces[:3])))
    later = written(Composited(plate(), whole[3:], 3, whole[:3]), (0, FRAMES - 3))
    assert torch.equal(one[3:], later)


def test_bystanders_stay_as_filmed_though_the_edge_and_the_hair_reach_them():
    bystander = ellipse(168, 90, 22, 70) & ~person(FRAMES - 1)
    filmed = (torch.from_numpy(FILMED) * 255).round()
    shown = written(Composited(plate(bystander=bystander, edge=Edge(12, 6)), made(), 0), (0, FRAMES))
    for frame in range(FRAMES):
        outside = torch.from_numpy(bystander & ~person(frame))
        assert torch.equal((shown[frame] * 255).round()[outside], filmed[outside])
    without = written(Composited(plate(edge=Edge(12, 6)), made(), 0), (0, FRAMES))
    assert not torch.equal((without * 255).round()[:, outside], filmed.expand(FRAMES, -1, -1, -1)[:, outside])


def test_another_bystander_is_another_plate():
    keys = {plate(bystander=one).key for one in (None, ellipse(200, 90, 20, 60), ellipse(210, 90, 20, 60))}
    assert len(keys) == 3


class TestFacts:
    def test_hair_that_is_cut_off_is_named_by_its_side(self):
        composited = Composited(plate(measured=False), made(), 0)
        written(composited, (0, FRAMES))
        facts = [composited.facts[frame] for frame in range(FRAMES)]
        assert all("top" in each.cut or {"left", "right"} <= set(each.cut) for each in facts)
        assert "as if hair or clothes were cut off" in lines(facts)[1]
        assert "raise plate_grow, or give masks of the made people" in lines(facts)[1]

    def test_measured_hair_is_not(self):
        composited = Composited(plate(), made(), 0)
        written(composited, (0, FRAMES))
        (line,) = lines([composited.facts[frame] for frame in range(FRAMES)])
        kept = np.mean([composited.facts[frame].kept for frame in range(FRAMES)])
        assert line.startswith(f"plate: {kept:.1%} of the pixels are as filmed (")
        assert 0.6 < kept < 0.9

    def test_one_frame_is_no_reason_to_speak(self):
        assert len(lines([FrameFacts(0.5, ()), FrameFacts(0.5, ("top",)), FrameFacts(0.5, ())])) == 1
        assert lines([]) == []


class TestHeld:
    """A plate that the made picture was held to while it was sampled."""

    shadow = ellipse(150, 172, 22, 6) & ~person()
    edge = Edge(40, 8)

    def shares(self, held):
        masks = torch.from_numpy(person())[None].float()
        identities = bind("replacement", from_masks([masks], DRIVING), [from_masks([masks], REFERENCE)])
        filmed = torch.from_numpy(FILMED)[None].mul(255).round().to(torch.uint8)
        plate = Plate(TensorClip(filmed), Covered((HEIGHT, WIDTH), (HEIGHT, WIDTH)), identities, self.edge, held=held)
        made = remade(person())
        made[self.shadow] -= 0.08
        shown = next(iter(Composited(plate, torch.from_numpy(made)[None], 0).pictures(0, 1, lambda: None)))
        return plate.share(0), (shown - filmed[0] / 255).abs().amax(-1).numpy(), made, shown.numpy()

    def test_around_people_the_plate_itself_is_shown_where_nothing_else_is_seen(self):
        share, error, *_ = self.shares(held=True)
        apart = (share == 1) & ~ndimage.binary_dilation(person() | self.shadow, iterations=8)
        assert (error[apart] < HALF_A_LEVEL).mean() > 0.9
        assert (self.shares(held=False)[1][apart] < HALF_A_LEVEL).mean() < 0.1

    def test_people_and_what_they_throw_around_them_are_made(self):
        _, _, made, shown = self.shares(held=True)
        well_inside = ndimage.binary_erosion(self.shadow, iterations=2)
        assert np.abs(shown - made)[well_inside].mean() < 0.01
        assert np.allclose(shown[person()], made[person()], atol=1e-6)
