"""The plate during sampling: what is held, when, and where people may grow beyond the driven ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scail_model.geometry import cover_crop
from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import DRIVING, REFERENCE, from_masks
from scail_model.media.clips import TensorClip
from scail_model.plate.edge import Edge
from scail_model.plate.lock import Holding, PlateLock, on_filmed, read_filmed
from scail_model.plate.placement import Covered
from scail_model.plate.plate import Plate
from scail_model.segments import Segment
from scail_model.solvers import SOLVERS, make_schedule
from scail_model.video.denoising import denoise, whole_timesteps

SIZE, FRAMES = (96, 128), 9  # height, width
EVERY, PERSON = (slice(None),), (slice(32, 80), slice(48, 64))
EDGE = Edge(4, 8)


def plate(*, filmed=None, others=None, measured=True, edge=EDGE, given=None, size=SIZE, frames=FRAMES):
    """One person, at PERSON in every frame. others: masks of somebody else, who stays as filmed."""
    masks = torch.zeros(frames, *SIZE)
    masks[EVERY + PERSON] = 1
    people = [masks] if others is None else [masks, others]
    identities = bind("replacement", from_masks(people, DRIVING), [from_masks([masks[:1]], REFERENCE)],
                      binding="" if others is None else "1:1")
    if filmed is None:
        filmed = (torch.rand(frames, *SIZE, 3, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    return Plate(TensorClip(filmed), Covered(SIZE, size), identities, edge, given, measured)


def whole(frames=FRAMES):
    return Segment(0, frames, -(-(frames - 1) // 4) * 4 + 1, 0)


def lock(filmed, latents=None):
    shape = filmed.free.shape
    latents = torch.randn(1, 16, *shape[2:], generator=torch.Generator().manual_seed(1)) if latents is None else latents
    return filmed.locked(latents, None)


def timesteps_are_whole(solver):
    """Then the network is told another noise level than the solver's, by up to a thousandth."""
    return SOLVERS[solver].whole_timesteps


