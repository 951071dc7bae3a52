"""A seam judged from the ends of two files: as the report judges it in the whole video."""

import itertools
from fractions import Fraction

import pytest
import torch

from scail_model.drift.measure import PEOPLE, measure
from scail_model.drift.plan import Part, Plan
from scail_model.drift.seam_check import seam_verdict
from scail_model.drift.verdict import STRONG, VISIBLE, seams
from scail_model.media.encoding import Encoding, join, write_part
from scail_model.media.video_file import FileClip

RATE, CODEC = Fraction(16), Encoding("lossless", 0)
SIZE = 64


def frames(count, begin, brighter=0.0):
    """A pattern that drifts to the right, [n, H, W, 3] in 0..1; its left half is what `brighter` is added to."""
    x = torch.arange(SIZE)[None, None, :, None] - torch.arange(begin, begin + count)[:, None, None, None]
    y = torch.arange(SIZE)[None, :, None, None]
    video = (0.4 + 0.2 * torch.sin(x / 5 + y / 9)).expand(-1, -1, -1, 3).clone()
    video[:, :, : SIZE // 2] += brighter
    return video


def left(index):
    where = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    where[:, : SIZE // 2] = True
    return where


@pytest.fixture
def part(tmp_path):
    def write(name, video):
        write_part(tmp_path / name, video, RATE, CODEC, lambda: None)
        return tmp_path / name

    return write


@pytest.mark.parametrize(("lengths", "brighter", "people"), [
    *itertools.product([(9, 4), (40, 12)], [0.0, 0.1], [None, left]), ((81, 76), 0.1, left)])
def test_verdict_is_the_reports(part, tmp_path, lengths, brighter, people):
    before, after = lengths
    parts = [part("before.mp4", frames(before, 0)), part("after.mp4", frames(after, before, brighter))]
    join(parts, tmp_path / "whole.mp4", RATE, None, lambda: None)
    areas = measure(FileClip(tmp_path / "whole.mp4"), people)
    plan = Plan((Part(0, before), Part(before, before + after)))
    (seam,) = seams(areas["picture" if people is None else PEOPLE], plan)
    asked = None if people is None else lambda index: people(before + index)
    assert seam_verdict(*parts, asked) == seam.verdict
    assert not brighter or seam.verdict in (VISIBLE, STRONG)


def test_people_are_asked_for_at_the_seam(part):
    parts = [part("before.mp4", frames(40, 0)), part("after.mp4", frames(3, 40))]
    asked = []
    seam_verdict(*parts, lambda index: asked.append(index) or left(index))
    assert asked == list(range(-29, 3))
