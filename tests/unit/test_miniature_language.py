"""The miniature's text encoder as the command line loads it, against the vectors that the miniature was trained on."""

from __future__ import annotations

import language
import pytest
import torch
from words import context
from world import WORDS

from scail_model.headless import encoders
from tests.demo import small_models


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    small_models.write_encoders(folder)
    language.write_text_encoder(folder)
    return encoders.find_encoders(folder)


def encoded(files, prompt, dtype=torch.float32):
    tokens = encoders.tokenize(files, prompt, 512, "")
    (rows,) = encoders.encode_texts(files, [tokens], torch.device("cpu"), dtype)
    return rows


def end(rows):
    """With the row of the end token."""
    return torch.cat((rows, torch.zeros(1, 1, rows.shape[2])), 1)


@pytest.mark.parametrize("prompt", [*WORDS, "red blue", "a green figure"])
def test_words_are_the_trained_rows(files, prompt):
    torch.testing.assert_close(encoded(files, prompt), end(context([prompt])), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_text_and_unknown_words_are_exactly_zero(files, dtype):
    assert encoded(files, "", dtype).shape == (1, 1, 4096)
    for prompt in ("", "bluebell infrared", "</", "..."):
        assert not encoded(files, prompt, dtype).any()


def test_a_sentence_holds_its_word_among_zero_rows(files):
    rows = encoded(files, "A figure in a Red, not infrared shirt walks and waves.")[0]
    said = rows.abs().sum(1) > 0
    assert said.sum() == 1
    torch.testing.assert_close(rows[said], context(["red"])[0], rtol=0, atol=1e-5)
