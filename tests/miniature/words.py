"""The miniature's language: six words, each a fixed vector in the place where the large model reads umT5's.

Every other word is a zero row, which is what the transformer's padding is, so it says nothing. A text encoder of umT5's
architecture without blocks gives exactly these rows: an embedding, then a norm.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor
from world import WORDS

WIDTH = 4096


def embedding(word: str) -> Tensor:
    """The row of one word, float32 [4096] with root mean square 1; zeros for a word that means nothing here."""
    if word not in WORDS:
        return torch.zeros(WIDTH)
    # RandomState's stream is frozen for ever, torch's is not
    row = torch.from_numpy(np.random.RandomState(zlib.crc32(word.encode())).standard_normal(WIDTH)).float()
    return row / row.square().mean().sqrt()


def context(prompts: list[str]) -> Tensor:
    """Text embeddings of prompts, float32 [n, rows, 4096]; short ones end in zero rows."""
    rows = [[embedding(word) for word in prompt.lower().split()] or [torch.zeros(WIDTH)] for prompt in prompts]
    longest = max(map(len, rows))
    return torch.stack([torch.stack(row + [torch.zeros(WIDTH)] * (longest - len(row))) for row in rows])
