"""Float pictures as eight-bit levels: one rounding rule, whatever the dtype and the values."""

import numpy as np
import pytest
import torch

from scail_model.levels import to_levels

EVERY_LEVEL = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_every_level_comes_back(dtype):
    assert torch.equal(to_levels(EVERY_LEVEL.to(dtype) / 255), EVERY_LEVEL)


def test_bfloat16_is_rounded_after_it_is_widened():
    """Its product with 255 would be rounded to 8 bits a second time."""
    values = torch.linspace(0, 1, 999).bfloat16()
    assert to_levels(values).tolist() == np.rint(values.double().numpy() * 255).tolist()
    assert to_levels(values).tolist() != values.mul(255).round().tolist()


def test_halves_go_to_the_even_level_and_values_outside_are_clamped():
    halves = torch.tensor([0.5, 1.5, 2.5, 253.5, 254.5]) / 255
    assert (halves * 255 % 1 == 0.5).all(), "exact in float32"
    assert to_levels(halves).tolist() == [0, 2, 2, 254, 254]
    assert to_levels(torch.tensor([-0.3, -1e-9, 1.0, 1.001, 7.0])).tolist() == [0, 0, 255, 255, 255]


def test_levels_stay_and_the_given_picture_is_not_changed():
    assert to_levels(EVERY_LEVEL) is EVERY_LEVEL
    picture = torch.rand(3, 5, 3)
    kept = picture.clone()
    to_levels(picture)
    assert torch.equal(picture, kept)
