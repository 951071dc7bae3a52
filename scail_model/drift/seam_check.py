"""Verdict on a single seam, as soon as the frames on both sides exist.

The same verdict as in the finished video, because only the frames near a seam decide it (`verdict.AROUND`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import torch
from torch import Tensor

from ..media.frames import levels
from .measure import PEOPLE, PICTURE, measure
from .plan import Part, Plan
from .verdict import AROUND, WINDOW, seams

_REACH = AROUND + WINDOW + 1  # frames on either side that count, and one more for the first change


def seam_verdict(before: Path, after: Path, people: Callable[[int], Tensor] | None = None) -> str:
    """Judge the seam between the video files `before` and `after`.

    people: index, 0 for the first frame of `after` -> mask of the people, bool [H, W]; with it only people are judged.
    """
    old, new = deque(_decoded(before), _REACH), list(islice(_decoded(after), _REACH))
    cut, count = len(old), len(old) + len(new)
    pictures = (torch.from_numpy(levels(frame)).movedim(0, -1) for frame in (*old, *new))
    with torch.inference_mode():
        areas = measure(pictures, None if people is None else lambda index: people(index - cut))
    (seam,) = seams(areas[PICTURE if people is None else PEOPLE], Plan((Part(0, cut), Part(cut, count))))
    return seam.verdict


def _decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(os.fspath(path)) as container:
        yield from container.decode(video=0)
