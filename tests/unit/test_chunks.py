"""Chunks of rows: only where memory is short, in sizes that kernels like, and smaller than what they replace."""

import pytest

from scail_model.kernels.chunks import WHOLE_BYTES, chunked_bytes, rows_at_once

GIB = 2**30
DIM = 5120
SHORT, LONG = 48_832, 95_920  # tokens of 81 frames of 512x896 and 704x1280


@pytest.mark.parametrize(("tokens", "card", "rows"), [
    (SHORT, 6, 6528), (SHORT, 8, 8704), (SHORT, 12, None), (SHORT, 80, None),
    (LONG, 12, 13056), (LONG, 16, 16384), (LONG, 24, None), (LONG, 80, None), (SHORT, 0, None)])
def test_cards(tokens, card, rows):
    assert rows_at_once(tokens, DIM, card * GIB) == rows


def test_a_third_of_the_card_is_the_limit():
    limit = round(3 * WHOLE_BYTES * SHORT * DIM)
    assert rows_at_once(SHORT, DIM, limit + 8) is None
    assert rows_at_once(SHORT, DIM, limit - 8) is not None


@pytest.mark.parametrize("card", [1, 2, 3, *range(4, 100, 6)])
@pytest.mark.parametrize("batch", [1, 2])
def test_rows_are_tiles(card, batch):
    for tokens in (5000, SHORT, LONG, 400_000):
        rows = rows_at_once(tokens, DIM, card * GIB, batch)
        if rows is not None:
            assert rows % 128 == 0
            assert 4096 <= rows <= 16384
            assert rows < tokens
            assert chunked_bytes(tokens, DIM, rows) < WHOLE_BYTES * tokens * DIM or tokens < 2 * rows


def test_two_in_a_batch_need_twice_as_much():
    assert rows_at_once(SHORT, DIM, 16 * GIB) is None
    assert rows_at_once(SHORT, DIM, 16 * GIB, 2) == 9984
    assert rows_at_once(SHORT, DIM, 20 * GIB, 2) is None


def test_few_rows_are_one_chunk():
    assert rows_at_once(4096, DIM, GIB // 2) is None
    assert rows_at_once(4224, DIM, GIB // 2) == 4096
