"""Kinds of tracks as trackers give them, each with what the check says of it; people at ease give no warning.

17 frames of 96x128 pixels at 16 a second. A track is a box for each frame, or None where the person is not seen.
"""

import pytest
import torch
from preflight_jobs import bound, job, texts

from scail_model.media.clips import TensorClip

COUNT = 17
HERE, THERE = (8, 16, 32, 112), (60, 16, 84, 112)
BOTH = (8, 16, 84, 112)


def steady(place=HERE):
    return [place] * COUNT


def but(track, **frames):
    """A track with other boxes in some frames: f5=None."""
    return [frames.get(f"f{index}", box) for index, box in enumerate(track)]


def then(first, second, at=9):
    return [first] * at + [second] * (COUNT - at)


def walking(start, step):
    return [(start + step * index, 16, start + step * index + 24, 112) for index in range(COUNT)]


def cropped(track):
    """What the picture's edges leave of a track."""
    boxes = [(max(left, 0), top, min(right, 96), bottom) for left, top, right, bottom in track]
    return [box if box[0] < box[2] else None for box in boxes]


def cut(at=9):
    """A driving video that is dark, and bright from a frame on."""
    frames = torch.zeros(COUNT, 128, 96, 3, dtype=torch.uint8)
    frames[at:] = 200
    return TensorClip(frames)


NO_CUT = {"driving": TensorClip(torch.zeros(COUNT, 128, 96, 3, dtype=torch.uint8))}
# name: people, what else is so, {code of the finding: what it says}
KINDS = {
    "one person who stands": ([steady()], {}, {}),
    "lost for a frame": ([but(steady(), f5=None)], {}, {
        "hole": "The track of blue has holes: the person is lost in frames 5 (0.31 s) and then in the same place"}),
    "lost for two frames, twice": ([but(steady(), f3=None, f4=None, f10=None, f11=None)], {}, {
        "hole": "lost in frames 3-4 (0.19 s), 10-11 (0.62 s)"}),
    "a speck is left for a frame": ([but(steady(), f5=(9, 20, 12, 24))], {}, {"hole": "in frames 5 (0.31 s)"}),
    "behind a pillar for three frames": ([but(steady(), f5=None, f6=None, f7=None)], {}, {}),
    "gone, and back elsewhere": ([but(then(HERE, THERE), f9=None)], NO_CUT, {}),
    "walks through the picture": ([cropped(walking(-20, 8))], NO_CUT, {}),
    "runs, by half its width in a frame": ([cropped(walking(0, 12))], NO_CUT, {}),
    "two whose tracks are swapped": ([then(HERE, THERE), then(THERE, HERE)], NO_CUT, {
        "exchanged": "blue and red change places at frame 9 (0.56 s): their tracks have been swapped"}),
    "two who are swapped at a cut": ([then(HERE, THERE), then(THERE, HERE)], {"driving": cut(), "cuts": (9,)}, {
        "exchanged": "blue and red change places at frame 9 (0.56 s)"}),
    "two who pass each other": ([walking(0, 4), walking(64, -4)], NO_CUT, {}),
    "goes over to another thing": ([then(HERE, THERE)], NO_CUT, {
        "jump": "blue jumps at frame 9 (0.56 s), although the picture does not change"}),
    "goes over to the other person": ([then(HERE, THERE), then(THERE, None)], NO_CUT, {
        "jump": "blue jumps to where red was at frame 9 (0.56 s)"}),
    "elsewhere after a cut": ([then(HERE, THERE)], {"driving": cut()}, {
        "cut": "People jump at frame 9 (0.56 s), where the driving video seems to cut to another scene"}),
    "elsewhere after a cut that is named": ([then(HERE, THERE)], {"driving": cut(), "cuts": (9,)}, {}),
    "two whose tracks merge": ([then((8, 16, 44, 112), BOTH), then((46, 16, 84, 112), None)], NO_CUT, {
        "merged": "The mask of red goes over into that of blue at frame 9 (0.56 s): the tracks have merged"}),
    "one goes behind the other": ([steady(BOTH), [(60 - 2 * i, 16, 84 - 4 * i, 112) if i < 10 else None
                                                  for i in range(COUNT)]], NO_CUT, {}),
    "nobody in a segment": ([but(steady(), **{f"f{i}": None for i in range(3, 14)})], {"segment_length": 9}, {
        "nobody": "The driving mask shows nobody in frames 3-13 (0.19 s), which cover a whole segment"}),
    "nobody for less than a segment": ([but(steady(), **{f"f{i}": None for i in range(3, 14)})], {}, {}),
    "one of two is missing in a segment": ([steady(), but(steady(THERE), **{f"f{i}": None for i in range(8, 17)})],
                                           {"segment_length": 9}, {"unseen": "red is missing in frames 8-16 of 17"}),
}
ABOUT_TRACKS = {"hole", "merged", "exchanged", "jump", "cut", "nobody", "unseen"}


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind):
    people, changes, expected = KINDS[kind]
    references = [[next(box for box in track if box) for track in people]]
    found = {code: text for code, text in texts(job(bound(*people, references=references), **changes)).items()
             if code in ABOUT_TRACKS}
    assert set(found) == set(expected)
    for code, text in expected.items():
        assert text in found[code]


def test_many_holes_are_counted():
    frames = {f"f{index}": None for index in range(2, 16, 2)}
    (text,) = [text for code, text in texts(job(bound(but(steady(), **frames)))).items() if code == "hole"]
    assert "2 (0.12 s), 4 (0.25 s), 6 (0.38 s), 8 (0.50 s) and 3 more" in text
