"""Colours drawn back: LAB's mean and spread by the formula of the standard, and what a match does with them."""

import numpy as np
import pytest
import torch

from scail_model.video.colour_match import colour_stats, matched

TO_XYZ = np.array(((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227)))


def lab(frames):
    """sRGB [..., 3] in 0..1 -> CIE LAB under D65 (ITU-R BT.709, CIE 15), float64."""
    rgb = frames.double().numpy()
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    ratio = linear @ TO_XYZ.T / np.array((0.95047, 1.0, 1.08883))
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 4 / 29)
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)


def noise(seed, low=0.3, high=0.7):
    return low + (high - low) * torch.rand(3, 12, 20, 3, generator=torch.Generator().manual_seed(seed))


def nothing():
    pass


def test_look_is_mean_and_spread_in_lab():
    frames = noise(0, 0.0, 1.0)
    look = colour_stats(frames, None, nothing)
    values = lab(frames).reshape(-1, 3)
    np.testing.assert_allclose(look.mean, values.mean(0), atol=0.01)
    np.testing.assert_allclose(look.spread, values.std(0), atol=0.01)


def test_a_mask_weighs_the_pixels():
    frames, where = noise(0), torch.rand(3, 12, 20, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    look = colour_stats(frames, where, nothing)
    weights, values = where.double().numpy().ravel(), lab(frames).reshape(-1, 3)
    mean = np.average(values, axis=0, weights=weights)
    np.testing.assert_allclose(look.mean, mean, atol=0.01)
    np.testing.assert_allclose(look.spread, np.average((values - mean) ** 2, axis=0, weights=weights) ** 0.5, atol=0.01)


def test_nobody_has_no_look():
    assert colour_stats(noise(0), torch.zeros(3, 12, 20), nothing) is None


def test_a_match_has_the_wanted_look():
    wanted = colour_stats(noise(1, 0.4, 0.7), None, nothing)
    frames = noise(2, 0.3, 0.5) * torch.tensor((1.0, 0.9, 0.8))
    found = colour_stats(matched(frames, colour_stats(frames, None, nothing), wanted, None, nothing), None, nothing)
    torch.testing.assert_close((found.mean, found.spread), (wanted.mean, wanted.spread), rtol=0, atol=0.2)


def test_a_match_is_made_in_place_and_to_itself_changes_nothing():
    frames = noise(0)
    before, look = frames.clone(), colour_stats(frames, None, nothing)
    assert matched(frames, look, look, None, nothing) is frames
    torch.testing.assert_close(frames, before, rtol=0, atol=1e-4)


def test_outside_the_mask_nothing_changes():
    frames, where = noise(0), torch.zeros(3, 12, 20)
    where[:, 2:9, 4:15] = 1
    where[:, 2, :] = 0.5
    before = frames.clone()
    now, wanted = colour_stats(frames, where, nothing), colour_stats(noise(1, 0.5, 0.8), None, nothing)
    whole = matched(before.clone(), now, wanted, None, nothing)
    matched(frames, now, wanted, where, nothing)
    assert torch.equal(frames[where == 0], before[where == 0])
    assert torch.equal(frames[where == 1], whole[where == 1])
    torch.testing.assert_close(frames[where == 0.5], (before + whole)[where == 0.5] / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_colour_is_moved_but_never_spread(level):
    flat = torch.full((3, 12, 20, 3), level)
    flat[:, ::2] += 1e-4 if level < 1 else -1e-4
    wanted = colour_stats(noise(1, 0.2, 0.8), None, nothing)
    found = matched(flat, colour_stats(flat, None, nothing), wanted, None, nothing)
    assert (found.amax((0, 1, 2)) - found.amin((0, 1, 2))).max() < 0.002
    np.testing.assert_allclose(colour_stats(found, None, nothing).mean, wanted.mean, atol=0.2)


def test_half_precision_frames_keep_their_type():
    frames = noise(0).half()
    look = colour_stats(frames, None, nothing)
    found = matched(frames, look, colour_stats(noise(1), None, nothing), torch.ones(3, 12, 20), nothing)
    assert found.dtype == torch.half


def test_every_frame_ticks():
    ticks = []
    frames = noise(0)
    look = colour_stats(frames, None, lambda: ticks.append(1))
    matched(frames, look, look, None, lambda: ticks.append(1))
    assert len(ticks) == 6