def cells_of(box, frames=3):
    """The latent cells that a box of pixels touches, bool [frames, h, w], counted one by one."""
    rows, columns = box
    cells = np.zeros((frames, SIZE[0] // 8, SIZE[1] // 8), bool)
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            cells[:, y // 8, x // 8] = True
    return cells


def grown(box, pixels):
    return tuple(slice(side.start - pixels, side.stop + pixels) for side in box)


def test_what_is_filmed_is_what_the_model_sees_of_it_at_full_size():
    one = plate(size=(64, 64), frames=7)
    filmed = read_filmed(one, whole(7))
    expected = cover_crop(one.clip.read(0, 7).movedim(-1, 1), 64, 64).movedim(1, -1)
    assert filmed.pixels.shape == (9, 64, 64, 3)
    assert (filmed.pixels[:7].int() - expected.int()).abs().max() <= 1
    assert torch.equal(filmed.pixels[7:], filmed.pixels[6:7].expand(2, -1, -1, -1))
    assert filmed.frames.max() <= 1


def test_cells_that_the_grown_mask_touches_are_free_and_others_are_held():
    filmed = read_filmed(plate(measured=False), whole())
    free = filmed.free[0, 0].numpy()
    assert free.shape == (3, 12, 16)
    assert filmed.wide is None
    assert np.array_equal((free == 1)[:, 3:11, 5:9], cells_of(grown(PERSON, 4))[:, 3:11, 5:9])
    assert not free[~cells_of(grown(PERSON, 4 + 8))].any()
    feather = free[(free > 0) & (free < 1)]
    assert len(feather)
    assert feather.max() < 0.3


def test_a_latent_frame_is_free_where_any_of_its_frames_is():
    one = plate(measured=False)
    masks = torch.zeros(FRAMES, *SIZE)
    masks[EVERY + PERSON] = 1
    masks[6, 8:16, 8:16] = 1  # in the last latent frame alone
    identities = bind("replacement", from_masks([masks], DRIVING), [from_masks([masks[:1]], REFERENCE)])
    free = read_filmed(Plate(one.clip, one.placement, identities, EDGE), whole()).free[0, 0]
    assert [float(frame[1, 1]) for frame in free] == [0, 0, 1]


def test_those_who_stay_as_filmed_are_never_free():
    others = torch.zeros(FRAMES, *SIZE)
    others[:, 32:80, 68:120] = 1
    one = plate(others=others)
    assert one.identities.bystanders is not None
    filmed = read_filmed(one, whole())
    for share in (filmed.free, filmed.wide):
        assert not share[..., 4:10, 9:15].any()  # cells that are all theirs


def test_while_the_noise_is_high_a_share_of_the_persons_height_is_free():
    filmed = read_filmed(plate(), whole())
    wide = (filmed.wide == 1)[0, 0].numpy()
    rows, columns = PERSON
    for box in ((grown(PERSON, 12)[0], columns), (rows, grown(PERSON, 12)[1])):  # 12 pixels of 48
        assert wide[cells_of(box)].all()
    assert not wide[:, :1].any()  # 20 pixels above and more
    assert not wide[:, :, :4].any()


def test_given_masks_are_free_and_nothing_is_looked_for():
    hat = torch.zeros(FRAMES, *SIZE)
    hat[:, 8:32, 48:64] = 1
    filmed = read_filmed(plate(given=from_masks([hat], "plate").mask_set), whole())
    assert filmed.wide is None
    assert (filmed.free[0, 0, :, 1:4, 6:8] == 1).all()


def test_a_cell_is_held_until_the_noise_falls_to_its_share():
    latents, answer = torch.zeros(1, 16, 1, 1, 3), torch.ones(1, 16, 1, 1, 3)
    free = torch.tensor([0.0, 0.4, 1.0]).view(1, 1, 1, 1, 3)
    holding = Holding(PlateLock(latents, free, None, EDGE))
    assert holding.held(answer, 1.0)[0, 0].flatten().tolist() == [0, 0, 1]
    assert holding.held(answer, 0.41)[0, 0].flatten().tolist() == [0, 0, 1]
    assert holding.held(answer, 0.4)[0, 0].flatten().tolist() == [0, 1, 1]
    assert holding.held(torch.cat((answer, answer)), 0.01)[1, 0].flatten().tolist() == [0, 1, 1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_ends_at_the_plate_and_passes_its_noise_levels(solver):
    """Whatever a network answers. x in held cells is the plate at the noise of each step."""
    held = lock(read_filmed(plate(measured=False), whole()))
    holding, noise = Holding(held), torch.randn(held.plate.shape, generator=torch.Generator().manual_seed(2))
    sigmas, timesteps = make_schedule(solver, 8, 3.0)
    never = (held.free == 0).expand_as(noise)
    seen = []

    def ask(x, level, mask):
        expected = (1 - level) * held.plate + level * noise
        seen.append(float((x - expected)[never].abs().max()))
        return holding.held(torch.sin(3 * x) * 2, level)

    result = denoise(ask, noise, sigmas, solver, whole_timesteps(solver, sigmas, timesteps), clean=None, mask=None)
    assert (result - held.plate)[never].abs().max() < (0.01 if timesteps_are_whole(solver) else 1e-5)
    assert max(seen) < 0.01
    assert (result - held.plate)[(held.free == 1).expand_as(noise)].abs().mean() > 0.3


def answer_of(held, *boxes):
    """The plate with something else in some boxes of pixels."""
    answer = held.plate + 0.1 * torch.randn(held.plate.shape, generator=torch.Generator().manual_seed(3))
    for box in boxes:
        answer[0, :, torch.from_numpy(cells_of(box))] += 1.0
    return answer


HAT = (slice(16, 32), slice(48, 64))
ISLAND = (slice(64, 72), slice(72, 80))  # as near, but apart from the person


def test_what_grows_out_of_the_person_stays_free_once_it_is_seen():
    held = lock(read_filmed(plate(edge=Edge(0, 0)), whole()))
    answer, far = answer_of(held, HAT, ISLAND), torch.full_like(held.plate, 9.0)
    holding = Holding(held)
    for level in (0.99, 0.9):  # too early to tell
        assert torch.equal(holding.held(far, level, positive=far) == 9, (held.wide == 1).expand_as(far))
    holding.held(answer, 0.8, positive=answer)
    free = (holding.held(far, 0.7, positive=far) == 9)[0, 0].numpy()
    assert free[cells_of(HAT)].all()
    assert free[cells_of(PERSON)].all()
    assert not free[~(cells_of(HAT) | cells_of(PERSON))].any()
    assert torch.equal(holding.held(far, 0.7), holding.held(far, 0.3))  # looked for once


def test_a_broad_difference_is_no_person():
    """Where the whole surroundings are off, it takes more to tell a person."""
    held = lock(read_filmed(plate(edge=Edge(0, 0)), whole()))
    holding, far = Holding(held), torch.full_like(held.plate, 9.0)
    answer = answer_of(held) + 0.6
    holding.held(answer, 0.8, positive=answer)
    free = (holding.held(far, 0.7) == 9)[0, 0].numpy()
    assert np.array_equal(free, cells_of(PERSON))


def test_each_sampling_looks_anew_and_windows_add_up():
    held = lock(read_filmed(plate(edge=Edge(0, 0)), whole()))
    answer, far = answer_of(held, HAT), torch.full_like(held.plate, 9.0)
    first, windows = Holding(held), Holding(held)
    first.held(answer, 0.8, positive=answer)
    for frames in ([0, 1], [1, 2]):
        windows.held(answer[:, :, frames], 0.8, frames=frames, positive=answer[:, :, frames])
    assert torch.equal(first.held(far, 0.5), windows.held(far, 0.5))
    assert torch.equal(windows.held(far[:, :, 1:], 0.5, frames=[1, 2]), windows.held(far, 0.5)[:, :, 1:])
    assert not (Holding(held).lock.free == 1)[0, 0].numpy()[cells_of(HAT)].any()


def test_history_is_never_held():
    held = replace(lock(read_filmed(plate(), whole())), history=2)
    answer = torch.full_like(held.plate, 9.0)
    for level in (0.95, 0.5):
        shown = Holding(held).held(answer, level, positive=answer)
        assert (shown[:, :, :2] == 9).all()
        assert (shown[:, :, 2] != 9).any()


def test_history_ties_nothing_to_the_people():
    """All of its frames are free, but what is apart from the people in the first new frame stays apart."""
    held = replace(lock(read_filmed(plate(edge=Edge(0, 0)), whole())), history=1)
    holding, answer, far = Holding(held), answer_of(held, HAT, ISLAND), torch.full_like(held.plate, 9.0)
    holding.held(answer, 0.8, positive=answer)
    free = (holding.held(far, 0.7) == 9)[0, 0].numpy()
    assert free[1:][cells_of(HAT)[1:]].all()
    assert not free[1:][cells_of(ISLAND)[1:]].any()


@pytest.mark.parametrize("measured", [True, False])
def test_what_the_next_segment_continues_from_has_the_plate_around_the_people(measured):
    one = plate(filmed=torch.full((FRAMES, *SIZE, 3), 51, dtype=torch.uint8), measured=measured)
    made = torch.full((5, *SIZE, 3), 0.22)
    made[:, 20:80, 48:64] = 0.9  # with a hat
    end = on_filmed(one, 4, made)
    around = F.max_pool2d((made[..., :1] == 0.9).float().movedim(-1, 1), 33, 1, 16).movedim(1, -1) == 0
    assert (end[around.expand_as(end)] == 0.2).all()
    assert (end[EVERY + PERSON] == 0.9).all()
    assert ((end[:, 21:26, 50:62] == 0.9).all()) == measured
