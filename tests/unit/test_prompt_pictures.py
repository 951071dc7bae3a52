"""Pictures for language models: kinds of sizes, in one batch and in one picture."""

import pytest
import torch

from scail_model.prompting.pictures import LONGEST, batch, fitted, sheet


def plain(height, width, level, channels=3):
    return torch.full((height, width, channels), float(level))


@pytest.mark.parametrize(("size", "expected"), [
    ((512, 768), (512, 768)),
    ((1080, 1920), (432, 768)),
    ((1920, 1080), (768, 432)),
    ((2, 4000), (1, 768)),  # never nothing
    ((1, 1), (1, 1)),
])
def test_large_pictures_become_small(size, expected):
    found = fitted(plain(*size, 0.5, channels=4))
    assert found.shape == (*expected, 3)
    assert max(found.shape) <= LONGEST
    assert (found - 0.5).abs().max() < 1e-5


def test_values_stay_within_a_picture():
    edge = torch.zeros(1000, 1000, 3)
    edge[:, 500:] = 1.5  # bicubic overshoots too
    assert 0 <= fitted(edge).min() <= fitted(edge).max() <= 1


def test_a_batch_has_each_picture_in_the_middle():
    found = batch([plain(4, 8, 0.25), plain(6, 2, 0.75)])
    assert found.shape == (2, 6, 8, 3)
    assert (found[0, 1:5] == 0.25).all()
    assert (found[1, :, 3:5] == 0.75).all()
    assert found.sum().item() == pytest.approx(3 * (32 * 0.25 + 12 * 0.75))


@pytest.mark.parametrize(("count", "rows", "columns"), [
    (1, 1, 1), (2, 1, 2), (3, 2, 2), (8, 3, 3), (9, 3, 3), (10, 3, 4)])
def test_a_sheet_is_read_row_by_row(count, rows, columns):
    found = sheet([plain(2, 3, (number + 1) / 16) for number in range(count)])
    assert found.shape == (rows * 2, columns * 3, 3)
    cells = [found[2 * (place // columns), 3 * (place % columns), 0].item() * 16 for place in range(rows * columns)]
    assert cells == [*range(1, count + 1), *[0] * (rows * columns - count)]
