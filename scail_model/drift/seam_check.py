"""A seam judged as soon as there are frames on both of its sides, as Measure Video Drift judges it in the whole video.

Only the frames near a seam decide its verdict (`drift_verdict.AROUND`), so it is the same.
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

from ..media.clips import levels
from .measure import PEOPLE, PICTURE, measure
from .plan import Part, Plan
from .verdict import AROUND, WINDOW, seams

_REACH = AROUND + WINDOW + 1  # frames on either side that are looked at, and one more for the first change


def seam_verdict(before: Path, after: Path, people: Callable[[int], Tensor] | None = None) -> str:
    """The verdict on the place where the file `after` goes on from the file `before`.

    people: where people are in the first frame of `after` + index, bool [H, W]; with it only they are judged.
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
